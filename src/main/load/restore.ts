/**
 * Restoring an image into a machine: address spaces with the same mappings, the same pages and the
 * same LDT. What does not come back is written in docs/IMAGE_FORMAT.md.
 */
import type { AddressSpace } from '../../mmu/address-space.ts';
import { hostFileFields } from '../../mmu/files/file.ts';
import { FILE_BACKING, FILE_KIND } from '../../mmu/files/file-record.ts';
import { type FileTaker, HeldFiles } from '../../mmu/files/held-files.ts';
import type { Machine } from '../../mmu/machine.ts';
import { VMA_KIND } from '../../mmu/vma/vma-table.ts';
import { LOAD, LOAD_FLAG, LoadList, type LoadRun } from '../../shared/dump/load-table.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, vpnOf } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { withoutDeletedSuffix } from '../deleted-suffix.ts';
import { BLOCK, type Block } from '../image/block-index.ts';
import { isOfFile } from '../image/file-pages.ts';
import type { Image } from '../image/image.ts';
import { findVma, type ImageFile, type ImageMm, type ImageVma } from '../image/image-mm.ts';
import type { WorkerPool } from '../pool.ts';
import type { PhaseProgress } from '../progress.ts';
import { runLoadPhase } from './load-phase.ts';

export interface RestoreOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called at most ten times a second. */
  readonly onProgress?: ((progress: RestoreProgress) => void) | undefined;
}

export interface RestoreProgress {
  readonly pages: number;
  readonly totalPages: number;
}

export interface RestoreResult {
  /** In the order of the image. */
  readonly mms: readonly AddressSpace[];
  /** Pages that were loaded, zero and guard pages included. */
  readonly pages: number;
  readonly ms: number;
}

/** Files of the image in the machine, by the image's file id. */
type FileIds = Map<number, number>;

/** Runs of pages: what is loaded first, and what later mms share of it. */
interface LoadLists {
  readonly loaded: LoadList;
  readonly shared: LoadList;
  /** Pages of clones that get frames of their own. */
  copied: number;
}

/** Restores every mm of an image. If anything fails, what was created is destroyed again. */
export async function restoreImage(
  pool: WorkerPool,
  image: Image,
  machine: Machine,
  options: RestoreOptions,
): Promise<RestoreResult> {
  const start = performance.now();
  const spaces: AddressSpace[] = [];
  const files: FileIds = new Map();
  const held = new HeldFiles(machine.parts);
  try {
    const lists = { loaded: new LoadList(), shared: new LoadList(), copied: 0 };
    for (const mm of image.mms()) {
      const space = machine.createAddressSpace();
      spaces.push(space);
      await takeFiles(mm, files, held, options.signal);
      createMappings(machine, space, mm, files);
      listPages(lists, image, mm, files);
      assertRoom(machine, lists);
      space.setAddresses(mm.fields);
      await restoreExtras(image, mm, space);
    }
    const references = spaces.map(({ reference }) => reference);
    const totalPages = countPages(lists.loaded) + countPages(lists.shared);
    const { signal, onProgress } = options;
    let before = 0;
    for (const list of [lists.loaded, lists.shared]) {
      await runLoadPhase(pool, references, image.source.reach, list, {
        signal,
        onProgress:
          onProgress &&
          (({ pages }: PhaseProgress) => onProgress({ pages: before + pages, totalPages })),
      });
      before += countPages(list);
    }
    return { mms: spaces, pages: totalPages, ms: performance.now() - start };
  } catch (error) {
    destroyAll(machine, spaces);
    throw error;
  } finally {
    await held.letGo(); // their mappings hold the files from now on
  }
}

/** Whatever cannot be destroyed does not keep the others, nor hide why it has to be. */
function destroyAll(machine: Machine, spaces: readonly AddressSpace[]): void {
  if (machine.parts.threads.isPoisoned) return;
  for (const space of spaces) {
    try {
      machine.destroyAddressSpace(space);
    } catch {
      // Somebody holds it, or the machine was poisoned just now: its memory stays in use.
    }
  }
}

/** Finds or creates the files of an mm that no mm before it had. */
async function takeFiles(
  { vmas }: ImageMm,
  files: FileIds,
  held: HeldFiles,
  signal: AbortSignal | undefined,
): Promise<void> {
  await held.take((taker) => {
    for (const { file } of vmas) {
      if (file !== null && !files.has(file.id)) files.set(file.id, takeFile(taker, file));
    }
  }, signal);
}

function createMappings(machine: Machine, space: AddressSpace, mm: ImageMm, files: FileIds): void {
  space.insertMappings(
    mm.vmas.map((vma) => ({
      start: vpnOf(vma.start),
      end: vpnOf(vma.end),
      flags: vma.flags,
      file: vma.file === null ? 0 : files.get(vma.file.id)!,
      pgoff: vma.pgoff,
      anonVma: hasContent(vma) ? machine.parts.nextAnonVma() : 0,
      kind: vma.isVdso ? VMA_KIND.VDSO : VMA_KIND.ORDINARY,
      isForked: vma.pages.clone > 0,
    })),
  );
}

function hasContent({ pages }: ImageVma): boolean {
  return pages.copy + pages.zero + pages.clone > 0;
}

/** A living file by its path: one that the machine has, else one of the host. */
function takeFile(taker: FileTaker, file: ImageFile): number {
  if (!file.isDeleted && !file.isMemoryBacked) {
    return taker.open(file.rawPath) || taker.create(hostFileFields(file.rawPath, file.size));
  }
  return taker.create({
    path: file.isDeleted ? withoutDeletedSuffix(file.rawPath) : file.rawPath,
    kind: (file.isDeleted ? FILE_KIND.DELETED : 0) | (file.isMemoryBacked ? FILE_KIND.MEMORY : 0),
    backing: file.isMemoryBacked && !file.isIncomplete ? FILE_BACKING.NONE : FILE_BACKING.LOST,
    size: file.size,
  });
}

async function restoreExtras(image: Image, mm: ImageMm, space: AddressSpace): Promise<void> {
  const choice = { mm: mm.ordinal };
  if (mm.auxv !== null) space.setAuxv(await image.auxv(choice));
  if (mm.notes !== null) space.setNotes(await image.notes(choice));
  if (mm.ldt !== null) space.loadLdt(await image.ldt(choice));
}

function listPages(lists: LoadLists, image: Image, mm: ImageMm, files: FileIds): void {
  for (const vma of mm.vmas) {
    for (let index = vma.firstBlock; index < vma.lastBlock; index++) {
      const block = mm.blocks.at(index);
      if (block.kind === BLOCK.CLONE) listClone(lists, image, mm, vma, block, files);
      else lists.loaded.add(loadRun(mm, vma, block, files));
    }
  }
}

function loadRun(mm: ImageMm, vma: ImageVma, block: Block, files: FileIds): LoadRun {
  const isDevice = (vma.flags & VM.PFNMAP) !== 0;
  const writable = (vma.flags & VM.WRITE) !== 0 && (isDevice || (vma.flags & VM.SHARED) === 0);
  const checked = block.kind === BLOCK.DATA && block.hasCrc;
  return {
    mm: mm.ordinal,
    kind: loadKind(vma, block),
    flags:
      (writable ? LOAD_FLAG.WRITABLE : 0) |
      (checked ? LOAD_FLAG.CHECKED : 0) |
      (isDevice ? LOAD_FLAG.SPECIAL : 0),
    pages: block.pages,
    start: block.start,
    source: block.source,
    file: vma.file === null ? 0 : files.get(vma.file.id)!,
    index: vma.pgoff + (block.start - vpnOf(vma.start)),
    crc: block.crc,
  };
}

function loadKind(vma: ImageVma, block: Block): number {
  const { file } = vma;
  const isLost = file !== null && (file.isDeleted || file.isMemoryBacked);
  const isFilePage = isLost && isOfFile(vma, block);
  if (block.kind === BLOCK.GUARD) return LOAD.GUARD;
  if (block.kind === BLOCK.ZERO) {
    if (isFilePage) return LOAD.CACHE_ZERO;
    return file === null ? LOAD.ZERO_PAGE : LOAD.ANON_ZERO;
  }
  if (isFilePage) return LOAD.CACHE;
  return vma.isVdso || (vma.flags & VM.PFNMAP) !== 0 ? LOAD.UNMAPPED : LOAD.ANON;
}

/** A clone shows the donor's frames. Where it cannot, it gets its own, filled from the donor's bytes. */
function listClone(
  lists: LoadLists,
  image: Image,
  mm: ImageMm,
  vma: ImageVma,
  clone: Block,
  files: FileIds,
): void {
  const donor = image.mmAt(clone.source);
  const end = clone.start + clone.pages;
  // One run of shared pages, however many blocks the donor has there: a hostile image lets very
  // many clones show the same blocks.
  let sharedFrom = clone.start;
  const share = (to: number): void => {
    if (donor === undefined || to === sharedFrom) return;
    const shared = { ...clone, start: sharedFrom, pages: to - sharedFrom };
    const run = loadRun(mm, vma, shared, files);
    lists.shared.add({ ...run, kind: LOAD.SHARE, flags: 0, source: donor.ordinal });
  };
  for (let vpn = clone.start; vpn < end; ) {
    const block = donor?.blocks.find(vpn);
    if (donor === undefined || block === undefined) break; // openImage accepts no such image
    const pages = Math.min(end, block.start + block.pages) - vpn;
    const source = block.source + addressOf(vpn - block.start);
    const run = loadRun(mm, vma, { ...block, start: vpn, pages, source, hasCrc: false }, files);
    const given = findVma(donor.vmas, addressOf(vpn));
    if (given === undefined || !canShare(vma, given, run.kind, block)) {
      share(vpn);
      sharedFrom = vpn + pages;
      lists.loaded.add(run);
      lists.copied += pages;
    }
    vpn += pages;
  }
  share(end);
}

/**
 * Few bytes of an image can ask for many copies of a donor's pages: what no machine of this size can
 * hold is not listed to its end. ENOMEM.
 */
function assertRoom(machine: Machine, { copied }: LoadLists): void {
  if (addressOf(copied) <= machine.memory.total) return;
  const message = `the image needs more than ${machine.memory.total} bytes of physical memory`;
  throw new MmdumpError('ENOMEM', message, { reason: 'no free frames' });
}

/** Whether a page struct can be right for both: always, in an image that was made by a dump. */
function canShare(vma: ImageVma, given: ImageVma, kind: number, block: Block): boolean {
  const isOrdinary = ((vma.flags | given.flags) & VM.PFNMAP) === 0;
  const hasSameIndex = vma.pgoff - vpnOf(vma.start) === given.pgoff - vpnOf(given.start);
  return isOrdinary && hasSameIndex && kind === loadKind(given, block);
}

function countPages(list: LoadList): number {
  let pages = 0;
  for (let run = 0; run < list.count; run++) pages += list.pages(run);
  return pages;
}
