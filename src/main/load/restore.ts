/**
 * Restores an image into a machine: creates address spaces with the same mappings, the same pages
 * and the same LDT. docs/IMAGE_FORMAT.md says what is not restored.
 */
import { AddressSpace } from '../../mmu/machine/address-space.ts';
import type { Machine } from '../../mmu/machine/machine.ts';
import { VMA_KIND, type VmaFields } from '../../mmu/vma/vma-table.ts';
import {
  instanceOf,
  listener,
  oneOf,
  optional,
  wholeNumber,
} from '../../shared/arguments/checks.ts';
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
import { assertReachable, HeldImage } from './held-image.ts';
import { runLoadPhase } from './load-phase.ts';
import { EntryMapper } from './map-entries.ts';
import { readStates } from './read-states.ts';
import { listInto, mmFor } from './restore-into.ts';
import { RestoredFiles } from './restored-files.ts';
import { assertEnoughMemory, type LoadLists, listPages } from './restored-pages.ts';
import { StayingPages } from './staying-pages.ts';
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
  /**
   * 'now' (default): all pages are copied into the machine. 'on-demand': private pages stay in the
   * image, which must be in files, and in its ancestors, until the machine touches them, or
   * `prefetch` loads them. Pages that lie in ancestors in memory are loaded at once. The files stay
   * open until `release` of the result is called or the machine is closed, even if the image is
   * closed. It cannot be combined with `into`.
   */
  readonly load?: 'now' | 'on-demand' | undefined;
  /**
   * The most bytes that the state of the image may have altogether, since all of it is read into
   * memory. IMAGE_TOO_LARGE if it has more. Default 64 MiB.
   */
  readonly maxStateBytes?: number | undefined;
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
  /** Pages that were restored, zero and guard pages included. */
  readonly pages: number;
  /** How many of these stay in the image until they are touched. 0 unless `load` is 'on-demand'. */
  readonly onDemand: number;
  /** The state that the image holds beside memory, by name. */
  readonly state: { readonly [name: string]: Uint8Array };
  /** Milliseconds that the restore took. */
  readonly ms: number;
  /**
   * Lets go of the image that `load: 'on-demand'` keeps open. Pages that are in no frame by then are
   * lost, also those that memory pressure has put back: to touch one is SIGBUS, and a dump that
   * needs one is INPUT_FAILED. Waits while the machine is frozen. Closing the machine lets go of the
   * image, too. Without 'on-demand', and when it is called again, it does nothing.
   */
  release(): Promise<void>;
  /** Calls `release`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
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
  assertFits(image, options);
  const restore = new Restore(image, machine, options);
  try {
    const result = await whileIntact(image, () => restore.run(pool));
    await restore.files.release(); // the mappings hold the files from now on
    return result;
  } catch (error) {
    throw await undone(error, () => restore.undo());
  }
}

/** OPTION_INVALID if pages cannot stay in the image. */
function assertFits(image: ImageContents, { load, into }: RestoreOptions): void {
  if (load !== 'on-demand') return;
  if (into !== undefined) throw refusal('load', load, "'now' with into");
  assertReachable(image);
}

/** One restore in progress. */
class Restore {
  readonly files: RestoredFiles;
  readonly #image: ImageContents;
  readonly #machine: Machine;
  readonly #options: RestoreOptions;
  readonly #yielder: Yielder;
  readonly #spaces: AddressSpace[] = [];
  readonly #lists: LoadLists;
  /** The image as a backing of the machine, if pages stay there. */
  #held: HeldImage | undefined;

  constructor(image: ImageContents, machine: Machine, options: RestoreOptions) {
    this.#image = image;
    this.#machine = machine;
    this.#options = options;
    this.#yielder = new Yielder(options.signal);
    const staying = options.load === 'on-demand' ? new StayingPages(image) : undefined;
    this.#lists = { loaded: new LoadList(), shared: new LoadList(), copied: 0, staying };
    this.files = new RestoredFiles(machine.parts);
  }

  async run(pool: WorkerPool): Promise<RestoreResult> {
    const start = performance.now();
    const { signal, onProgress, into, maxStateBytes } = this.#options;
    const state = await readStates(this.#image, maxStateBytes, signal);
    await this.#image.openChain(signal);
    if (into !== undefined) await this.#prepare(into);
    else for (const mm of this.#image.mms) await this.#createSpace(mm);
    const { loaded, shared } = this.#lists;
    const spaces = into === undefined ? this.#spaces : [into];
    const references = spaces.map(({ reference }) => reference);
    const { reach } = this.#image;
    let before = this.#lists.staying?.entries.totalPages() ?? 0;
    const totalPages = before + loaded.totalPages() + shared.totalPages();
    const onDemand = await this.#mapEntries(spaces);
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
    const ms = performance.now() - start;
    const release = async (): Promise<void> => await this.#held?.release();
    const ends = { release, [Symbol.asyncDispose]: release };
    return { mms: spaces, pages: totalPages, onDemand, state, ms, ...ends };
  }

  /** Sets the entries that need no frame. Returns how many pages stay in the image. */
  async #mapEntries(spaces: readonly AddressSpace[]): Promise<number> {
    const { staying } = this.#lists;
    if (staying === undefined || staying.entries.count === 0) return 0;
    const { signal } = this.#options;
    const { entries, pages } = staying;
    const runs = new Int32Array(entries.share());
    const machine = this.#machine.parts;
    if (pages > 0) this.#held = await HeldImage.add(machine, this.#image, staying, signal);
    const mapper = new EntryMapper(runs, entries.count, this.#held?.backing ?? 0);
    await mapper.run(spaces, signal);
    return pages;
  }

  /**
   * Destroys everything. The signal does not end this, since what is left would be lost for good.
   */
  async undo(): Promise<void> {
    try {
      await this.files.release();
    } finally {
      await destroySpaces(this.#spaces.splice(0)).finally(() => this.#held?.release());
    }
  }

  /** Checks that the address space can take the image, and lists its pages. */
  async #prepare(into: AddressSpace): Promise<void> {
    const { signal } = this.#options;
    if (!into.reference.machine.isSameMachine(this.#machine.parts)) {
      throw refusal('into', into, 'an AddressSpace of the machine, not of another');
    }
    into.reference.machine.memory.assertReachesAll();
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
    await listPages(
      this.#lists,
      this.#image,
      mm,
      this.files.ids,
      this.#machine.parts.hasZeroPage,
      this.#yielder,
    );
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
  load: optional(oneOf(['now', 'on-demand'])),
  maxStateBytes: optional(wholeNumber(0)),
};
