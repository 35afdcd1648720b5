/**
 * Reads processes that keep running. No single instant is captured. But the mappings have to be the
 * same before and after, so that every page was read from the mapping that it belongs to.
 */
import { MmdumpError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { processGone, readProc, readStat } from './proc.ts';

/** A process that maps and unmaps all the time never shows the same mappings twice. */
const ATTEMPTS = 5;

/**
 * Runs `attempt` until the mappings of all processes are the same before and after it. If mappings
 * changed, an MmdumpError of the attempt is ignored, since the page that it could not read may be
 * gone, and `undo` gives back what was loaded. PROCESS_CHANGED if the mappings change every time,
 * PROCESS_GONE if a process ended.
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
    `process ${pid}: its mappings changed each of the ${ATTEMPTS} times that they were read: ` +
    'let it be frozen meanwhile, or stop it yourself';
  throw new MmdumpError('PROCESS_CHANGED', message, { pid: pid! });
}

/** One text per process, which identifies it and its mappings. PROCESS_GONE if one has ended. */
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
