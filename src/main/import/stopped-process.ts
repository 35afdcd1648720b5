/**
 * Holds a process still with SIGSTOP, and lets it go on in any case: when the work is done, when it
 * fails, and when the importing process exits or is ended by a signal meanwhile.
 *
 * A process that was stopped before stays stopped afterwards.
 */
import { readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { Patience } from '../../shared/sync/patience.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { guard } from '../job/guard.ts';
import { type ProcStat, parseStat, procError, processGone, readProc, readStat } from './proc.ts';

/** How long to wait: a thread may be in the middle of a system call that cannot be interrupted. */
const STOP_BOUND_MS = 10_000;
const LOOK_AGAIN_MS = 1;

/** States of a thread that runs no code: stopped, traced, dead. */
const STANDING = new Set(['T', 't', 'Z', 'X', 'x']);

/** A process that stands still from `standStill` to `release`. */
export class StoppedProcess {
  readonly pid: number;
  readonly #startTime: string;
  readonly #wasStopped: boolean;
  #undo: (() => void) | undefined;
  #standing: Tasks | undefined;
  /** When every thread stood still, as `performance.now()` counts. */
  standingSince = 0;

  private constructor(pid: number, { state, startTime }: ProcStat) {
    this.pid = pid;
    this.#startTime = startTime;
    this.#wasStopped = state === 'T' || state === 't';
  }

  /** Sends SIGSTOP; `standStill` waits until it has taken effect. */
  static async stop(pid: number): Promise<StoppedProcess> {
    const stopped = new StoppedProcess(pid, await readStat(pid));
    if (stopped.#wasStopped) return stopped;
    stopped.#undo = guard(() => resume(pid));
    try {
      stop(pid);
      return stopped;
    } catch (error) {
      stopped.release();
      throw error;
    }
  }

  /** Resolves once no thread of the process runs. */
  async standStill(signal: AbortSignal | undefined): Promise<void> {
    await waitUntilStopped(this.pid, signal);
    this.#standing = await lookAtTasks(this.pid);
    this.standingSince = performance.now();
  }

  /** PROCESS_GONE or PROCESS_RESUMED unless the process has stood still since `standStill`. */
  async assertStoodStill(): Promise<void> {
    await assertSame(this.pid, this.#startTime);
    if (this.#standing !== undefined) await assertStoodStill(this.pid, this.#standing);
  }

  /** Lets the process go on, unless it was stopped before. Never fails. */
  release(): void {
    if (this.#undo === undefined) return;
    this.#undo();
    this.#undo = undefined;
    resume(this.pid);
  }
}

function stop(pid: number): void {
  try {
    process.kill(pid, 'SIGSTOP');
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') throw processGone(pid, { errno: 'ESRCH' });
    const fields = { pid, errno: errnoOf(error) ?? 'EPERM' };
    const message = `process ${pid}: not permitted to stop it: ${reasonOf(error)}`;
    throw new MmdumpError('PROCESS_DENIED', message, fields, error);
  }
}

/** Lets the process go on. It may have ended, or changed to a user whom we may not signal. */
function resume(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT');
  } catch {
    // Best effort: a failure here must not hide the outcome of the work itself.
  }
}

async function waitUntilStopped(pid: number, signal: AbortSignal | undefined): Promise<void> {
  const patience = new Patience(STOP_BOUND_MS, STOP_BOUND_MS / 100);
  while (!(await isStanding(pid))) {
    throwIfAborted(signal);
    if (patience.isOver()) {
      const message = `process ${pid} did not stop within ${STOP_BOUND_MS / 1000} s of SIGSTOP`;
      throw new MmdumpError('PROCESS_UNSTOPPABLE', message, { pid });
    }
    await sleep(LOOK_AGAIN_MS);
  }
  throwIfAborted(signal);
}

async function listTasks(pid: number): Promise<string[]> {
  return await readdir(`/proc/${pid}/task`).catch((error: unknown) => {
    throw procError(pid, 'task', error);
  });
}

/** Whether every thread of the process stands still. */
async function isStanding(pid: number): Promise<boolean> {
  for (const thread of await listTasks(pid)) {
    try {
      const { state } = parseStat((await readProc(pid, `task/${thread}/stat`)).toString('latin1'));
      if (!STANDING.has(state)) return false;
    } catch (error) {
      if (error instanceof MmdumpError && error.code === 'PROCESS_NOT_FOUND') continue; // ended
      throw error;
    }
  }
  return true;
}

/**
 * Counts that change when a thread runs, by thread. While the process stands still, none changes.
 */
type Tasks = ReadonlyMap<string, string>;

async function lookAtTasks(pid: number): Promise<Tasks> {
  const tasks = new Map<string, string>();
  for (const thread of await listTasks(pid)) {
    const path = `task/${thread}`;
    // The kernel answers once the thread is off its processor; until then its counts may change.
    await readProc(pid, `${path}/syscall`).catch(() => {});
    const stat = parseStat((await readProc(pid, `${path}/stat`)).toString('latin1'));
    const status = (await readProc(pid, `${path}/status`)).toString('latin1');
    const switches = [...status.matchAll(/^(?:non)?voluntary_ctxt_switches:\s+(\d+)$/gm)];
    const moves = [stat.startTime, stat.field(14), stat.field(15), ...switches.map(([, n]) => n)];
    tasks.set(thread, moves.join(' '));
  }
  return tasks;
}

/** PROCESS_RESUMED if any thread has run, begun or ended since `before`. */
async function assertStoodStill(pid: number, before: Tasks): Promise<void> {
  const isSame = async (): Promise<boolean> => {
    if (!(await isStanding(pid))) return false;
    const now = await lookAtTasks(pid);
    return (
      now.size === before.size && [...before].every(([task, moves]) => now.get(task) === moves)
    );
  };
  if (await isSame()) return;
  const message =
    `process ${pid} went on while it was read (did another program send SIGCONT?), so what was ` +
    'read does not show one instant';
  throw new MmdumpError('PROCESS_RESUMED', message, { pid });
}

/** PROCESS_GONE if the process has ended, or its pid now belongs to another process. */
async function assertSame(pid: number, startTime: string): Promise<void> {
  const now = await readStat(pid).catch(() => undefined);
  if (now?.startTime === startTime && now.state !== 'Z' && now.state !== 'X') return;
  throw processGone(pid);
}
