/** Running the scan phase: the page map of a stopped process, read by all workers of a pool. */
import { createPhase, PhaseControl } from '../../shared/dump/phase-control.ts';
import {
  SCAN_RUN,
  SCAN_RUN_KIND,
  SCAN_UNIT,
  type ScannedVma,
  ScanVmas,
} from '../../shared/dump/scan-table.ts';
import type { ScanReport, ScanTask } from '../../shared/dump/tasks.ts';
import { GiB, MiB } from '../../shared/page.ts';
import { readU64, writeU64 } from '../../shared/u64.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { WorkerPool } from '../crew/pool.ts';
import type { SmapsVma } from './smaps.ts';

/** Address space of a unit in pages: 256 KiB of page map, and so many workers for 1 GiB at least. */
const UNIT_PAGES = 0x8000;
/** To read 256 KiB of page map takes as long as to copy so many bytes. */
const UNIT_COST = MiB / 2;

export interface ScanInput {
  readonly pid: number;
  readonly pagemap: number; //    file descriptor
  readonly kpageflags: number; // file descriptor, or -1
  /** Find out which frames other processes may show, too. */
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
  /** Place of its pages in the frames of the scan; -1: no other process shows any of them. */
  readonly frames: number;
}

export interface ScanResult {
  /** Ascending. */
  readonly runs: readonly ScannedRun[];
  /** What runs with `frames` show, page by page: a PFN, or -1 - a swap entry. */
  readonly frames: Float64Array;
  /** Totals per mapping. */
  readonly vmas: ScanVmas;
  /** Whether frames of the real machine can be told apart. */
  readonly framesShown: boolean;
}

/** Address space that takes 20 ms to scan if there is nothing in it. */
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
  const { units, unitCount } = planUnits(vmas, smaps.map(isEmpty));
  const { workers } = pool.crew({
    units: unitCount,
    bytes: unitCount * UNIT_COST,
    mayRunHere: false,
  });
  const phase = createPhase(workers);
  const tasks: ScanTask[] = Array.from({ length: workers }, (_, worker) => {
    return { ...input, phase, worker, vmas: buffer, units, unitCount };
  });
  const control = new PhaseControl(phase);
  const reports = await pool.runPhase<ScanTask, ScanReport>('scan', tasks, control, { signal });
  return {
    runs: settleHuge(collectRuns(reports), smaps),
    frames: collectFrames(reports),
    vmas: new ScanVmas(buffer),
    framesShown: reports.some(({ framesShown }) => framesShown),
  };
}

/**
 * Whether the page map of a mapping is not worth reading: it has 8 bytes for every page that is
 * reserved, 1.4 s a TiB. What smaps does not count there, the zero page and guard pages, is given up
 * in mappings so large that hold nothing else. A total that the kernel does not give is not 0.
 */
export function isEmpty({ start, end, totals, hasGuards }: SmapsVma): boolean {
  return totals.rss === 0 && totals.swap === 0 && !hasGuards && end - start >= LARGE;
}

/** Stretches of the address space that hold mappings worth scanning, none larger than a unit. */
function planUnits(
  vmas: readonly ScannedVma[],
  skipped: readonly boolean[],
): {
  readonly units: SharedArrayBuffer;
  readonly unitCount: number;
} {
  const units: { from: number; to: number; first: number; last: number }[] = [];
  vmas.forEach(({ start, end, flags }, index) => {
    if ((flags & (VM.IO | VM.PFNMAP)) !== 0) return; // the memory of a device
    if (skipped[index]) return;
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
  });
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

/** The runs of all workers in order of address: by unit, and as they are within one. */
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

/** The frames of all workers, one behind the other as `collectRuns` counts them. */
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
 * A huge page behind 512 single leaves (its 2 MiB leaf was split) looks like one behind one leaf.
 * Smaps knows how many of the latter there are; which ones cannot be seen.
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
