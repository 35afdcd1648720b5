/**
 * Gives the pages of files that only the container file has to mappings which show them. A native
 * image stores such a page once, in one of the mappings of its file, and an OpenVZ file stores it in
 * the INODE. Of several mappings that show a page, the one whose first page of the file is lowest
 * gets it, and the first of these in the order of the file. A private mapping can have pages of its
 * own, and gets none of the file in their places.
 */
import { ImageProblem } from '../../../shared/formats/problem.ts';
import { PAGE_SIZE, vpnOf } from '../../../shared/page.ts';
import { VM } from '../../../shared/vm-flags.ts';
import { INDEX_COST, type IndexBudget } from '../index/index-budget.ts';
import type { Container, FoundInode, FoundMm, FoundVma } from './container.ts';

/** Pages of a file that a mapping gets. */
export interface PlacedPages {
  /** Page of the address space. */
  readonly start: number;
  readonly pages: number;
  /** Byte of the container file. */
  readonly source: number;
}

/** Pages [from, to) of a file, which a mapping shows and does not have itself. */
interface Window {
  readonly from: number;
  readonly to: number;
  readonly vma: FoundVma;
  /** What makes a page of the address space of a page of the file. */
  readonly shift: number;
}

export type PlacedByVma = ReadonlyMap<FoundVma, readonly PlacedPages[]>;

/** Places the pages of all inodes. Pages that no mapping shows are listed as unread. */
export function placeFilePages(container: Container, budget: IndexBudget): PlacedByVma {
  const windows = new Map<FoundInode, Window[]>();
  for (const mm of container.mms) {
    for (const vma of mm.vmas) {
      const inode = inodeOf(container, vma);
      if (inode === undefined) continue;
      const list = windows.get(inode) ?? [];
      windows.set(inode, list);
      for (const window of windowsOf(mm, vma)) {
        budget.take(INDEX_COST.FILE_RUN);
        list.push(window);
      }
    }
  }
  const placed = new Map<FoundVma, PlacedPages[]>();
  for (const inode of container.inodes.values()) {
    const shown = place(inode, windows.get(inode) ?? [], placed, budget);
    let all = 0;
    for (let index = 0; index < inode.blocks.count; index++) all += inode.blocks.pages(index);
    if (shown === all) continue;
    container.unread.add('pages of a file that no mapping shows', (all - shown) * PAGE_SIZE);
  }
  for (const list of placed.values()) list.sort((a, b) => a.start - b.start);
  return placed;
}

/** The INODE of the file that a mapping shows, if the file has one. */
export function inodeOf({ files, inodes }: Container, vma: FoundVma): FoundInode | undefined {
  if (vma.file === null) return undefined;
  const file = files.get(vma.file);
  if (file === undefined) {
    const text = `VMA at byte ${vma.offset}: no FILE is at byte ${vma.file}`;
    throw new ImageProblem('IMAGE_CORRUPT', vma.offset, text, vma.start);
  }
  if (file.inode === null) return undefined;
  const inode = inodes.get(file.inode);
  if (inode !== undefined) return inode;
  const text = `FILE at byte ${file.offset}: no INODE is at byte ${file.inode}`;
  throw new ImageProblem('IMAGE_CORRUPT', file.offset, text);
}

function* windowsOf({ blocks }: FoundMm, vma: FoundVma): Generator<Window, void> {
  const { firstBlock, lastBlock, start, end, pgoff } = vma;
  if (firstBlock < lastBlock && (vma.flags & VM.MAYSHARE) !== 0) {
    const text = `VMA at byte ${vma.offset}: pages of a shared mapping, whose file has an INODE`;
    throw new ImageProblem('IMAGE_CORRUPT', vma.offset, text, vma.start);
  }
  const shift = vpnOf(start) - pgoff;
  let next: number = vpnOf(start);
  for (let index = firstBlock; index <= lastBlock; index++) {
    const block = index === lastBlock ? undefined : blocks.at(index);
    const to = block?.start ?? vpnOf(end);
    if (to > next) yield { from: next - shift, to: to - shift, vma, shift };
    next = to + (block?.pages ?? 0);
  }
}

/** Gives each page of the file to the first window that shows it. Returns how many are shown. */
function place(
  { blocks }: FoundInode,
  windows: Window[],
  placed: Map<FoundVma, PlacedPages[]>,
  budget: IndexBudget,
): number {
  windows.sort((a, b) => a.from - b.from);
  let shown = 0;
  let next = 0;
  for (const { from, to, vma, shift } of windows) {
    next = Math.max(next, from);
    for (let index = blocks.firstFrom(next); index < blocks.count && next < to; index++) {
      const block = blocks.at(index);
      const first = Math.max(next, block.start);
      const pages = Math.min(to, block.start + block.pages) - first;
      next = first + Math.max(pages, 0);
      if (pages <= 0) break;
      budget.take(INDEX_COST.FILE_RUN);
      const list = placed.get(vma) ?? [];
      placed.set(vma, list);
      const source = block.source + (first - block.start) * PAGE_SIZE;
      list.push({ start: first + shift, pages, source });
      shown += pages;
    }
    next = Math.max(next, to);
  }
  return shown;
}
