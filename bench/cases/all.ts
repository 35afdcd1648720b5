/** Every case, in the order in which they run. */
import type { BenchCase } from '../case.ts';
import { access } from './access.ts';
import { adopted } from './adopted.ts';
import { chain } from './chain.ts';
import { classify } from './classify.ts';
import { compress } from './compress.ts';
import { convert } from './convert.ts';
import { diff } from './diff.ts';
import { digest } from './digest.ts';
import { dumpRuns, dumpSinks, dumpSize, dumpWorkers, dumpZero } from './dump-axes.ts';
import { file } from './file.ts';
import { growthPages, growthRange, growthVmas, growthWorkers } from './growth.ts';
import { guest } from './guest.ts';
import { imageRead } from './image-read.ts';
import { importCase } from './import.ts';
import { importFloors } from './import-floors.ts';
import { locks } from './locks.ts';
import { mappings } from './mappings.ts';
import { overhead } from './overhead.ts';
import { peak } from './peak.ts';
import { peers } from './peers.ts';
import { report } from './report.ts';
import { restore } from './restore.ts';
import { search } from './search.ts';
import { serial } from './serial.ts';
import { small } from './small.ts';
import { snapshots } from './snapshots.ts';
import { start } from './start.ts';
import { targets } from './targets.ts';
import { v86 } from './v86.ts';
import { verify } from './verify.ts';

export const CASES: readonly BenchCase[] = [
  targets,
  dumpSinks,
  dumpRuns,
  dumpWorkers,
  dumpZero,
  dumpSize,
  file,
  classify,
  adopted,
  mappings,
  small,
  serial,
  locks,
  access,
  overhead,
  peak,
  digest,
  verify,
  restore,
  imageRead,
  chain,
  compress,
  diff,
  search,
  snapshots,
  v86,
  guest,
  importCase,
  importFloors,
  convert,
  report,
  start,
  peers,
  growthPages,
  growthVmas,
  growthRange,
  growthWorkers,
];

/** The cases with these names, and those whose names begin with one of them and a hyphen. */
export function chooseCases(only: readonly string[]): BenchCase[] {
  for (const name of only) {
    if (CASES.some((each) => isChosen(each, name))) continue;
    throw new RangeError(`--only ${name}: no such case; --list names them`);
  }
  return CASES.filter((each) => only.length === 0 || only.some((name) => isChosen(each, name)));
}

function isChosen({ name }: BenchCase, wanted: string): boolean {
  return name === wanted || name.startsWith(`${wanted}-`);
}
