/**
 * Reading processes that go on meanwhile. No instant is captured; what can be had is that the
 * mappings are the same before and after, so that every page was read from the mapping it belongs to.
 */
import { MmdumpError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { processGone, readProc, readStat } from './proc.ts';

/** A process that maps and unmaps all the time is never seen the same twice. */
const ATTEMPTS = 5;

/**
 * Runs `attempt` until the mappings of all processes are the same before and after. PROCESS_CHANGED
 * when they never are, PROCESS_GONE if one ended. What an attempt throws while a mapping changed is
 * forgotten: the page that it missed has gone; `undo` gives back what it had loaded.
 */
export async function withRunningFamily<T>(
  pids: readonly number[],
  signal: AbortSignal | undefined,
  attempt: () => Promise<T>,
  undo: () => Promise<void>,
): Promise<T> {
  for (let tried = 0; tried < ATTEMPTS; tried++) {
    throwIfAborted(signal);
    const before = await lookAtAll(pids);
    let outcome: { readonly result: T } | { readonly error: unknown };
    try {
      outcome = { result: await attempt() };
    } catch (error) {
      outcome = { error };
    }
    throwIfAborted(signal);
    const isSame = (await lookAtAll(pids)).every((now, at) => now === before[at]);
    if (isSame && 'result' in outcome) return outcome.result;
    if (isSame && 'error' in outcome) throw outcome.error;
    if ('error' in outcome && !(outcome.error instanceof MmdumpError)) throw outcome.error;
    await undo();
  }
  const [pid] = pids;
  const message =
    `process ${pid}: mappings changed each of the ${ATTEMPTS} times that it was read: ` +
    'let it be stopped meanwhile, or stop it yourself';
  throw new MmdumpError('PROCESS_CHANGED', message, { pid: pid! });
}

/** Which process it is, and what it maps. PROCESS_GONE where there is none any more. */
async function lookAtAll(pids: readonly number[]): Promise<string[]> {
  const seen: string[] = [];
  for (const pid of pids) {
    try {
      const { startTime, state } = await readStat(pid);
      const maps = await readProc(pid, 'maps');
      if (state === 'Z' || state === 'X' || maps.length === 0) throw processGone(pid);
      seen.push(`${startTime} ${maps.toString('latin1')}`);
    } catch (error) {
      const isMissing = error instanceof MmdumpError && error.code === 'PROCESS_NOT_FOUND';
      throw isMissing ? processGone(pid) : error;
    }
  }
  return seen;
}
