/**
 * Random access to an image: its mms, mappings and pages. Only the records are kept in memory,
 * never the pages. They take memory in proportion to their number, up to a limit.
 */
import { bytesOf } from '../../shared/arguments/bytes.ts';
import {
  abortSignal,
  isInstance,
  list,
  number,
  optional,
  text,
  wholeNumber,
} from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { MmdumpError } from '../../shared/errors.ts';
import type { ImageHead } from '../../shared/formats/cpt/head.ts';
import { TASK_SIZE, vpnOf } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import type { MemoryImage } from '../sinks/memory-sink.ts';
import { findAncestors } from './chain/ancestors.ts';
import { ImageChain } from './chain/chain.ts';
import { ancestorInfo, type ImageAncestor } from './chain/image-ancestor.ts';
import { findVma, type ImageMm } from './index/image-mm.ts';
import type { ImageState } from './index/image-state.ts';
import { IndexBudget, MAX_INDEX } from './index/index-budget.ts';
import { ImageWalks } from './pages/image-walks.ts';
import { MM_CHOICE, type MmChoice, type PageInfo, pageIn } from './pages/page-info.ts';
import { CACHE_BYTES } from './read/block-cache.ts';
import { ImageContents, type PayloadPart } from './read/image-contents.ts';
import { Uses } from './read/uses.ts';
import { whileIntact } from './source/byte-source.ts';
import { imageSource, openSource } from './source/open-source.ts';
import { type ReadRecords, readRecords } from './stream/read-records.ts';

/** Options of `openImage`. */
export interface OpenOptions {
  /** Stops the reading of the records: AbortError. Default: no signal. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Most bytes of memory that the records may take, counted generously; the pages take none.
   * IMAGE_TOO_LARGE if they need more. Default 1 GiB.
   */
  readonly maxIndexBytes?: number | undefined;
  /**
   * Most bytes of blocks that `read` keeps, so that a block which is read in parts is read and
   * checked only once. A block has at most 2 MiB. With 0 every read of a part reads and checks its
   * block again. Default 8 MiB.
   */
  readonly cacheBytes?: number | undefined;
  /**
   * Where the ancestors of an image with a parent are, in any order: paths, or images of memory
   * sinks. Those that are not among them are looked for in the directory of the image, in files
   * named *.cpt. Default: in the directory only.
   */
  readonly parents?: readonly (string | MemoryImage)[] | undefined;
}

const OPEN_OPTIONS: Shape<OpenOptions> = {
  signal: optional(abortSignal),
  maxIndexBytes: optional(MAX_INDEX),
  cacheBytes: optional(wholeNumber(0)),
  parents: optional(list(imageSource)),
};
const ADDRESS = wholeNumber(0);
const ORDINAL = wholeNumber(0);

/** An open image, made by `openImage`. After `close` its methods are IMAGE_CLOSED; fields stay. */
export class Image extends ImageWalks {
  /** 'cpt': a native image (docs/IMAGE_FORMAT.md). 'openvz': a container file of OpenVZ 6. */
  readonly format: 'cpt' | 'openvz';
  /** First 16 bytes of sha256 over all its record crcs, in hex. Empty for an OpenVZ file. */
  readonly id: string;
  /** What an OpenVZ file holds besides, which is not read: one line each. Else empty. */
  readonly unread: readonly string[];
  /** The file head, which describes the whole image. */
  readonly head: ImageHead;
  /** Path of the image, that of an image in parts without a number; null for an image in memory. */
  readonly path: string | null;
  /** Length of the image, in bytes. */
  readonly bytes: number;
  /** State that the image holds beside memory, ascending by name. `readState` reads it. */
  readonly state: readonly ImageState[];
  /** The images that it needs, its parent first. Empty for an image without a parent. */
  readonly ancestors: readonly ImageAncestor[];
  readonly #contents: ImageContents;
  readonly #uses: Uses;

  /** @internal */
  constructor(contents: ImageContents, read: Omit<ReadRecords, 'records'>) {
    if (!isInstance(contents, ImageContents)) {
      throw refusal('new Image', contents, 'a call of openImage');
    }
    const { head, source } = contents;
    const uses = new Uses(() => new MmdumpError('IMAGE_CLOSED', `${source.name} was closed`));
    super(contents, uses);
    this.#contents = contents;
    this.#uses = uses;
    this.head = head;
    this.path = source.path;
    this.bytes = source.bytes;
    this.format = read.format;
    this.id = read.id;
    this.unread = read.unread;
    this.state = contents.states;
    this.ancestors = contents.chain.ancestors.map(ancestorInfo);
  }

  /** The address spaces of the image, in the order of the dump. */
  mms(): readonly ImageMm[] {
    this.#uses.assertOpen();
    return this.#contents.mms;
  }

  /** The mm with this ordinal, by default 0. OPTION_INVALID if there is none. */
  mm(ordinal = 0): ImageMm {
    this.#uses.assertOpen();
    return this.#contents.mm(ORDINAL('ordinal', ordinal));
  }

  /** @internal The mm whose record begins at this byte of the image. */
  mmAt(offset: number): ImageMm | undefined {
    this.#uses.assertOpen();
    return this.#contents.mmAt(number('offset', offset));
  }

  /**
   * Tells what the records say of the page that holds `address`, a byte address. OPTION_INVALID for
   * an address that is no whole number, or if there is no such mm.
   */
  page(address: number, choice: MmChoice = {}): PageInfo {
    ADDRESS('address', address);
    const mm = this.mm(ordinalOf(choice));
    const vma = findVma(mm.vmas, address);
    if (vma === undefined) return { kind: 'unmapped', vma: null, offset: null };
    return pageIn(mm, vma, vpnOf(address));
  }

  /**
   * Fills `into` with the bytes that the mm held from `address` on. Anonymous pages that were never
   * touched are zeros. PAGE_ABSENT if the image does not know the bytes: a page of a living file or
   * of a device, a guard page, an absent page of a VM_HUGETLB mapping or of a VM_DONTDUMP mapping
   * that was left out, or no mapping.
   *
   * Every block that is read is checked against its checksum as a whole, even if only one byte of
   * it is wanted. IMAGE_CHECKSUM has the mm, the VMA and the address of the damaged block. The last
   * blocks that were read in part are kept (`cacheBytes`). An image without checksums is not
   * checked.
   *
   * It also rejects with OPTION_INVALID, INPUT_FAILED, IMAGE_TRUNCATED and IMAGE_CLOSED. After a
   * rejection the contents of `into` are undefined. Nothing is written to `into` once the promise
   * has settled.
   */
  read(address: number, into: ArrayBufferView, choice: MmChoice = {}): Promise<void> {
    return this.#uses.during(async () => {
      const view = bytesOf('into', into);
      if (ADDRESS('address', address) + view.length > TASK_SIZE) {
        throw new MmdumpError('OPTION_INVALID', `${address}: not an address of user space`, {
          address,
        });
      }
      await this.#contents.read(this.#contents.mm(ordinalOf(choice)), address, view);
    });
  }

  /** Reads the entries of the LDT, 8 bytes each; empty if there are none. IMAGE_CHECKSUM. */
  ldt(choice: MmChoice = {}): Promise<Uint8Array> {
    return this.#payload('ldt', choice);
  }

  /** Reads the auxiliary vector; empty if the image has none. IMAGE_CHECKSUM. */
  auxv(choice: MmChoice = {}): Promise<Uint8Array> {
    return this.#payload('auxv', choice);
  }

  /** Reads the ELF notes, zero-padded to 8 bytes; empty if the image has none. IMAGE_CHECKSUM. */
  notes(choice: MmChoice = {}): Promise<Uint8Array> {
    return this.#payload('notes', choice);
  }

  /**
   * Reads the state with this name. OPTION_INVALID if the image has none of this name,
   * IMAGE_CHECKSUM, INPUT_FAILED, IMAGE_CLOSED.
   */
  readState(name: string): Promise<Uint8Array> {
    return this.#uses.during(async () => this.#contents.state(text('name', name)));
  }

  /**
   * Runs a job on the contents of the image, which stays open until the job is over. IMAGE_CLOSED
   * if it was closed before.
   *
   * @internal
   */
  use<T>(job: (contents: ImageContents) => Promise<T>): Promise<T> {
    return this.#uses.during(() => job(this.#contents));
  }

  /**
   * Closes the image, after the reads and restores that have begun. Every method that is called
   * from now on is IMAGE_CLOSED. Closing twice has no further effect. INPUT_FAILED if the system
   * cannot close the file.
   */
  close(): Promise<void> {
    return this.#uses.close(() => this.#contents.close());
  }

  /** The same as `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #payload(part: PayloadPart, choice: MmChoice): Promise<Uint8Array> {
    return this.#uses.during(async () => {
      return this.#contents.payload(this.#contents.mm(ordinalOf(choice)), part);
    });
  }
}

function ordinalOf(choice: MmChoice): number | undefined {
  return optionsOf('choice', choice, MM_CHOICE).mm;
}

/**
 * Opens an image: a file, the parts of an image (by `OUT` or by `OUT.000`), or the image of a
 * memory sink. It checks every record and no page (docs/IMAGE_FORMAT.md), and keeps the records
 * only. A container file of OpenVZ 6 is an image, too: docs/decisions/openvz-files.md.
 *
 * It rejects with OPTION_INVALID, INPUT_FAILED, IMAGE_NOT_RECOGNISED, IMAGE_VERSION,
 * IMAGE_TRUNCATED, IMAGE_CORRUPT, IMAGE_CHECKSUM, IMAGE_PARENT_MISSING, IMAGE_TOO_LARGE (beyond
 * `maxIndexBytes`) and AbortError. The records of ancestors are read when a page of theirs is
 * needed; so reading, restoring and comparing can fail with the same codes, and with
 * IMAGE_PARENT_DIFFERS. docs/HOSTILE_IMAGES.md says what holds for images that are not trusted.
 */
export async function openImage(
  from: string | MemoryImage,
  options: OpenOptions = {},
): Promise<Image> {
  const checked = optionsOf('openImage', options, OPEN_OPTIONS);
  const { cacheBytes = CACHE_BYTES, parents = [], signal } = checked;
  throwIfAborted(signal);
  const source = await openSource(imageSource('from', from));
  try {
    const budget = new IndexBudget(source.name, checked.maxIndexBytes);
    const read = await whileIntact(source, () => readRecords(source, budget, signal));
    const { records } = read;
    const { head } = records;
    const ancestors = await findAncestors(source.name, source.path, head, parents, checked);
    const chain = new ImageChain(ancestors, source.bytes, budget);
    return new Image(new ImageContents(source, records, chain, cacheBytes), read);
  } catch (error) {
    await source.close().catch(() => {}); // `error` is what the caller needs to know
    throw error;
  }
}
