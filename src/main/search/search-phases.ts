/**
 * Runs the phases of a search over units that are planned. Bytes take one phase. An expression takes
 * two or three: its matches are counted in all units at once, as if no match went on from one unit
 * into the next. Units into which one does are corrected, in order, by one worker; at worst that are
 * all units. Then the units with the first matches are searched once more, to list them.
 */
import {
  SEARCH_STATE,
  SEARCH_UNIT,
  type SearchExpression,
  type SearchPattern,
  type SearchReport,
} from '../../shared/dump/tasks/search-task.ts';
import type { Crew } from '../crew/crew.ts';
import type { Ferry } from '../crew/ferry.ts';
import type { PhaseOptions, TaskFields } from '../crew/phase.ts';
import type { WorkerPool } from '../crew/pool.ts';
import type { Match } from './search.ts';

const { SKIPPED, COUNT, REACH, WORDS } = SEARCH_STATE;

/** A search whose units are planned, and who runs it. */
export interface PlannedSearch {
  readonly pool: WorkerPool;
  readonly crew: Crew;
  /** Makes what carries memory that is not shared in one phase. */
  readonly ferry?: () => Ferry;
  /** The fields of the task of one worker that do not depend on the pattern. */
  readonly taskOf: (ferry: Ferry | undefined) => Omit<TaskFields<'search'>, 'pattern'>;
}

/** What the phases have found. */
export interface Found {
  readonly matches: Match[];
  readonly count: number;
}

/** Searches for bytes. */
export async function findBytes(
  planned: PlannedSearch,
  bytes: Uint8Array,
  options: PhaseOptions,
): Promise<Found> {
  const pattern: SearchPattern = { kind: 'bytes', bytes };
  const reports = await runPhase(planned, planned.crew, pattern, options);
  const count = reports.reduce((sum, report) => sum + report.count, 0);
  return { matches: matchesOf(reports, planned.taskOf(undefined).most), count };
}

function runPhase(
  { pool, ferry, taskOf }: PlannedSearch,
  crew: Pick<Crew, 'workers' | 'here'>,
  pattern: SearchPattern,
  options: PhaseOptions,
): Promise<SearchReport[]> {
  const carries = ferry?.();
  const phase = pool.phase('search', crew);
  return phase.run(() => ({ ...taskOf(carries), pattern }), { ...options, ferry: carries });
}

/** Searches for an expression. `onProgress` of the options follows the first phase. */
export async function findExpression(
  planned: PlannedSearch,
  expression: SearchExpression,
  options: PhaseOptions,
): Promise<Found> {
  const { crew } = planned;
  const task = planned.taskOf(undefined);
  const words = new SharedArrayBuffer(Math.max(8, task.unitCount * WORDS * 8));
  const states = new Float64Array(words);
  const run = (
    step: 'count' | 'settle' | 'list',
    units: readonly number[],
    on: Pick<Crew, 'workers' | 'here'>,
  ): Promise<SearchReport[]> => {
    const pattern: SearchPattern = { kind: 'expression', expression, states: words, step, units };
    const { signal } = options;
    const chosen = step === 'count' ? options : { signal };
    // Nothing can interrupt an expression that tries one way after the other.
    return runPhase(planned, on, pattern, { ...chosen, mayHang: true });
  };
  await run('count', [], crew);
  if (isUnsettled(states, new Float64Array(task.units), task.unitCount)) {
    await run('settle', [], { workers: 1, here: crew.here });
  }
  let count = 0;
  const listed: number[] = [];
  for (let unit = 0; unit < task.unitCount; unit++) {
    const found = states[unit * WORDS + COUNT]!;
    if (found > 0 && count < task.most) listed.push(unit);
    count += found;
  }
  if (listed.length === 0) return { matches: [], count };
  const workers = Math.min(crew.workers, listed.length);
  const reports = await run('list', listed, { workers, here: crew.here });
  return { matches: matchesOf(reports, task.most), count };
}

/** Whether a match of some unit covers the beginning of the next one. */
function isUnsettled(states: Float64Array, units: Float64Array, count: number): boolean {
  for (let unit = 1; unit < count; unit++) {
    if (units[unit * SEARCH_UNIT.WORDS + SEARCH_UNIT.CONTINUES] === 0) continue;
    const at = unit * WORDS;
    if (states[at - WORDS + REACH]! !== states[at + SKIPPED]!) return true;
  }
  return false;
}

/** The first `most` matches of all workers, each of which has listed as many of its own. */
function matchesOf(reports: readonly SearchReport[], most: number): Match[] {
  const all: Match[] = [];
  for (const { matches } of reports) {
    for (let at = 0; at < matches.length; at += 3) {
      all.push({ mm: matches[at]!, address: matches[at + 1]!, bytes: matches[at + 2]! });
    }
  }
  return all.sort((a, b) => a.mm - b.mm || a.address - b.address).slice(0, most);
}
