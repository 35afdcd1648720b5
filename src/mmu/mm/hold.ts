/**
 * The one door for every change of a machine: the freeze gate, and behind it the mmap lock if the
 * change belongs to an mm. The outermost operation of a thread passes the door, and does so once.
 *
 * A thread that may sleep waits for both. A thread that must not sleep (a main thread) gets EAGAIN,
 * or uses the asynchronous form, which waits under a thread id of its own.
 */
import { MmdumpError } from '../../shared/errors.ts';
import type { LockMode } from '../../shared/sync/rw-lock.ts';
import { wouldBlock } from '../../shared/sync/would-block.ts';
import type { MachineParts } from './machine-parts.ts';
import type { Mm } from './mm.ts';
import { enterAsOperation } from './operation.ts';
import { goOutside } from './translation-user.ts';

/** The mm that a handle or an object refers to: a slot, and which life of the slot it is. */
export interface MmReference {
  readonly machine: MachineParts;
  readonly slot: number;
  readonly generation: number;
}

/** Throws MM_GONE if the mm was destroyed. mmap lock held. */
function assertLive(mm: Mm, reference: MmReference): void {
  if (mm.struct.isLiveIn(reference.generation)) return;
  throw new MmdumpError('MM_GONE', `address space ${reference.slot} was destroyed`);
}

/**
 * Runs `operation` inside the gate and with the mmap lock held. Throws MM_GONE if the mm was
 * destroyed, and EAGAIN where the thread would have to wait and must not.
 */
export function holdMm<T>(
  mm: Mm,
  reference: MmReference,
  mode: LockMode,
  operation: (mm: Mm) => T,
): T {
  enterGate(mm.machine, mm.thread);
  try {
    return lockMm(mm, reference, mode, operation);
  } finally {
    mm.machine.gate.leave(mm.thread);
  }
}

/**
 * As `holdMm` for reading, for a change that cannot begin anew with the lock held for writing: where
 * snapshots may share page tables of the mm, it is held for writing from the start.
 */
export function holdToChange<T>(mm: Mm, reference: MmReference, operation: (mm: Mm) => T): T {
  for (;;) {
    const mode = mm.struct.mayShareTables ? 'write' : 'read';
    const done = holdMm(mm, reference, mode, (held) => {
      if (mode === 'read' && held.struct.mayShareTables) return undefined; // since just now
      return { value: operation(held) };
    });
    if (done !== undefined) return done.value;
  }
}

/**
 * Enters the gate, after this thread has stopped to use translations: who takes them away waits for
 * it, and may hold what this thread waits for. Throws EAGAIN if it is closed and the thread must
 * not wait.
 */
function enterGate({ gate, mayBlock }: MachineParts, thread: number): void {
  goOutside();
  if (mayBlock) gate.enter(thread);
  else if (!gate.tryEnter(thread)) throw wouldBlock('the machine is frozen: its gate');
}

/** As `holdMm`, for a thread that is inside the gate already. */
export function lockMm<T>(
  mm: Mm,
  reference: MmReference,
  mode: LockMode,
  operation: (mm: Mm) => T,
): T {
  if (mm.mayBlock) mm.lock.lock(mm.thread, mode);
  else if (!mm.lock.tryLock(mm.thread, mode)) throw wouldBlock('the mmap lock');
  try {
    assertLive(mm, reference);
    if (mode === 'write' && !mm.machine.translations.revoke(mm.slot, mm.mayBlock)) {
      throw wouldBlock('a translation of the address space');
    }
    return operation(mm);
  } finally {
    mm.lock.unlock(mm.thread);
  }
}

/**
 * The asynchronous twin of `holdMm`, for an operation that is inside the gate already
 * (`enterAsOperation`). Waits for the mmap lock without blocking, and leaves the gate at the end.
 * Rejects with MM_GONE if the mm was destroyed, and with AbortError when `signal` fires before the
 * lock is held.
 */
export async function holdMmInside<T>(
  mm: Mm,
  reference: MmReference,
  mode: LockMode,
  operation: (mm: Mm) => T,
  signal?: AbortSignal,
): Promise<T> {
  const { gate } = mm.machine;
  try {
    return await lockMmAsync(mm, reference, mode, operation, signal);
  } finally {
    gate.leave(mm.thread);
  }
}

/** The asynchronous twin of `lockMm`. Rejects as `holdMmInside` does. */
export async function lockMmAsync<T>(
  mm: Mm,
  reference: MmReference,
  mode: LockMode,
  operation: (mm: Mm) => T,
  signal?: AbortSignal,
): Promise<T> {
  await mm.lock.lockAsync(mm.thread, mode, signal);
  try {
    assertLive(mm, reference);
    if (mode === 'write') await mm.machine.translations.revokeAsync(mm.slot, signal);
    return operation(mm);
  } finally {
    mm.lock.unlock(mm.thread);
  }
}

/**
 * Runs a change of the machine that belongs to no mm, inside the gate. Throws EAGAIN where the
 * thread would have to wait and must not.
 */
export function holdGate<T>(machine: MachineParts, thread: number, change: () => T): T {
  enterGate(machine, thread);
  try {
    return change();
  } finally {
    machine.gate.leave(thread);
  }
}

/**
 * The asynchronous twin of `holdGate`. Waits while the machine is frozen, then runs `change` under
 * a thread id of its own, which is its argument. Rejects with AbortError when `signal` fires
 * before.
 */
export async function passGateAsync<T>(
  machine: MachineParts,
  change: (thread: number) => T | Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const [thread] = (await enterAsOperation(machine, 1, signal)) as [number];
  try {
    return await change(thread);
  } finally {
    machine.gate.leave(thread);
    machine.threads.release(thread);
  }
}
