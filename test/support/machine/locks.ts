import { FREEZE_GATE, FreezeGate } from '../../../src/shared/sync/freeze-gate.ts';
import { RwLock } from '../../../src/shared/sync/rw-lock.ts';
import { RW_LOCK_WORDS } from '../../../src/shared/sync/rw-lock-layout.ts';
import { THREAD_TABLE_WORDS } from '../../../src/shared/sync/thread-layout.ts';
import { ThreadTable } from '../../../src/shared/sync/thread-table.ts';

/** A thread table, a gate and a readers-writer lock in shared memory, with `threads` threads. */
export function testLocks(threads: number) {
  const words = THREAD_TABLE_WORDS + FREEZE_GATE.WORDS + RW_LOCK_WORDS + 16;
  const memory = new Int32Array(new SharedArrayBuffer(words * 4));
  const table = new ThreadTable(memory, 0, true);
  const gate = new FreezeGate(memory, THREAD_TABLE_WORDS, table);
  const lock = new RwLock(memory, THREAD_TABLE_WORDS + FREEZE_GATE.WORDS, table);
  const spare = THREAD_TABLE_WORDS + FREEZE_GATE.WORDS + RW_LOCK_WORDS;
  const ids = Array.from({ length: threads }, () => table.register());
  return { memory, table, gate, lock, spare, ids };
}

/** Whether a promise is settled after all pending callbacks have run. */
export async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  promise.then(
    () => {
      settled = true;
    },
    () => {
      settled = true;
    },
  );
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
  return settled;
}
