/**
 * Measures a dump of several address spaces beside a dump of one that holds as many pages.
 *
 *   npm run bench:family                          8 × 128 MiB against 1 GiB
 *   npm run bench:family -- --mms 8 --size 32M --rounds 15 --json results.json
 *
 * Both take turns, round by round, because a shared machine drifts: read the ratio. Every round has
 * a ratio of times, family / one, and the line shows the median of these. This is not done with
 * tinybench, because only the ratio within a round counts.
 *
 * Every mm of the family is a fork of the first and has written all of its pages. So nothing is
 * shared, and both images hold the same number of pages. In the last lines the family shares
 * everything.
 */
import { parseArgs } from 'node:util';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type MemorySink,
  MiB,
  memorySink,
} from 'mmdump';
import { parseSize, wholeNumber } from '../src/main/cli/sizes.ts';
import { describeMachine, printHeader, printTable, writeJson } from './results.ts';
import { median } from './statistics.ts';

const PAGE = 4096;
const WORKERS = [1, 2];
const BARE = { checksum: 'none' } as const;

const { values: flags } = parseArgs({
  options: {
    mms: { type: 'string', default: '8' },
    size: { type: 'string', default: '128M' },
    rounds: { type: 'string', default: '7' },
    json: { type: 'string' },
  },
});
const mms = wholeNumber(2, 64)(flags.mms);
const bytes = benchSize(flags.size);
const rounds = wholeNumber(1, 100)(flags.rounds);

function benchSize(text: string): number {
  const size = parseSize(text);
  if (size >= MiB && size <= 1024 * MiB && size % MiB === 0) return size;
  throw new RangeError(`--size ${text}: expected whole MiB, 1M to 1024M`);
}

interface Line {
  readonly name: string;
  readonly workers: number;
  readonly familyMs: number; // median
  readonly oneMs: number;
  /** Median over the rounds of family time / time of the one. */
  readonly ratio: number;
  readonly ratioSpread: readonly [number, number];
}

const ANON = { prot: 'rw', flags: ['private', 'anonymous'] } as const;

function fillAll(space: AddressSpace, start: number, length: number, seed: number): void {
  for (let at = 0; at < length; at += PAGE) {
    space.fill(start + at, PAGE, 1 + ((seed + at / PAGE) % 255));
  }
}

function memoryFor(size: number): number {
  return size + size / 64 + 64 * MiB;
}

function oneSpace(): AddressSpace {
  const length = mms * bytes;
  const space = createMachine({ memory: memoryFor(length) }).createAddressSpace();
  fillAll(space, space.mmap({ ...ANON, length }), length, 0);
  return space;
}

/** Makes a parent and its forks. With `isOwn` each of them writes all of its pages. */
function familySpaces(isOwn: boolean): AddressSpace[] {
  const memory = memoryFor(isOwn ? mms * bytes : bytes);
  const parent = createMachine({ memory, maxAddressSpaces: mms }).createAddressSpace();
  const start = parent.mmap({ ...ANON, length: bytes });
  fillAll(parent, start, bytes, 0);
  const family = [parent];
  while (family.length < mms) {
    const child = parent.fork();
    if (isOwn) fillAll(child, start, bytes, family.length);
    family.push(child);
  }
  return family;
}

async function timed(
  dumper: Dumper,
  spaces: readonly AddressSpace[],
  to: MemorySink,
  options: object,
): Promise<number> {
  return (await dumper.dump(spaces, { to, ...options })).ms.total;
}

async function compare(
  name: string,
  workers: number,
  family: readonly AddressSpace[],
  one: AddressSpace,
  options: object,
): Promise<Line> {
  const dumper = await createDumper({ workers });
  const sink = memorySink();
  const familyMs: number[] = [];
  const oneMs: number[] = [];
  try {
    await timed(dumper, [one], sink, options); // touches the sink's memory, compiles the code
    await timed(dumper, family, sink, options);
    for (let round = 0; round < rounds; round++) {
      const isFamilyFirst = round % 2 === 0; // so that neither always comes first
      if (isFamilyFirst) familyMs.push(await timed(dumper, family, sink, options));
      oneMs.push(await timed(dumper, [one], sink, options));
      if (!isFamilyFirst) familyMs.push(await timed(dumper, family, sink, options));
    }
  } finally {
    await dumper.close();
    sink.release();
  }
  const ratios = familyMs.map((ms, round) => ms / oneMs[round]!);
  return {
    name,
    workers,
    familyMs: median(familyMs),
    oneMs: median(oneMs),
    ratio: median(ratios),
    ratioSpread: [Math.min(...ratios), Math.max(...ratios)],
  };
}

const machine = describeMachine('npm run bench:family');
printHeader(machine, `${mms} mms × ${bytes / MiB} MiB, ${rounds} rounds`);
const lines: Line[] = [];
const one = oneSpace();
const own = familySpaces(true);
for (const workers of WORKERS) {
  lines.push(await compare('own pages, no checksums', workers, own, one, BARE));
  lines.push(await compare('own pages, defaults', workers, own, one, {}));
}
const shared = familySpaces(false);
for (const workers of WORKERS) {
  lines.push(await compare('all shared, no checksums', workers, shared, one, BARE));
}
printTable(
  ['line', 'workers', 'family ms', 'one mm ms', 'time family / one', 'min–max'],
  lines.map(({ name, workers, familyMs, oneMs, ratio, ratioSpread }) => [
    name,
    workers,
    familyMs.toFixed(1),
    oneMs.toFixed(1),
    ratio.toFixed(3),
    ratioSpread.map((each) => each.toFixed(2)).join('–'),
  ]),
);
writeJson(flags.json, { machine, mms, bytes, rounds, lines });
