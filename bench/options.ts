/** The options of `npm run bench`. */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { GiB, MiB } from 'mmdump';
import { parseSize, wholeNumber } from '../src/main/cli/sizes.ts';

export interface BenchOptions {
  /** The cases to run, by their names or by the part before the hyphen. Empty: all of them. */
  readonly only: readonly string[];
  readonly list: boolean;
  /** Bytes of memory that most cases dump. */
  readonly bytes: number;
  /** Bytes of the live processes that are dumped beside other programs. */
  readonly liveBytes: readonly number[];
  readonly rounds: number;
  /** Numbers of workers, in ascending order. */
  readonly workers: readonly number[];
  /** Whether to measure less of everything, to see that it runs. */
  readonly isQuick: boolean;
  readonly json: string | undefined;
  readonly plots: string | undefined;
  /** The folder for the files that cases write. */
  readonly folder: string;
}

const USAGE = `npm run bench -- [options]
  --only NAME[,NAME]   these cases, or all whose name begins with NAME-
  --list               names the cases
  --size SIZE          memory that is dumped, 16M to 4G in whole MiB (1G; import: 1G and 4G)
  --rounds N           measured rounds (5)
  --workers N[,N]      numbers of workers (1, 2, 4, … all cores)
  --quick              64 MiB, 2 rounds, shorter series
  --json FILE          everything as JSON
  --plots FOLDER       SVG plots
  --folder FOLDER      where files are written (the current one)
`;

export function parseOptions(args: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string', default: '' },
      list: { type: 'boolean', default: false },
      size: { type: 'string' },
      rounds: { type: 'string' },
      workers: { type: 'string' },
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
      plots: { type: 'string' },
      folder: { type: 'string', default: '.' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    process.exit(0);
  }
  const isQuick = values.quick;
  const isSized = isQuick || values.size !== undefined;
  const bytes = benchSize(values.size ?? (isQuick ? '64M' : '1G'));
  return {
    only: values.only.split(',').filter((name) => name !== ''),
    list: values.list,
    bytes,
    liveBytes: isSized ? [bytes] : [GiB, 4 * GiB],
    rounds: wholeNumber(1, 100)(values.rounds ?? (isQuick ? '2' : '5')),
    workers: values.workers === undefined ? defaultWorkers() : workerList(values.workers),
    isQuick,
    json: values.json,
    plots: values.plots,
    folder: values.folder,
  };
}

/** Accepts multiples of 2 MiB, so that the frames make whole runs, and enough to be measured. */
function benchSize(text: string): number {
  const size = parseSize(text);
  if (size >= 16 * MiB && size <= 4 * GiB && size % (2 * MiB) === 0) return size;
  throw new RangeError(`--size ${text}: expected an even number of MiB, 16M to 4G`);
}

function workerList(text: string): number[] {
  return [...new Set(text.split(',').map(wholeNumber(1, 128)))].sort((a, b) => a - b);
}

/** The powers of two below the number of cores, and that number. */
export function defaultWorkers(cores: number = availableParallelism()): number[] {
  const counts: number[] = [];
  for (let count = 1; count < cores; count *= 2) counts.push(count);
  return [...counts, cores];
}
