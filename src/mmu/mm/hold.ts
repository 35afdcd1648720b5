/**
 * The one door for every change of a machine: the freeze gate, and behind it the mmap lock where the
 * change belongs to an mm. The outermost operation of a thread passes the door, once.
 *
 * A thread that may sleep waits for both. A thread that must not (a main thread) gets EAGAIN, or
 * uses the asynchronous form, which waits under a thread id of its own.
 */
import { MmdumpError } from '../../shared/errors.ts';
import { type LockMode, wouldBlock } from '../../shared/sync/rw-lock.ts';
import type { MachineParts } from './machine-parts.ts';
import type { Mm } from './mm.ts';
import { enterAsOperation } from './operation.ts';

/** An mm that a handle or object refers to, in this life of its slot. */
export interface MmReference {
  readonly machine: MachineParts;
  readonly slot: number;
  readonly generation: number;
}

function assertLive(mm: Mm, reference: MmReference): void {
  if (mm.struct.isLiveLocked(reference.generation)) return;
  throw new MmdumpError('MM_GONE', `address space ${reference.slot} was destroyed`);
}

/** Runs `operation` under the gate and the mmap lock. EAGAIN where this thread would have to wait. */
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

function enterGate({ gate, mayBlock }: MachineParts, thread: number): void {
  if (mayBlock) gate.enter(thread);
  else if (!gate.tryEnter(thread)) throw wouldBlock('the machine is frozen: its gate');
}

/** Runs `operation` under the mmap lock, for a thread that is inside the gate already. */
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
    return operation(mm);
  } finally {
    mm.lock.unlock(mm.thread);
  }
}

/**
 * The asynchronous twin, of an operation that is inside the gate already (`operation.ts`): waits
 * without blocking, and leaves. Rejects with AbortError when `signal` fires.
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

/** The asynchronous twin of `lockMm`. */
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
    return operation(mm);
  } finally {
    mm.lock.unlock(mm.thread);
  }
}

/** Runs a change of the machine that belongs to no mm. EAGAIN where this thread would have to wait. */
export function holdGate<T>(machine: MachineParts, thread: number, change: () => T): T {
  enterGate(machine, thread);
  try {
    return change();
  } finally {
    machine.gate.leave(thread);
  }
}

/**
 * The asynchronous twin: runs the change under a thread id of its own, which it is given, and waits
 * until nobody freezes the machine. Rejects with AbortError when `signal` fires before.
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
