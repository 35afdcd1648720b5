/** How long an import waits until a process stands still. */
import { MmdumpError } from '../../shared/errors.ts';
import { Patience } from '../../shared/sync/patience.ts';

/** A thread may be in the middle of a system call that cannot be interrupted. */
const STOP_BOUND_MS = 10_000;
/** Milliseconds between two looks. */
export const LOOK_AGAIN_MS = 1;

export interface StopPatience {
  /** Must be called once per look. PROCESS_UNSTOPPABLE when the time is over. */
  assertLeft(): void;
}

/** `what` is what the process was stopped with. */
export function stopPatience(pid: number, what: string): StopPatience {
  const patience = new Patience(STOP_BOUND_MS, STOP_BOUND_MS / 100);
  return {
    assertLeft() {
      if (!patience.isOver()) return;
      const message = `process ${pid} did not stop within ${STOP_BOUND_MS / 1000} s of ${what}`;
      throw new MmdumpError('PROCESS_UNSTOPPABLE', message, { pid });
    },
  };
}
