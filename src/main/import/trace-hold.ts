/**
 * Holds a process still by tracing its threads (ptrace SEIZE and INTERRUPT). It gets no signal, its
 * parent hears nothing, and a process that was stopped before is stopped afterwards.
 *
 * Nothing has to be undone when this program ends, in whatever way: the kernel lets the threads go.
 * While they are held, nobody but SIGKILL can make them run; SIGCONT takes effect afterwards.
 */
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  canTrace,
  detach,
  interrupt,
  isInStop,
  registerSet,
  seize,
  signalInfo,
  stopOf,
} from '../../shared/native/ptrace.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { processGone, readStat } from './proc.ts';
import type { ProcessIdentity } from './process-identity.ts';
import { LOOK_AGAIN_MS, stopPatience } from './stop-patience.ts';
import { isThreadDead, listThreads, tracerOf } from './threads.ts';

const { EPERM, ESRCH } = constants.errno;
/** A leader that has exited stays traced until the other threads have exited as well. */
const LOOK_SELDOM_MS = 100;

/** A thread cannot be seized. `reason` says why, as the end of "since …". */
export class NotTraceable extends Error {
  readonly reason: string;

  constructor(reason: string) {
    super(reason);
    this.reason = reason;
  }
}

/** A seized thread. */
interface Tracee {
  readonly tid: number;
  isStopped: boolean;
  /** The signal whose delivery was stopped, or 0. The thread gets it when it is let go. */
  signal: number;
}

/** A process that stands still from `standStill` to `release`. */
export class TraceHold {
  readonly #pid: number;
  readonly #group: number;
  readonly #tracees = new Map<number, Tracee>();

  private constructor(pid: number, group: number) {
    this.#pid = pid;
    this.#group = group;
  }

  /** Seizes the threads and asks them to stop. Throws NotTraceable, and then leaves no trace. */
  static async begin({ pid, group }: ProcessIdentity): Promise<TraceHold> {
    if (!canTrace()) throw new NotTraceable('there are no native calls');
    // libuv waits for the children of this program, and would take their stops for their ends.
    if ((await readStat(group)).field(4) === process.pid) {
      throw new NotTraceable('it is a child of this program');
    }
    const hold = new TraceHold(pid, group);
    try {
      for (const tid of await listThreads(pid)) await hold.#seize(tid);
      return hold;
    } catch (error) {
      hold.release();
      throw error;
    }
  }

  /** Seizes a thread and asks it to stop, unless it has ended. */
  async #seize(tid: number): Promise<void> {
    const errno = seize(tid);
    if (errno === 0) {
      this.#tracees.set(tid, { tid, isStopped: false, signal: 0 });
      interrupt(tid);
      return;
    }
    if (await isThreadDead(this.#pid, tid)) return; // as the leader may, while others live
    const tracer = await tracerOf(tid).catch(() => undefined);
    if (tracer === undefined) return; // it has ended just now
    throw new NotTraceable(whyNot(tracer, errno));
  }

  /**
   * Resolves once no thread of the process runs. Threads that stand still make no new ones: they are
   * all known when two looks in a row have found only threads that stood still before.
   * PROCESS_UNSTOPPABLE, NotTraceable.
   */
  async standStill(signal: AbortSignal | undefined): Promise<void> {
    const patience = stopPatience(this.#pid, 'being interrupted');
    for (;;) {
      const wereStill = await this.#allStand();
      const fresh = await this.#seizeFresh();
      throwIfAborted(signal);
      if (wereStill && fresh === 0) break;
      patience.assertLeft();
      if (fresh === 0) await sleep(LOOK_AGAIN_MS);
    }
    if (this.#tracees.size === 0) throw processGone(this.#pid);
  }

  /** Seizes the threads that are not known yet. Returns their number. */
  async #seizeFresh(): Promise<number> {
    const before = this.#tracees.size;
    for (const tid of await listThreads(this.#pid)) {
      if (!this.#tracees.has(tid)) await this.#seize(tid);
    }
    return this.#tracees.size - before;
  }

  /** Whether all threads that are known stand still. Forgets those that have ended. */
  async #allStand(): Promise<boolean> {
    let all = true;
    for (const tracee of this.#tracees.values()) {
      if (tracee.isStopped) continue;
      const { tid } = tracee;
      const stop = stopOf(tid);
      if (stop.kind === 'stopped') {
        tracee.isStopped = true;
        tracee.signal = stop.signal;
      } else if (stop.kind === 'ended') {
        this.#tracees.delete(tid);
      } else if (!(await isThreadDead(this.#pid, tid))) {
        all = false; // a leader that has exited stays until all others have
      }
    }
    return all;
  }

  /** PROCESS_GONE unless every thread is where it was: only SIGKILL gets it out of there. */
  async assertStoodStill(): Promise<void> {
    for (const { tid, isStopped } of this.#tracees.values()) {
      if (isStopped && !isInStop(tid)) throw processGone(this.#pid);
    }
  }

  /** The threads that stand still: the leader first, then the others by their ids. */
  threads(): HeldThread[] {
    const all = [...this.#tracees.values()].filter(({ isStopped }) => isStopped);
    const rank = ({ tid }: Tracee): number => (tid === this.#group ? -1 : tid);
    return all
      .sort((a, b) => rank(a) - rank(b))
      .map(({ tid, signal }) => ({
        tid,
        signal,
        registers: (type) => registerSet(tid, type),
        signalInfo: () => (signal === 0 ? undefined : signalInfo(tid)),
      }));
  }

  /** Lets the process go on, or be stopped as it was. Never fails. */
  release(): void {
    const left = [...this.#tracees.values()].filter((tracee) => !letGo(tracee));
    this.#tracees.clear();
    if (left.length > 0) letGoLater(left, LOOK_AGAIN_MS);
  }
}

/** A thread that stands still, and what it can be asked. */
export interface HeldThread {
  readonly tid: number;
  /** The signal whose delivery was stopped, or 0. */
  readonly signal: number;
  /** A set of registers, by its note type; undefined without it. */
  registers(type: number): Buffer | undefined;
  /** The siginfo_t of that signal; undefined without one. */
  signalInfo(): Buffer | undefined;
}

/** Returns whether the thread is let go, or has ended. Otherwise it has not come to its stop yet. */
function letGo(tracee: Tracee): boolean {
  const stop = stopOf(tracee.tid);
  if (stop.kind === 'ended') return true;
  return stop.kind === 'stopped' && detach(tracee.tid, stop.signal) === 0;
}

/**
 * Lets threads go as soon as they come to their stop: one may be in a system call that cannot be
 * interrupted, or about to end. This program may end meanwhile, since that lets them go as well.
 */
function letGoLater(left: readonly Tracee[], waitMs: number): void {
  const timer = setTimeout(() => {
    const still = left.filter((tracee) => !letGo(tracee));
    if (still.length > 0) letGoLater(still, Math.min(waitMs * 2, LOOK_SELDOM_MS));
  }, waitMs);
  timer.unref();
}

function whyNot(tracer: number, errno: number): string {
  if (tracer !== 0) return `process ${tracer} traces it`;
  if (errno === EPERM) return 'the system does not permit tracing it';
  return `tracing it failed with errno ${errno}${errno === ESRCH ? ', ESRCH' : ''}`;
}
