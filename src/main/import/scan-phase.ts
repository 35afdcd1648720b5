/** Runs the scan phase, in which all workers of a pool read the page map of a process. */
import {
  SCAN_RUN,
  SCAN_RUN_KIND,
  SCAN_UNIT,
  type ScannedVma,
  ScanVmas,
} from '../../shared/dump/scan-table.ts';
import type { ScanReport } from '../../shared/dump/tasks/scan-task.ts';
import { GiB, MiB } from '../../shared/page.ts';
import type { Range, Ranges } from '../../shared/ranges.ts';
import { readU64, writeU64 } from '../../shared/u64.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { WorkerPool } from '../crew/pool.ts';
import { Yielder } from '../job/stop.ts';
import type { SmapsVma } from './smaps.ts';
import { touchedRanges } from './touched-ranges.ts';

/** Pages of address space per unit: 256 KiB of page map, and 8 units per GiB for the workers. */
const UNIT_PAGES = 0x8000;
/** Reading the page map of a unit takes as long as copying this many bytes. */
const UNIT_COST = MiB / 2;

export interface ScanInput {
  readonly pid: number;
  readonly pagemap: number; //    file descriptor
  readonly kpageflags: number; // file descriptor, or -1
  /** Whether to find out which frames other processes may show as well. */
  readonly wantsFrames: boolean;
}

/** A run of pages that have content, or are guard pages. */
export interface ScannedRun {
  readonly vma: number; //   ordinal
  readonly start: number; // page
  readonly pages: number;
  readonly kind: number; //  SCAN_RUN_KIND
  readonly writable: boolean;
  readonly pfn: number; //   of its first page, 0 where it is not shown
  /** Index of its first page in `frames` of the scan; -1 if no other process shows any of them. */
  readonly frames: number;
}

export interface ScanResult {
  /** In ascending order of address. */
  readonly runs: readonly ScannedRun[];
  /** One number per page of the runs with `frames`: the pfn, or -1 minus the swap entry. */
  readonly frames: Float64Array;
  /** Totals per mapping. */
  readonly vmas: ScanVmas;
  /** Whether frames of the real machine can be told apart. */
  readonly framesShown: boolean;
}

/** An empty mapping of this many bytes takes 20 ms to scan. */
const LARGE = 16 * GiB;
const KB_PER_HUGE_PAGE = 2048;

export async function runScanPhase(
  pool: WorkerPool,
  input: ScanInput,
  smaps: readonly SmapsVma[],
  vmas: readonly ScannedVma[],
  signal: AbortSignal | undefined,
): Promise<ScanResult> {
  const buffer = ScanVmas.create(vmas);
  const yielder = new Yielder(signal);
  const ranges: Ranges[] = [];
  for (const [at, vma] of vmas.entries()) {
    ranges.push(await rangesToRead(vma, smaps[at]!, input.pagemap, yielder));
  }
  const { units, unitCount } = planUnits(ranges);
  const crew = pool.crew({
    units: unitCount,
    bytes: unitCount * UNIT_COST,
    mayRunHere: false,
  });
  const task = { ...input, vmas: buffer, units, unitCount };
  const reports = await pool.phase('scan', crew).run(() => task, { signal });
  return {
    runs: settleHuge(collectRuns(reports), smaps),
    frames: collectFrames(reports),
    vmas: new ScanVmas(buffer),
    framesShown: reports.some(({ framesShown }) => framesShown),
  };
}

/**
 * Whether the page map of a mapping is not worth reading. It has 8 bytes for every page of the
 * mapping, which takes 1.4 s per TiB. Smaps does not count the zero page, and older kernels do not
 * tell of guard pages; in a mapping this large that holds nothing else, both are given up. A total
 * that the kernel does not give is not 0.
 */
export function isEmpty({ start, end, totals, hasGuards }: SmapsVma): boolean {
  return totals.rss === 0 && totals.swap === 0 && !hasGuards && end - start >= LARGE;
}

/** The parts of a mapping whose page map is worth reading. */
async function rangesToRead(
  { start, end, flags }: ScannedVma,
  smaps: SmapsVma,
  pagemap: number,
  yielder: Yielder,
): Promise<Ranges> {
  if ((flags & (VM.IO | VM.PFNMAP)) !== 0 || isEmpty(smaps)) return []; // the memory of a device
  return (await touchedRanges(pagemap, smaps, yielder)) ?? [{ from: start, to: end }];
}

/** Cuts the ranges of the mappings into units. Small neighbours share a unit. */
function planUnits(ranges: readonly Ranges[]): {
  readonly units: SharedArrayBuffer;
  readonly unitCount: number;
} {
  const units: { from: number; to: number; first: number; last: number }[] = [];
  const add = (index: number, { from: start, to: end }: Range): void => {
    for (let from = start; from < end; from += UNIT_PAGES) {
      const to = Math.min(end, from + UNIT_PAGES);
      const unit = units.at(-1);
      if (unit !== undefined && to - unit.from <= UNIT_PAGES && unit.last === index) {
        unit.to = to;
        unit.last = index + 1;
      } else {
        units.push({ from, to, first: index, last: index + 1 });
      }
    }
  };
  for (const [index, each] of ranges.entries()) for (const range of each) add(index, range);
  const buffer = new SharedArrayBuffer(units.length * SCAN_UNIT.WORDS * 4);
  const words = new Int32Array(buffer);
  units.forEach(({ from, to, first, last }, unit) => {
    const at = unit * SCAN_UNIT.WORDS;
    writeU64(words, at + SCAN_UNIT.FROM, from);
    writeU64(words, at + SCAN_UNIT.TO, to);
    words[at + SCAN_UNIT.FIRST] = first;
    words[at + SCAN_UNIT.LAST] = last;
  });
  return { units: buffer, unitCount: units.length };
}

/** The runs of all workers, in ascending order of address. */
function collectRuns(reports: readonly ScanReport[]): ScannedRun[] {
  const runs: ScannedRun[] = [];
  let before = 0;
  for (const { runs: words, frames } of reports) {
    for (let at = 0; at < words.length; at += SCAN_RUN.WORDS) {
      runs.push({
        vma: words[at + SCAN_RUN.VMA]!,
        start: readU64(words, at + SCAN_RUN.START),
        pages: words[at + SCAN_RUN.PAGES]!,
        kind: words[at + SCAN_RUN.KIND]!,
        writable: words[at + SCAN_RUN.WRITABLE] === 1,
        pfn: readU64(words, at + SCAN_RUN.PFN),
        frames: words[at + SCAN_RUN.FRAMES]! < 0 ? -1 : before + words[at + SCAN_RUN.FRAMES]!,
      });
    }
    before += frames.length;
  }
  return runs.sort((a, b) => a.start - b.start);
}

/** The frames of all workers, in the order in which `collectRuns` counts them. */
function collectFrames(reports: readonly ScanReport[]): Float64Array {
  const frames = new Float64Array(reports.reduce((sum, each) => sum + each.frames.length, 0));
  let at = 0;
  for (const report of reports) {
    frames.set(report.frames, at);
    at += report.frames.length;
  }
  return frames;
}

/**
 * A huge page that 512 small leaves map (its 2 MiB leaf was split) looks like one that a single
 * leaf maps. Smaps tells how many of the latter a mapping has, but not which; the first ones are
 * taken.
 */
function settleHuge(runs: readonly ScannedRun[], smaps: readonly SmapsVma[]): ScannedRun[] {
  const left = smaps.map(({ totals: { anonHugePages } }) => {
    return anonHugePages === null ? Number.POSITIVE_INFINITY : anonHugePages / KB_PER_HUGE_PAGE;
  });
  return runs.map((run) => {
    if (run.kind !== SCAN_RUN_KIND.HUGE) return run;
    left[run.vma]! -= 1;
    return left[run.vma]! >= 0 ? run : { ...run, kind: SCAN_RUN_KIND.CONTENT };
  });
}
