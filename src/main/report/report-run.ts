/** Reads what `dump --json` printed, as a report shows it. */
import { isArray, read } from '../../shared/arguments/checks.ts';
import { MmdumpError } from '../../shared/errors.ts';
import type { ReportRun, ReportWorker } from '../../shared/report/report-data.ts';

/** The steps whose times a report shows. */
const TIMES = ['import', 'lockWait', 'pause', 'plan', 'copy', 'commit', 'total'] as const;
const WORKER_NUMBERS = ['worker', 'units', 'pages', 'bytes', 'busyMs', 'startMs'] as const;

/** OPTION_INVALID unless `run` is the report of the dump that made the image with this id. */
export function runOf(run: unknown, id: string): ReportRun {
  const made = read(read(run, 'image'), 'id');
  if (typeof made === 'string' && made !== id) {
    throw refused(`it is of the image with id ${made}, and this image has id ${id}`);
  }
  const workers = read(run, 'workers');
  const workersReason = read(run, 'workersReason');
  const perWorker = read(run, 'perWorker');
  const ms = timesOf(read(run, 'ms'));
  const isWhole = made === id && isCount(workers) && typeof workersReason === 'string';
  if (!isWhole || ms === undefined || !isArray(perWorker)) throw refused(NOT_A_REPORT);
  return { workers, workersReason, ms, perWorker: perWorker.map(workerOf) };
}

const NOT_A_REPORT = 'it is not what dump --json prints';

/** The times by their names; undefined if one is no number. */
function timesOf(value: unknown): ReportRun['ms'] | undefined {
  const times: { [name: string]: number } = {};
  for (const name of TIMES) {
    const time = read(value, name);
    if (time === undefined) continue;
    if (!isCount(time)) return undefined;
    times[name] = time;
  }
  return typeof value === 'object' && value !== null ? times : undefined;
}

function workerOf(value: unknown): ReportWorker {
  const phase = read(value, 'phase');
  const numbers = WORKER_NUMBERS.map((name) => read(value, name));
  if (typeof phase !== 'string' || !/^[a-z]+$/.test(phase) || !numbers.every(isCount)) {
    throw refused(NOT_A_REPORT);
  }
  const [worker, units, pages, bytes, busyMs, startMs] = numbers;
  return { phase, worker, units, pages, bytes, busyMs, startMs } as ReportWorker;
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

function refused(why: string): MmdumpError {
  return new MmdumpError('OPTION_INVALID', `run: ${why}`);
}
