/**
 * Holds a process still with SIGSTOP, and lets it go on in any case: when the work is done, when it
 * fails, and when the importing process exits or is ended by a signal meanwhile.
 *
 * This is the way that Node has by itself. The parent of the process sees that it stops and goes on.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { guard } from '../job/guard.ts';
import { processGone, readStat } from './proc.ts';
import type { ProcessIdentity } from './process-identity.ts';
import { LOOK_AGAIN_MS, stopPatience } from './stop-patience.ts';
import { type Counts, countThreads, isStanding } from './threads.ts';

/** A process that stands still from `standStill` to `release`. */
export class SignalHold {
  readonly #identity: ProcessIdentity;
  #undo: (() => void) | undefined;
  #standing: Counts | undefined;

  private constructor(identity: ProcessIdentity) {
    this.#identity = identity;
  }

  /** Sends SIGSTOP, unless the process was stopped before. It stays stopped afterwards then. */
  static async begin(identity: ProcessIdentity): Promise<SignalHold> {
    const hold = new SignalHold(identity);
    const { state } = await readStat(identity.pid);
    if (state === 'T' || state === 't') return hold;
    hold.#undo = guard(() => resume(identity));
    try {
      stop(identity);
      return hold;
    } catch (error) {
      hold.release();
      throw error;
    }
  }

  /** Resolves once no thread of the process runs. PROCESS_UNSTOPPABLE. */
  async standStill(signal: AbortSignal | undefined): Promise<void> {
    const { pid } = this.#identity;
    const patience = stopPatience(pid, 'SIGSTOP');
    while (!(await isStanding(pid))) {
      throwIfAborted(signal);
      patience.assertLeft();
      await sleep(LOOK_AGAIN_MS);
    }
    throwIfAborted(signal);
    this.#standing = await countThreads(pid);
  }

  /** PROCESS_RESUMED if any thread has run, begun or ended since `standStill`. */
  async assertStoodStill(): Promise<void> {
    const { pid } = this.#identity;
    const before = this.#standing;
    if (before === undefined) return;
    if ((await isStanding(pid)) && isEqual(before, await countThreads(pid))) return;
    const message =
      `process ${pid} went on while it was read (did another program send SIGCONT?), so what was ` +
      'read does not show one instant';
    throw new MmdumpError('PROCESS_RESUMED', message, { pid });
  }

  /** Lets the process go on, unless it was stopped before. Never fails. */
  release(): void {
    if (this.#undo === undefined) return;
    this.#undo();
    this.#undo = undefined;
    resume(this.#identity);
  }
}

function isEqual(before: Counts, now: Counts): boolean {
  return now.size === before.size && [...before].every(([tid, moves]) => now.get(tid) === moves);
}

function stop(identity: ProcessIdentity): void {
  const { pid } = identity;
  try {
    identity.signal('SIGSTOP');
  } catch (error) {
    if (error instanceof MmdumpError) throw error;
    if (errnoOf(error) === 'ESRCH') throw processGone(pid, { errno: 'ESRCH' });
    const fields = { pid, errno: errnoOf(error) ?? 'EPERM' };
    const message = `process ${pid}: not permitted to stop it: ${reasonOf(error)}`;
    throw new MmdumpError('PROCESS_DENIED', message, fields, error);
  }
}

/** Lets the process go on. It may have ended, or changed to a user whom we may not signal. */
function resume(identity: ProcessIdentity): void {
  try {
    identity.signal('SIGCONT');
  } catch {
    // Best effort: a failure here must not hide the outcome of the work itself.
  }
}
