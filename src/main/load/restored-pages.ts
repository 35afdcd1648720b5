/**
 * The pages of an image as a load phase takes them: lists of runs, with what each run becomes in
 * the machine. A clone shares the frames of its donor where that is possible.
 */
import type { Machine } from '../../mmu/machine/machine.ts';
import { NO_DIGEST } from '../../shared/digest/digest-kind.ts';
import { LOAD, LOAD_FLAG, type LoadList, type LoadRun } from '../../shared/dump/load-table.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, vpnOf } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { BLOCK, type Block } from '../image/index/block-index.ts';
import { isOfFile, isUnreachable } from '../image/index/file-pages.ts';
import { findVma, type ImageMm, type ImageVma } from '../image/index/image-mm.ts';
import type { ImageContents, StoredPart } from '../image/read/image-contents.ts';
import type { Yielder } from '../job/stop.ts';
import type { FileIds } from './restored-files.ts';
import type { StayingPages } from './staying-pages.ts';

/** Two lists of runs: those that are loaded first, and those that mms share after that. */
export interface LoadLists {
  readonly loaded: LoadList;
  readonly shared: LoadList;
  /** Pages of clones that get frames of their own. */
  copied: number;
  /** On demand: the pages that need no frame now. Undefined if everything is loaded. */
  readonly staying: StayingPages | undefined;
}

/**
 * Adds the pages of an mm to the lists. `hasZeroPage`: whether the machine has one. Throws AbortError through `yielder`.
 */
export async function listPages(
  lists: LoadLists,
  image: ImageContents,
  mm: ImageMm,
  files: FileIds,
  hasZeroPage: boolean,
  yielder: Yielder,
): Promise<void> {
  for (const vma of mm.vmas) {
    for (let index = vma.firstBlock; index < vma.lastBlock; index++) {
      if (yielder.isDue()) await yielder.yield();
      const block = mm.blocks.at(index);
      if (block.kind === BLOCK.CLONE) listClone(lists, image, mm, vma, block, files);
      else {
        const run = loadRun(mm, vma, block, files);
        if (lists.staying?.take(mm, block, run, hasZeroPage) !== true) {
          addBlock(lists.loaded, image, mm, block, run);
        }
      }
    }
  }
}

/**
 * Adds the run of a block. Pages in the parent become a run for each place where ancestors store
 * them. Precondition: the ancestors of the image are open.
 */
export function addBlock(
  list: LoadList,
  image: ImageContents,
  mm: ImageMm,
  { kind, start, pages }: Block,
  run: LoadRun,
): void {
  if (kind !== BLOCK.PARENT) {
    list.add(run);
    return;
  }
  for (const part of image.stored(mm, start, pages)) {
    const isLast = part.start + part.pages === start + pages;
    list.add({
      ...runIn(run, part),
      index: run.index + (part.start - start),
      flags: run.flags | LOAD_FLAG.OF_PAGES | (isLast ? 0 : LOAD_FLAG.MORE),
    });
  }
}

/** The run of pages that lie in a block of the image or of an ancestor. */
function runIn(run: LoadRun, { start, pages, payload, block }: StoredPart): LoadRun {
  const skip = start - block.start;
  if (block.packed === 0) {
    return { ...run, start, pages, source: payload + addressOf(skip), packed: 0 };
  }
  const { packed, pages: blockPages } = block;
  return { ...run, start, pages, source: payload, packed, blockPages, skip };
}

function loadRun(mm: ImageMm, vma: ImageVma, block: Block, files: FileIds): LoadRun {
  const isDevice = (vma.flags & VM.PFNMAP) !== 0;
  const writable = (vma.flags & VM.WRITE) !== 0 && (isDevice || (vma.flags & VM.SHARED) === 0);
  return {
    mm: mm.ordinal,
    kind: loadKind(vma, block),
    flags: (writable ? LOAD_FLAG.WRITABLE : 0) | (isDevice ? LOAD_FLAG.SPECIAL : 0),
    pages: block.pages,
    start: block.start,
    source: block.source,
    file: vma.file === null ? 0 : files.get(vma.file.id)!,
    index: vma.pgoff + (block.start - vpnOf(vma.start)),
    digest: block.digest,
    low: block.low,
    high: block.high,
    packed: block.packed,
    blockPages: block.pages,
  };
}

function loadKind(vma: ImageVma, block: Block): number {
  const { file } = vma;
  const isFilePage = file !== null && isUnreachable(file) && isOfFile(vma, block);
  if (block.kind === BLOCK.GUARD) return LOAD.GUARD;
  if (block.kind === BLOCK.ZERO) {
    if (isFilePage) return LOAD.CACHE_ZERO;
    return file === null ? LOAD.ZERO_PAGE : LOAD.ANON_ZERO;
  }
  if (isFilePage) return LOAD.CACHE;
  return vma.isVdso || (vma.flags & VM.PFNMAP) !== 0 ? LOAD.UNMAPPED : LOAD.ANON;
}

/**
 * Lists the pages of a clone. They share the frames of the donor. Where that is not possible, they
 * get frames of their own with the bytes of the donor.
 */
function listClone(
  lists: LoadLists,
  image: ImageContents,
  mm: ImageMm,
  vma: ImageVma,
  clone: Block,
  files: FileIds,
): void {
  const donor = image.mmAt(clone.source);
  const end = clone.start + clone.pages;
  // Adds one run of shared pages, however many blocks the donor has there. In a hostile image very
  // many clones can refer to the same blocks.
  let sharedFrom = clone.start;
  const share = (to: number): void => {
    if (donor === undefined || to === sharedFrom) return;
    const shared = { ...clone, start: sharedFrom, pages: to - sharedFrom };
    const run = loadRun(mm, vma, shared, files);
    lists.shared.add({ ...run, kind: LOAD.SHARE, flags: 0, source: donor.ordinal });
  };
  for (let vpn = clone.start; vpn < end; ) {
    const block = donor?.blocks.find(vpn);
    if (donor === undefined || block === undefined) break; // openImage refuses such an image
    const pages = Math.min(end, block.start + block.pages) - vpn;
    const run = loadRun(mm, vma, { ...block, start: vpn, pages, ...NO_DIGEST }, files);
    const given = findVma(donor.vmas, addressOf(vpn));
    if (given === undefined || !canShare(vma, given, run.kind, block)) {
      share(vpn);
      sharedFrom = vpn + pages;
      for (const part of image.stored(donor, vpn, pages)) {
        const index = run.index + (part.start - vpn);
        lists.loaded.add({ ...runIn(run, part), index });
      }
      lists.copied += pages;
    }
    vpn += pages;
  }
  share(end);
}

/**
 * Throws ENOMEM if the pages that clones get for themselves do not fit into the machine. A few
 * bytes of an image can ask for very many of them, so this is checked before all mms are listed.
 */
export function assertEnoughMemory(machine: Machine, { copied }: LoadLists): void {
  if (addressOf(copied) <= machine.memory.total) return;
  const message = `the image needs more than ${machine.memory.total} bytes of physical memory`;
  throw new MmdumpError('ENOMEM', message, { reason: 'no free frames' });
}

/** Whether one page struct can be right for both VMAs. In an image that a dump has made it can. */
function canShare(vma: ImageVma, given: ImageVma, kind: number, block: Block): boolean {
  const isOrdinary = ((vma.flags | given.flags) & VM.PFNMAP) === 0;
  const hasSameIndex = vma.pgoff - vpnOf(vma.start) === given.pgoff - vpnOf(given.start);
  return isOrdinary && hasSameIndex && kind === loadKind(given, block);
}
