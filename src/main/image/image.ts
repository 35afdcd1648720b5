/**
 * Reading an image at random: its mms, mappings and pages. Only the records are kept in memory,
 * never the pages; their cost follows the number of records in the file, up to a limit.
 */
import { bytesOf } from '../../shared/arguments/bytes.ts';
import {
  abortSignal,
  isInstance,
  number,
  optional,
  wholeNumber,
} from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { MmdumpError } from '../../shared/errors.ts';
import type { ImageHead } from '../../shared/formats/cpt/head.ts';
import { ImageProblem, problemError } from '../../shared/formats/problem.ts';
import { addressOf, TASK_SIZE, vpnOf } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import type { MemoryImage } from '../sinks/memory-sink.ts';
import { BLOCK, type Block } from './index/block-index.ts';
import { IdHash } from './index/id-hash.ts';
import { findVma, type ImageMm, type ImageVma } from './index/image-mm.ts';
import { IndexBudget, MAX_INDEX } from './index/index-budget.ts';
import { CACHE_BYTES } from './read/block-cache.ts';
import { type CheckedRecords, ImageContents, type PayloadPart } from './read/image-contents.ts';
import { Uses } from './read/uses.ts';
import { type ByteSource, whileIntact } from './source/byte-source.ts';
import { imageSource, openSource } from './source/open-source.ts';
import { StreamChecker } from './stream/checker.ts';
import { readHead, type Visitor, walkObjects } from './stream/walk.ts';

/** What an image says of one page. */
export interface PageInfo {
  /**
   * 'copy': its bytes are in the image · 'zero': zeros · 'clone': an earlier mm has its bytes ·
   * 'guard': a guard page · 'absent': mapped, not stored · 'unmapped': no mapping there.
   */
  readonly kind: 'copy' | 'zero' | 'clone' | 'guard' | 'absent' | 'unmapped';
  /** The mapping that the page belongs to; null where there is none. */
  readonly vma: ImageVma | null;
  /** Byte of the image at which its bytes lie, null where it has none of its own. */
  readonly offset: number | null;
}

/** Options of `openImage`. */
export interface OpenOptions {
  /** Ends the reading of the records. */
  readonly signal?: AbortSignal | undefined;
  /**
   * What the records may take in memory, in bytes, counted generously; the pages take none.
   * IMAGE_TOO_LARGE beyond it. Default 1 GiB.
   */
  readonly maxIndexBytes?: number | undefined;
  /**
   * Bytes of blocks, of at most 2 MiB each, that `read` keeps for whoever reads them in parts. With 0
   * each such read reads and checks its block anew. Default 8 MiB.
   */
  readonly cacheBytes?: number | undefined;
}

/** Which address space of an image is meant. */
export interface MmChoice {
  /** Ordinal of the mm. Default 0. */
  readonly mm?: number | undefined;
}

const OPEN_OPTIONS: Shape<OpenOptions> = {
  signal: optional(abortSignal),
  maxIndexBytes: optional(MAX_INDEX),
  cacheBytes: optional(wholeNumber(0)),
};
const ADDRESS = wholeNumber(0);
const ORDINAL = wholeNumber(0);
const MM_CHOICE: Shape<MmChoice> = { mm: optional(ORDINAL) };

const KINDS = {
  [BLOCK.DATA]: 'copy',
  [BLOCK.ZERO]: 'zero',
  [BLOCK.CLONE]: 'clone',
  [BLOCK.GUARD]: 'guard',
} as const;

/** An open image. `openImage` makes one; its methods read from the file. */
export class Image {
  /** The format of the file: docs/IMAGE_FORMAT.md. */
  readonly format = 'cpt';
  /** Names the image: first 16 bytes of sha256 over its record crcs, in hex. */
  readonly id: string;
  /** What the first record says of the whole image. */
  readonly head: ImageHead;
  /** Where it lies; null for an image in memory. */
  readonly path: string | null;
  /** Its length. */
  readonly bytes: number;
  readonly #contents: ImageContents;
  readonly #uses: Uses;

  /** @internal */
  constructor(contents: ImageContents, id: string) {
    if (!isInstance(contents, ImageContents)) {
      throw refusal('new Image', contents, 'a call of openImage');
    }
    const { head, source } = contents;
    this.#contents = contents;
    this.#uses = new Uses(() => new MmdumpError('IMAGE_CLOSED', `${source.name} was closed`));
    this.head = head;
    this.path = source.path;
    this.bytes = source.bytes;
    this.id = id;
  }

  /** Its address spaces, in the order of the dump. */
  mms(): readonly ImageMm[] {
    this.#uses.assertOpen();
    return this.#contents.mms;
  }

  /** The mm with this ordinal. OPTION_INVALID when there is none. */
  mm(ordinal = 0): ImageMm {
    this.#uses.assertOpen();
    return this.#contents.mm(ORDINAL('ordinal', ordinal));
  }

  /** @internal The mm whose record begins at this byte of the image. */
  mmAt(offset: number): ImageMm | undefined {
    this.#uses.assertOpen();
    return this.#contents.mmAt(number('offset', offset));
  }

  /** The mappings of an mm, ascending. */
  vmas(choice: MmChoice = {}): readonly ImageVma[] {
    return this.mm(ordinalOf(choice)).vmas;
  }

  /** What the image says of the page that holds `address`. */
  page(address: number, choice: MmChoice = {}): PageInfo {
    ADDRESS('address', address);
    const mm = this.mm(ordinalOf(choice));
    const vma = findVma(mm.vmas, address);
    if (vma === undefined) return { kind: 'unmapped', vma: null, offset: null };
    const vpn = vpnOf(address);
    const block = mm.blocks.find(vpn);
    if (block === undefined) return { kind: 'absent', vma, offset: null };
    const offset = block.kind === BLOCK.DATA ? pageOffset(block, vpn) : null;
    return { kind: KINDS[block.kind], vma, offset };
  }

  /**
   * Fills `into` with what the mm held from `address` on; pages that were never touched are zeros.
   * PAGE_ABSENT where the image does not know: a living file's page, a device, a guard page, an
   * absent page of a VM_HUGETLB mapping or of a VM_DONTDUMP one that was left out, no mapping.
   *
   * Every block that is read is checked against the checksum of its payload, all of it even if only
   * one byte is wanted: IMAGE_CHECKSUM, with the mm, VMA and address of the block. The last blocks
   * that were read in part are kept (`cacheBytes`). An image without checksums is read unchecked.
   *
   * After a read that was rejected the contents of `into` are undefined. Nothing is written to it
   * once the promise has settled.
   */
  read(address: number, into: ArrayBufferView, choice: MmChoice = {}): Promise<void> {
    return this.#uses.during(async () => {
      const view = bytesOf('into', into);
      if (ADDRESS('address', address) + view.length > TASK_SIZE) {
        throw new MmdumpError('OPTION_INVALID', `${address}: no address of user space`, {
          address,
        });
      }
      await this.#contents.read(this.#contents.mm(ordinalOf(choice)), address, view);
    });
  }

  /** The LDT's entries, 8 bytes each; empty when there are none. */
  ldt(choice: MmChoice = {}): Promise<Uint8Array> {
    return this.#payload('ldt', choice);
  }

  /** The auxiliary vector; empty when the image has none. */
  auxv(choice: MmChoice = {}): Promise<Uint8Array> {
    return this.#payload('auxv', choice);
  }

  /** The ELF notes, zero-padded to 8 bytes; empty when the image has none. */
  notes(choice: MmChoice = {}): Promise<Uint8Array> {
    return this.#payload('notes', choice);
  }

  /**
   * Runs a job on the contents of the image, and keeps it open until the job is over. IMAGE_CLOSED if
   * it was closed before.
   *
   * @internal
   */
  use<T>(job: (contents: ImageContents) => Promise<T>): Promise<T> {
    return this.#uses.during(() => job(this.#contents));
  }

  /**
   * Closes the image, once the reads and restores that have begun are over. Whatever is asked of it
   * from now on is IMAGE_CLOSED; closing it again is nothing.
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
 * Opens a file, the parts of an image (`OUT`, or `OUT.000`), or that of a memory sink. Checks every record, not the pages. INPUT_FAILED,
 * IMAGE_* where the image is damaged, IMAGE_TOO_LARGE beyond `maxIndexBytes`.
 */
export async function openImage(
  from: string | MemoryImage,
  options: OpenOptions = {},
): Promise<Image> {
  const checked = optionsOf('openImage', options, OPEN_OPTIONS);
  const { cacheBytes = CACHE_BYTES } = checked;
  throwIfAborted(checked.signal);
  const source = await openSource(imageSource('from', from));
  try {
    const { records, id } = await whileIntact(source, () => readRecords(source, checked));
    return new Image(new ImageContents(source, records, cacheBytes), id);
  } catch (error) {
    await source.close().catch(() => {}); // the error says what matters
    throw error instanceof ImageProblem ? problemError(source.name, error.problem) : error;
  }
}

/** Reads and checks every record. */
async function readRecords(
  source: ByteSource,
  options: OpenOptions,
): Promise<{ readonly records: CheckedRecords; readonly id: string }> {
  if (source.problem) throw problemError(source.name, source.problem);
  const budget = new IndexBudget(source.name, options.maxIndexBytes);
  const head = await readHead(source);
  const fatal = (problem: ImageProblem): never => {
    throw problem;
  };
  const checker = new StreamChecker(head, budget, fatal);
  const id = new IdHash(head.recordCrc);
  const visitor: Visitor = {
    object: (object, payload) => {
      id.add(object.recordCrc);
      checker.add(object, payload);
    },
    problem: fatal,
  };
  await walkObjects(source, head, visitor, options.signal);
  checker.finish(head.totalLen);
  const { mms, filePages } = checker;
  return { records: { head, mms, filePages }, id: id.digest() };
}

function pageOffset(block: Block, vpn: number): number {
  return block.source + addressOf(vpn - block.start);
}
