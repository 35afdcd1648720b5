/**
 * Restores an image into a machine: creates address spaces with the same mappings, the same pages
 * and the same LDT. docs/IMAGE_FORMAT.md says what is not restored.
 */
import { AddressSpace } from '../../mmu/machine/address-space.ts';
import type { Machine } from '../../mmu/machine/machine.ts';
import { VMA_KIND, type VmaFields } from '../../mmu/vma/vma-table.ts';
import { instanceOf, listener, optional } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { LoadList } from '../../shared/dump/load-table.ts';
import { vpnOf } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import type { WorkerPool } from '../crew/pool.ts';
import type { ImageMm, ImageVma } from '../image/index/image-mm.ts';
import type { ImageContents } from '../image/read/image-contents.ts';
import { whileIntact } from '../image/source/byte-source.ts';
import type { PhaseProgress } from '../job/progress.ts';
import { JOB_OPTIONS, type JobOptions, Yielder } from '../job/stop.ts';
import { runLoadPhase } from './load-phase.ts';
import { listInto, mmFor } from './restore-into.ts';
import { RestoredFiles } from './restored-files.ts';
import { assertEnoughMemory, type LoadLists, listPages } from './restored-pages.ts';
import { destroySpaces, undone } from './undo.ts';

/** Options of a restore. */
export interface RestoreOptions extends JobOptions {
  /** Called at most ten times per second while pages are loaded, and once more at the end. */
  readonly onProgress?: ((progress: RestoreProgress) => void) | undefined;
  /**
   * An address space of the machine with the same mappings as the only mm of the image, all of them
   * private and anonymous. It gets the pages of the image instead of a new one: those that show
   * memory of the caller are written in place, and pages that the image does not store become
   * zeros. Default: new address spaces are made.
   */
  readonly into?: AddressSpace | undefined;
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

/**
 * Restores every mm of an image. It waits while the machine is frozen or a lock that it needs is
 * taken. If anything fails, it destroys what it has created, however long it has to wait for that.
 * An address space that it was to restore into then has pages of both.
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
    const result = await whileIntact(image, () => restore.run(pool));
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
    const { into } = this.#options;
    await this.#image.openChain(signal);
    if (into !== undefined) await this.#prepare(into);
    else for (const mm of this.#image.mms) await this.#createSpace(mm);
    const { loaded, shared } = this.#lists;
    const spaces = into === undefined ? this.#spaces : [into];
    const references = spaces.map(({ reference }) => reference);
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
    return { mms: spaces, pages: totalPages, ms: performance.now() - start };
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

  /** Checks that the address space can take the image, and lists its pages. */
  async #prepare(into: AddressSpace): Promise<void> {
    const { signal } = this.#options;
    if (!into.reference.machine.isSameMachine(this.#machine.parts)) {
      throw refusal('into', into, 'an AddressSpace of the machine, not of another');
    }
    const mm = await mmFor(this.#image, into);
    await listInto(this.#lists.loaded, this.#image, mm, this.#yielder);
    await into.setAddressesAsync(mm.fields, signal);
    await into.setAuxvAsync(await this.#image.payload(mm, 'auxv'), signal);
    await into.setNotesAsync(await this.#image.payload(mm, 'notes'), signal);
    await into.loadLdtAsync(await this.#image.payload(mm, 'ldt'), signal);
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
  return pages.copy + pages.zero + pages.clone + pages.parent > 0;
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

/** The options of `restore`, which are checked before it begins. */
export const RESTORE_OPTIONS: Shape<RestoreOptions> = {
  ...JOB_OPTIONS,
  onProgress: listener(),
  into: optional(instanceOf(AddressSpace, 'an AddressSpace')),
};
