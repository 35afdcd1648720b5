/**
 * Holding a process still with SIGSTOP, and letting it go on in any case: when the work is done,
 * when it fails, and when this process exits in the middle of it.
 *
 * A process that was stopped before stays stopped afterwards.
 */
import { readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, MmdumpError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { parseStat, procError, processGone, readProc, readStat } from './proc.ts';

/** A thread may be in the middle of a system call that does not let itself be interrupted. */
const STOP_BOUND_MS = 10_000;
const LOOK_AGAIN_MS = 1;

/** States of a thread that runs no code: stopped, traced, dead. */
const STANDING = new Set(['T', 't', 'Z', 'X', 'x']);

export async function withStoppedProcess<T>(
  pid: number,
  signal: AbortSignal | undefined,
  action: () => Promise<T>,
): Promise<T> {
  const before = await readStat(pid);
  const wasStopped = before.state === 'T' || before.state === 't';
  const resume = (): void => {
    if (!wasStopped) sendSignal(pid, 'SIGCONT');
  };
  process.on('exit', resume);
  try {
    if (!wasStopped) stop(pid);
    await waitUntilStopped(pid, signal);
    const result = await action();
    await assertSame(pid, before.startTime);
    return result;
  } catch (error) {
    // It was there a moment ago.
    const isMissing = error instanceof MmdumpError && error.code === 'PROCESS_NOT_FOUND';
    throw isMissing ? processGone(pid) : error;
  } finally {
    resume();
    process.off('exit', resume);
  }
}

function stop(pid: number): void {
  try {
    process.kill(pid, 'SIGSTOP');
  } catch (error) {
    throw procError(pid, 'stat', error);
  }
}

/** Sends a signal to a process that may have ended meanwhile. */
function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}

async function waitUntilStopped(pid: number, signal: AbortSignal | undefined): Promise<void> {
  const deadline = performance.now() + STOP_BOUND_MS;
  while (!(await isStanding(pid))) {
    throwIfAborted(signal);
    if (performance.now() > deadline) {
      const message = `process ${pid} did not stop within ${STOP_BOUND_MS / 1000} s of SIGSTOP`;
      throw new MmdumpError('PROCESS_UNSTOPPABLE', message, { pid });
    }
    await sleep(LOOK_AGAIN_MS);
  }
  throwIfAborted(signal);
}

/** Whether every thread of the process stands still. */
async function isStanding(pid: number): Promise<boolean> {
  const threads = await readdir(`/proc/${pid}/task`).catch((error: unknown) => {
    throw procError(pid, 'task', error);
  });
  for (const thread of threads) {
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

/** The pid may have been given to another process meanwhile. */
async function assertSame(pid: number, startTime: string): Promise<void> {
  const now = await readStat(pid).catch(() => undefined);
  if (now?.startTime === startTime && now.state !== 'Z' && now.state !== 'X') return;
  throw processGone(pid);
}
