/**
 * The way into an mm and out again, once: freeze gate, then mmap lock.
 *
 * A thread that may sleep waits for both. A thread that must not (a main thread) gets EAGAIN, or
 * uses the asynchronous form, which waits under a thread id of its own.
 */
import { MmdumpError } from '../shared/errors.ts';
import { type LockMode, wouldBlock } from '../shared/sync/rw-lock.ts';
import type { MachineParts } from './machine-parts.ts';
import type { Mm } from './mm.ts';

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
  const { gate } = mm.machine;
  if (mm.mayBlock) gate.enter(mm.thread);
  else if (!gate.tryEnter(mm.thread)) throw wouldBlock('the machine is frozen: its gate');
  try {
    if (mm.mayBlock) mm.lock.lock(mm.thread, mode);
    else if (!mm.lock.tryLock(mm.thread, mode)) throw wouldBlock('the mmap lock');
    try {
      assertLive(mm, reference);
      return operation(mm);
    } finally {
      mm.lock.unlock(mm.thread);
    }
  } finally {
    gate.leave(mm.thread);
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
    await mm.lock.lockAsync(mm.thread, mode, signal);
    try {
      assertLive(mm, reference);
      return operation(mm);
    } finally {
      mm.lock.unlock(mm.thread);
    }
  } finally {
    gate.leave(mm.thread);
  }
}
