/**
 * Lists the pages of unreachable files that no page table of the processes shows: they were written
 * through a descriptor or by another process, or are swapped out. Page maps say nothing about them,
 * and reading them through /proc/PID/mem would map them in the process. So `load-unmapped.ts` reads
 * them from the file itself.
 */
import { CACHE_NODE_PAGES } from '../../mmu/files/page-cache.ts';
import { SCAN_RUN_KIND } from '../../shared/dump/scan-table.ts';
import { PAGE_SIZE, vpnOf } from '../../shared/page.ts';
import { addRange, type Ranges, sizeOf, subtract } from '../../shared/ranges.ts';
import type { MappedFile } from './mapped-files.ts';
import type { ProcessVma } from './process-mappings.ts';
import { isDevice, type ReadableFile } from './readable-files.ts';
import type { ScannedRun } from './scan-phase.ts';

/** A process, as far as its files are concerned: its mappings, and the runs that the scan found. */
export interface FileUser {
  readonly pid: number;
  readonly vmas: readonly ProcessVma[];
  readonly runs: readonly ScannedRun[];
}

/** A part of a mapping; the pages of the file behind it have to be looked for. */
export interface Piece {
  readonly start: number; // page
  readonly index: number; // page of the file
  readonly pages: number;
}

/** What has to be read of one file. */
export interface UnmappedPages {
  readonly file: MappedFile;
  readonly source: ReadableFile;
  readonly pieces: readonly Piece[];
  /**
   * The most pages that can have content. 0 for a file without blocks, whose inode may have data.
   */
  readonly mostPages: number;
}

/** Lists the pages of unreachable files that no page table of the processes shows. */
export function listUnmapped(
  users: readonly FileUser[],
  shown: ReadonlyMap<MappedFile, Ranges>,
  readable: ReadonlyMap<MappedFile, ReadableFile>,
): UnmappedPages[] {
  const vmas = users.flatMap((user) => user.vmas);
  const unmapped: UnmappedPages[] = [];
  for (const [file, source] of readable) {
    const seen = shown.get(file) ?? [];
    // A mapped page of a memory-backed file is allocated; one of a file on disk may lie in a hole.
    const left = source.mostContent - (file.isMemoryBacked ? sizeOf(seen) : 0);
    if (left <= 0 && file.isMemoryBacked) continue;
    const pieces = missingPieces(file, source, vmas, [...seen]);
    const pages = pieces.reduce((sum, piece) => sum + piece.pages, 0);
    if (pages > 0) unmapped.push({ file, source, pieces, mostPages: Math.min(left, pages) });
  }
  return unmapped;
}

/** The most frames that these pages and the nodes of their page caches take. */
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

/** The pages of each file that at least one process maps. */
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

/** The frames that these pages take in page caches, without nodes. */
export function shownFrames(shown: ReadonlyMap<MappedFile, Ranges>): number {
  return [...shown.values()].reduce((sum, ranges) => sum + sizeOf(ranges), 0);
}

/** The pages that mappings of the file cover and that are not `seen`, each page once. */
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
