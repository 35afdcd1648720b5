/**
 * Restores an image into a machine: creates address spaces with the same mappings, the same pages
 * and the same LDT. docs/IMAGE_FORMAT.md says what is not restored.
 */
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import type { Machine } from '../../mmu/machine/machine.ts';
import { VMA_KIND, type VmaFields } from '../../mmu/vma/vma-table.ts';
import { listener } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import { NO_DIGEST } from '../../shared/digest/digest-kind.ts';
import { LOAD, LOAD_FLAG, LoadList, type LoadRun } from '../../shared/dump/load-table.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, vpnOf } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { WorkerPool } from '../crew/pool.ts';
import { BLOCK, type Block } from '../image/index/block-index.ts';
import { isOfFile, isUnreachable } from '../image/index/file-pages.ts';
import { findVma, type ImageMm, type ImageVma } from '../image/index/image-mm.ts';
import type { ImageContents } from '../image/read/image-contents.ts';
import { whileIntact } from '../image/source/byte-source.ts';
import type { PhaseProgress } from '../job/progress.ts';
import { JOB_OPTIONS, type JobOptions, Yielder } from '../job/stop.ts';
import { runLoadPhase } from './load-phase.ts';
import { type FileIds, RestoredFiles } from './restored-files.ts';
import { destroySpaces, undone } from './undo.ts';

/** Options of a restore. */
export interface RestoreOptions extends JobOptions {
  /** Called at most ten times per second while pages are loaded, and once more at the end. */
  readonly onProgress?: ((progress: RestoreProgress) => void) | undefined;
}

/** How far a restore is, in pages. */
export interface RestoreProgress {
  /** Pages that are loaded so far. */
  readonly pages: number;
  /** Pages that the restore will load. */
  readonly totalPages: number;
}

/** What a restore has made. */
export interface RestoreResult {
  /** The address spaces, in the order of the image. */
  readonly mms: readonly AddressSpace[];
  /** Pages that were loaded, zero and guard pages included. */
  readonly pages: number;
  /** Milliseconds that the restore took. */
  readonly ms: number;
}

/** Mappings that are inserted in one passage of the gate, which takes some milliseconds. */
const MAPPINGS_AT_ONCE = 4096;

/** Two lists of runs: those that are loaded first, and those that mms share after that. */
interface LoadLists {
  readonly loaded: LoadList;
  readonly shared: LoadList;
  /** Pages of clones that get frames of their own. */
  copied: number;
}

/**
 * Restores every mm of an image. It waits while the machine is frozen or a lock that it needs is
 * taken. If anything fails, it destroys what it has created, however long it has to wait for that.
 * Rejects with AbortError, IMAGE_CHECKSUM, INPUT_FAILED or ENOMEM, among other codes.
 */
export async function restoreImage(
  pool: WorkerPool,
  image: ImageContents,
  machine: Machine,
  options: RestoreOptions,
): Promise<RestoreResult> {
  const restore = new Restore(image, machine, options);
  try {
    const result = await whileIntact(image.source, () => restore.run(pool));
    await restore.files.release(); // the mappings hold the files from now on
    return result;
  } catch (error) {
    throw await undone(error, () => restore.undo());
  }
}

/** One restore in progress. */
class Restore {
  readonly files: RestoredFiles;
  readonly #image: ImageContents;
  readonly #machine: Machine;
  readonly #options: RestoreOptions;
  readonly #yielder: Yielder;
  readonly #spaces: AddressSpace[] = [];
  readonly #lists: LoadLists = { loaded: new LoadList(), shared: new LoadList(), copied: 0 };

  constructor(image: ImageContents, machine: Machine, options: RestoreOptions) {
    this.#image = image;
    this.#machine = machine;
    this.#options = options;
    this.#yielder = new Yielder(options.signal);
    this.files = new RestoredFiles(machine.parts);
  }

  async run(pool: WorkerPool): Promise<RestoreResult> {
    const start = performance.now();
    const { signal, onProgress } = this.#options;
    for (const mm of this.#image.mms) await this.#createSpace(mm);
    const { loaded, shared } = this.#lists;
    const references = this.#spaces.map(({ reference }) => reference);
    const totalPages = loaded.totalPages() + shared.totalPages();
    const { reach } = this.#image;
    let before = 0;
    for (const list of [loaded, shared]) {
      await runLoadPhase(pool, references, reach, list, {
        signal,
        onProgress:
          onProgress &&
          (({ pages }: PhaseProgress) => onProgress({ pages: before + pages, totalPages })),
      });
      before += list.totalPages();
    }
    throwIfAborted(signal); // it may have fired in the last call of onProgress
    return { mms: this.#spaces, pages: totalPages, ms: performance.now() - start };
  }

  /**
   * Destroys everything. The signal does not end this, since what is left would be lost for good.
   */
  async undo(): Promise<void> {
    try {
      await this.files.release();
    } finally {
      await destroySpaces(this.#spaces.splice(0));
    }
  }

  /** Creates an address space with the mappings of `mm`, and lists its pages. */
  async #createSpace(mm: ImageMm): Promise<void> {
    const { signal } = this.#options;
    const space = await this.#machine.createAddressSpaceAsync(signal);
    this.#spaces.push(space);
    await this.files.open(mm, signal);
    await this.#createMappings(space, mm);
    await listPages(this.#lists, this.#image, mm, this.files.ids, this.#yielder);
    assertEnoughMemory(this.#machine, this.#lists);
    await space.setAddressesAsync(mm.fields, signal);
    await restoreExtras(this.#image, mm, space, signal);
  }

  async #createMappings(space: AddressSpace, { vmas }: ImageMm): Promise<void> {
    for (let from = 0; from < vmas.length; from += MAPPINGS_AT_ONCE) {
      if (from > 0) await this.#yielder.yield();
      const fields = vmas.slice(from, from + MAPPINGS_AT_ONCE).map((vma) => this.#fieldsOf(vma));
      await space.insertMappingsAsync(fields, this.#options.signal);
    }
  }

  #fieldsOf(vma: ImageVma): VmaFields {
    return {
      start: vpnOf(vma.start),
      end: vpnOf(vma.end),
      flags: vma.flags,
      file: vma.file === null ? 0 : this.files.ids.get(vma.file.id)!,
      pgoff: vma.pgoff,
      anonVma: hasContent(vma) ? this.#machine.parts.nextAnonVma() : 0,
      kind: vma.isVdso ? VMA_KIND.VDSO : VMA_KIND.ORDINARY,
      isForked: vma.pages.clone > 0,
    };
  }
}

function hasContent({ pages }: ImageVma): boolean {
  return pages.copy + pages.zero + pages.clone > 0;
}

async function restoreExtras(
  image: ImageContents,
  mm: ImageMm,
  space: AddressSpace,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (mm.auxv !== null) await space.setAuxvAsync(await image.payload(mm, 'auxv'), signal);
  if (mm.notes !== null) await space.setNotesAsync(await image.payload(mm, 'notes'), signal);
  if (mm.ldt !== null) await space.loadLdtAsync(await image.payload(mm, 'ldt'), signal);
}

async function listPages(
  lists: LoadLists,
  image: ImageContents,
  mm: ImageMm,
  files: FileIds,
  yielder: Yielder,
): Promise<void> {
  for (const vma of mm.vmas) {
    for (let index = vma.firstBlock; index < vma.lastBlock; index++) {
      if (yielder.isDue()) await yielder.yield();
      const block = mm.blocks.at(index);
      if (block.kind === BLOCK.CLONE) listClone(lists, image, mm, vma, block, files);
      else lists.loaded.add(loadRun(mm, vma, block, files));
    }
  }
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
    const source = block.source + addressOf(vpn - block.start);
    const run = loadRun(mm, vma, { ...block, start: vpn, pages, source, ...NO_DIGEST }, files);
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
 * Throws ENOMEM if the pages that clones get for themselves do not fit into the machine. A few
 * bytes of an image can ask for very many of them, so this is checked before all mms are listed.
 */
function assertEnoughMemory(machine: Machine, { copied }: LoadLists): void {
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

/** The options of `restore`, which are checked before it begins. */
export const RESTORE_OPTIONS: Shape<RestoreOptions> = {
  ...JOB_OPTIONS,
  onProgress: listener(),
};
