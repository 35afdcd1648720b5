/**
 * Pages of memory-backed and deleted files that no page table of the process shows: written through
 * a descriptor, by another process, or swapped out. Its page map says nothing of them, and reading
 * them through its memory would map them there. So they are read from the file itself: which they are
 * is found out here, `load-unmapped.ts` reads them.
 */
import { CACHE_NODE_PAGES } from '../../mmu/files/page-cache.ts';
import { SCAN_RUN_KIND } from '../../shared/dump/scan-table.ts';
import { PAGE_SIZE, vpnOf } from '../../shared/page.ts';
import { addRange, type Ranges, sizeOf, subtract } from '../../shared/ranges.ts';
import type { MappedFile } from './mapped-files.ts';
import type { ProcessVma } from './process-mappings.ts';
import { isDevice, type ReadableFile } from './readable-files.ts';
import type { ScannedRun } from './scan-phase.ts';

/** A process, as far as its files are concerned. */
export interface FileUser {
  readonly pid: number;
  readonly vmas: readonly ProcessVma[];
  readonly runs: readonly ScannedRun[];
}

/** Part of a mapping whose pages of the file have to be looked for. */
export interface Piece {
  readonly start: number; // page
  readonly index: number; // page of the file
  readonly pages: number;
}

/** What is to be read of one file. */
export interface UnmappedPages {
  readonly file: MappedFile;
  readonly source: ReadableFile;
  readonly pieces: readonly Piece[];
  /** As many pages at most are to be found; 0: a small file may still lie in its own inode. */
  readonly mostPages: number;
}

/** What no page table of the processes shows of their memory-backed and deleted files. */
export function listUnmapped(
  users: readonly FileUser[],
  shown: ReadonlyMap<MappedFile, Ranges>,
  readable: ReadonlyMap<MappedFile, ReadableFile>,
): UnmappedPages[] {
  const vmas = users.flatMap((user) => user.vmas);
  const unmapped: UnmappedPages[] = [];
  for (const [file, source] of readable) {
    const seen = shown.get(file) ?? [];
    // In memory a page that is mapped counts as allocated, on disk it may lie in a hole.
    const left = source.mostContent - (file.isMemoryBacked ? sizeOf(seen) : 0);
    if (left <= 0 && file.isMemoryBacked) continue;
    const pieces = missingPieces(file, source, vmas, [...seen]);
    const pages = pieces.reduce((sum, piece) => sum + piece.pages, 0);
    if (pages > 0) unmapped.push({ file, source, pieces, mostPages: Math.min(left, pages) });
  }
  return unmapped;
}

/** Frames that they and the nodes of their page caches take at most. */
export function unmappedFrames(unmapped: readonly UnmappedPages[]): number {
  let frames = 0;
  for (const { pieces, mostPages } of unmapped) {
    const nodes = pieces.reduce(
      (sum, { pages }) => sum + Math.ceil(pages / CACHE_NODE_PAGES) + 1,
      4,
    );
    frames += mostPages + Math.min(mostPages + 4, nodes);
  }
  return frames;
}

/** Pages of each file that some page table entry of some process shows. */
export function shownPages(users: readonly FileUser[]): Map<MappedFile, Ranges> {
  const shown = new Map<MappedFile, Ranges>();
  for (const { runs, vmas } of users) {
    for (const { vma, kind, start, pages } of runs) {
      const { file, smaps } = vmas[vma]!;
      if (kind !== SCAN_RUN_KIND.FILE_PAGES || file === null) continue;
      const index = smaps.pgoff + (start - vpnOf(smaps.start));
      let ranges = shown.get(file);
      if (ranges === undefined) {
        ranges = [];
        shown.set(file, ranges);
      }
      addRange(ranges, index, index + pages);
    }
  }
  return shown;
}

/** Frames of the page caches that hold those pages, without nodes. */
export function shownFrames(shown: ReadonlyMap<MappedFile, Ranges>): number {
  return [...shown.values()].reduce((sum, ranges) => sum + sizeOf(ranges), 0);
}

/** What the mappings of a file cover beyond what is `seen`, each page once. */
function missingPieces(
  file: MappedFile,
  { bytes }: ReadableFile,
  vmas: readonly ProcessVma[],
  seen: Ranges,
): Piece[] {
  const end = Math.ceil(bytes / PAGE_SIZE);
  const pieces: Piece[] = [];
  for (const { file: mapped, smaps } of vmas) {
    if (mapped !== file || isDevice(smaps)) continue;
    const first = smaps.pgoff;
    const last = Math.min(end, first + (smaps.end - smaps.start) / PAGE_SIZE);
    if (first >= last) continue;
    for (const { from, to } of subtract(first, last, seen)) {
      pieces.push({ start: vpnOf(smaps.start) + (from - first), index: from, pages: to - from });
    }
    addRange(seen, first, last);
  }
  return pieces;
}
