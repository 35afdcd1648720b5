// One thread that takes and releases a lock of a machine, as often as it is told to.
// All modules come from src, because the package does not export the locks.
import { parentPort, workerData } from 'node:worker_threads';
import { register } from 'tsx/esm/api';

register();
const { attach } = await import('../../src/main/index.ts');
const { mmOf } = await import('../../src/mmu/mm/mm.ts');
const { lockTable, unlockTable } = await import('../../src/mmu/tables/page-table.ts');

const { handle, thread, start } = workerData;
const { parts } = attach(handle.machine, { thread });
const mm = mmOf(parts, handle.slot, thread);
const { gate } = parts;
const gateOpen = new Int32Array(start);

const PAIRS = {
  'mmap lock, reading': () => {
    mm.lock.lock(thread, 'read');
    mm.lock.unlock(thread);
  },
  'mmap lock, writing': () => {
    mm.lock.lock(thread, 'write');
    mm.lock.unlock(thread);
  },
  'LDT lock': () => {
    mm.ldtLock.lock(thread, true);
    mm.ldtLock.unlock(thread);
  },
  'page-table lock': () => {
    lockTable(mm, mm.pgd);
    unlockTable(mm, mm.pgd);
  },
  'freeze gate': () => {
    gate.enter(thread);
    gate.leave(thread);
  },
};

/** Waits until all threads are here, so that they start their pairs together. */
function meet(threads) {
  Atomics.add(gateOpen, 0, 1);
  while (Atomics.load(gateOpen, 0) < threads);
}

parentPort.on('message', ({ lock, pairs, threads }) => {
  const pair = PAIRS[lock];
  for (let warm = 0; warm < 1000; warm++) pair();
  meet(threads);
  const begin = performance.now();
  for (let done = 0; done < pairs; done++) pair();
  parentPort.postMessage(((performance.now() - begin) * 1e6) / pairs);
});
