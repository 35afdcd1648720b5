/** Lists the pages of a process for the load phase. */

import { mapMerged } from '../../mmu/fault/ksm.ts';
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import { runOnAsync } from '../../mmu/machine/enter.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { NO_DIGEST } from '../../shared/digest/digest-kind.ts';
import { LOAD, LOAD_FLAG, LoadList } from '../../shared/dump/load-table.ts';
import { SCAN_RUN_KIND } from '../../shared/dump/scan-table.ts';
import { addressOf, GRANULE_PAGES, PAGE_SIZE } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { MappedFile } from './mapped-files.ts';
import type { ProcessVma } from './process-mappings.ts';
import type { ScannedRun } from './scan-phase.ts';
import type { SharedRun } from './shared-frames.ts';

const { CONTENT, ZERO_PAGE, FILE_PAGES, GUARD, MERGED, HUGE } = SCAN_RUN_KIND;

/** Pages that show the same KSM frame of the real machine. Only the first of them is loaded. */
export type MergedPages = ReadonlyMap<number, readonly number[]>;

export interface PageList {
  readonly list: LoadList;
  /** First page → the others. */
  readonly merged: MergedPages;
}

/** Lists the pages of a process. `backing`: where its pages stay, or -1 to load them all. */
export function listPages(
  runs: readonly ScannedRun[],
  vmas: readonly ProcessVma[],
  ids: ReadonlyMap<MappedFile, number>,
  backing: number,
): PageList {
  const list = new LoadList();
  const byFrame = new Map<number, number[]>();
  for (const run of runs) {
    const vma = vmas[run.vma]!;
    if (backing >= 0 && canStay(run, vma)) {
      if (run.kind !== FILE_PAGES) addBacked(list, run, backing); // else the file tells its place
      continue;
    }
    const known = run.kind === MERGED ? byFrame.get(run.pfn) : undefined;
    if (known !== undefined) {
      known.push(run.start);
      continue;
    }
    if (run.kind === MERGED) byFrame.set(run.pfn, [run.start]);
    addRun(list, run, vma, vma.file === null ? 0 : ids.get(vma.file)!);
  }
  const merged = new Map<number, readonly number[]>();
  for (const [first, ...others] of byFrame.values()) merged.set(first!, others);
  return { list, merged };
}

/** Lists pages that earlier processes show as well, for the process with ordinal `taker`. */
export function listShared(list: LoadList, shared: readonly SharedRun[], taker: number): void {
  for (const { start, pages, donor, isHuge } of shared) {
    list.add({
      mm: taker,
      kind: LOAD.SHARE,
      flags: isHuge ? LOAD_FLAG.HUGE : 0,
      pages,
      start,
      source: donor,
      file: 0,
      index: 0,
      ...NO_DIGEST,
    });
  }
}

/**
 * Returns the most frames that a process takes: for the pages that it loads itself, and for page
 * tables of all pages that it shows. Page caches are counted by file, since several processes show
 * them. Of the pages that it loads itself only those count for which `isLoaded` is true.
 */
export function framesOf(
  own: readonly ScannedRun[],
  all: readonly ScannedRun[],
  isLoaded: (run: ScannedRun) => boolean,
): number {
  const merged = new Set<number>();
  let frames = 0;
  for (const run of own) {
    const { kind, pages, pfn } = run;
    const isKnown = kind === MERGED && merged.has(pfn);
    if (kind === MERGED) merged.add(pfn);
    const isCounted = kind !== ZERO_PAGE && kind !== GUARD && kind !== FILE_PAGES;
    if (isCounted && !isKnown && isLoaded(run)) frames += pages;
  }
  let granules = 0;
  let lastGranule = -1;
  for (const { start, pages } of all) {
    const first = Math.floor(start / GRANULE_PAGES);
    const last = Math.floor((start + pages - 1) / GRANULE_PAGES);
    granules += last - Math.max(first, lastGranule + 1) + 1;
    lastGranule = last;
  }
  return frames + upperTables(granules);
}

/**
 * Whether the pages of the run can stay in the process: private pages with content, merged or not,
 * and pages of unreachable files.
 */
export function canStay({ kind }: ScannedRun, { isVdso, file }: ProcessVma): boolean {
  if (kind === FILE_PAGES) return file !== null;
  return (kind === CONTENT || kind === HUGE || kind === MERGED) && !isVdso;
}

/** Each merged page has its own place, since a page of a backing is loaded into a frame of its own. */
function addBacked(list: LoadList, { pages, start, kind }: ScannedRun, backing: number): void {
  const place = start; // the number of a page in the process
  const flags = kind === MERGED ? LOAD_FLAG.MERGED : 0;
  const run = { mm: 0, kind: LOAD.BACKED, flags, pages, start, index: 0 };
  list.add({ ...run, source: place, file: backing, ...NO_DIGEST });
}

/** The most tables of all levels, and nodes of page caches, that this many granules take. */
function upperTables(granules: number): number {
  return granules * 3 + 64;
}

function addRun(list: LoadList, run: ScannedRun, vma: ProcessVma, file: number): void {
  const { smaps } = vma;
  const startPage = smaps.start / PAGE_SIZE;
  const isCached = run.kind === FILE_PAGES && file !== 0;
  const writable = run.writable && (smaps.flags & VM.WRITE) !== 0;
  list.add({
    mm: 0,
    kind: loadKind(run.kind, vma.isVdso, file),
    flags:
      (writable ? LOAD_FLAG.WRITABLE : 0) |
      (isCached ? LOAD_FLAG.MAPPED : 0) |
      (run.kind === HUGE ? LOAD_FLAG.HUGE : 0),
    pages: run.pages,
    start: run.start,
    source: addressOf(run.start),
    file,
    index: isCached ? smaps.pgoff + (run.start - startPage) : 0,
    ...NO_DIGEST,
  });
}

function loadKind(kind: number, isVdso: boolean, file: number): number {
  if (kind === ZERO_PAGE) return LOAD.ZERO_PAGE;
  if (kind === GUARD) return LOAD.GUARD;
  if (kind === FILE_PAGES) return file === 0 ? LOAD.UNMAPPED : LOAD.CACHE;
  return isVdso && kind === CONTENT ? LOAD.UNMAPPED : LOAD.ANON;
}

/** Maps the frame of each merged page at the other addresses that show it. */
export async function mapMergedPages(
  { reference }: AddressSpace,
  merged: MergedPages,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (merged.size === 0) return;
  const map = (mm: Mm): void => {
    for (const [first, others] of merged) mapMerged(mm, first, others);
  };
  await runOnAsync(reference, 'write', map, signal);
}
