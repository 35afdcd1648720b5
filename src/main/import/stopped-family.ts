/**
 * Holds several processes still at once: those that were asked for and, if wanted, all of their
 * descendants. No process is read before all stand still, and all go on afterwards in any case.
 */
import { readdir } from 'node:fs/promises';
import { MmdumpError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { processGone, readStat } from './proc.ts';
import { StoppedProcess } from './stopped-process.ts';
import { livingThread } from './threads.ts';

/** Rounds of looking for new descendants. A family that still forks after these is given up. */
const ROUNDS_MAX = 100;

export interface FamilyOptions {
  /** Whether to stop all descendants as well, and hand them over. */
  readonly children: boolean;
  /** The pids of the processes. The ids that were given may be those of their threads. */
  readonly groups: readonly number[];
  readonly signal: AbortSignal | undefined;
}

/**
 * Runs `action` with the processes while they stand still: first `pids` as given, then, if asked
 * for, all descendants by ascending pid. Descendants without an mm (zombies) and the importing
 * process are left out. PROCESS_RESUMED if any of them ran meanwhile, PROCESS_GONE if any ended.
 */
export async function withStoppedFamily<T>(
  pids: readonly number[],
  options: FamilyOptions,
  action: (family: readonly StoppedProcess[]) => Promise<T>,
): Promise<T> {
  const family: StoppedProcess[] = [];
  try {
    for (const pid of pids) family.push(await StoppedProcess.stop(pid));
    for (const each of family) await each.standStill(options.signal);
    if (options.children) await stopDescendants(family, options);
    const ordered = [
      ...family.slice(0, pids.length),
      ...family.slice(pids.length).sort((a, b) => a.pid - b.pid),
    ];
    const result = await action(ordered);
    for (const each of family) await each.assertStoodStill();
    return result;
  } catch (error) {
    throw goneIfMissing(error);
  } finally {
    // Children go on first: a parent that waits for them must not find them stopped.
    for (const each of family.reverse()) each.release();
  }
}

/** PROCESS_RESUMED or PROCESS_GONE unless all processes have stood still so far. */
export async function assertStoodStill(family: readonly StoppedProcess[]): Promise<void> {
  try {
    for (const each of family) await each.assertStoodStill();
  } catch (error) {
    throw goneIfMissing(error);
  }
}

/** PROCESS_GONE for PROCESS_NOT_FOUND: the process was there a moment ago, so it has ended. */
function goneIfMissing(error: unknown): unknown {
  const isMissing = error instanceof MmdumpError && error.code === 'PROCESS_NOT_FOUND';
  return isMissing ? processGone(error.fields.pid as number) : error;
}

/** A parent that stands still forks no more. So the search ends when it finds no new descendant. */
async function stopDescendants(
  family: StoppedProcess[],
  { groups, signal }: FamilyOptions,
): Promise<void> {
  for (let round = 0; round < ROUNDS_MAX; round++) {
    throwIfAborted(signal);
    const fresh = await descendantsOf([...groups, ...family.map(({ group }) => group)]);
    if (fresh.length === 0) return;
    for (const pid of fresh) {
      const stopped = await stopIfThere(pid, signal);
      if (stopped !== undefined) family.push(stopped);
    }
  }
  const { pid } = family[0]!;
  const message = `process ${pid}: its descendants fork faster than they can be stopped`;
  throw new MmdumpError('PROCESS_UNSTOPPABLE', message, { pid });
}

/** Stops a descendant and waits until it stands still; undefined if it has ended meanwhile. */
async function stopIfThere(
  group: number,
  signal: AbortSignal | undefined,
): Promise<StoppedProcess | undefined> {
  let stopped: StoppedProcess | undefined;
  try {
    const pid = await livingThread(group);
    if (pid === undefined) return undefined;
    stopped = await StoppedProcess.stop(pid);
    await stopped.standStill(signal);
    if (await hasMemory(pid)) return stopped;
    stopped.release();
    return undefined;
  } catch (error) {
    stopped?.release();
    if (error instanceof MmdumpError && HAS_ENDED.has(error.code)) return undefined;
    throw error;
  }
}

const HAS_ENDED: ReadonlySet<string> = new Set(['PROCESS_NOT_FOUND', 'PROCESS_GONE']);

async function hasMemory(pid: number): Promise<boolean> {
  const { state } = await readStat(pid);
  return state !== 'Z' && state !== 'X';
}

/** Descendants of these processes that are not among them, by ascending pid. */
export async function descendantsOf(pids: readonly number[]): Promise<number[]> {
  const known = new Set(pids);
  return (await descendants(known)).filter((pid) => !known.has(pid));
}

/** Living processes that descend from these, by their parents' pids. */
async function descendants(roots: ReadonlySet<number>): Promise<number[]> {
  const children = new Map<number, number[]>();
  for (const name of await readdir('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const stat = await readStat(pid).catch(() => undefined); // it has ended meanwhile
    if (stat === undefined || stat.state === 'X') continue;
    // The leader of a process may have exited, and its other threads live.
    if (stat.state === 'Z' && (await livingThread(pid)) === undefined) continue;
    const parent = stat.field(4);
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [pid]);
    else siblings.push(pid);
  }
  const found: number[] = [];
  const open = [...roots];
  for (let pid = open.pop(); pid !== undefined; pid = open.pop()) {
    for (const child of children.get(pid) ?? []) {
      found.push(child);
      if (!roots.has(child)) open.push(child);
    }
  }
  return [...new Set(found)].sort((a, b) => a - b);
}
