/**
 * The bytes of one run after the other: they are read into frames, from an image with or without
 * compression, and have to have the digest of their block.
 */
import type { Mm } from '../../mmu/mm/mm.ts';
import { DIGEST, isSameDigest, mismatchText, NO_DIGEST } from '../../shared/digest/digest-kind.ts';
import { LOAD_FLAG, type LoadRun } from '../../shared/dump/load-table.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex, KiB, PAGE_SIZE } from '../../shared/page.ts';
import { PackedBlocks } from '../task/packed-blocks.ts';
import type { Reader } from '../task/read-at.ts';
import type { FramesDigest } from './frames-digest.ts';

/** Bytes that are read before they are digested, while they are in the core's own cache. */
const CHECKED_PART = 128 * KiB;

/** What stands for a run before the first. */
export const NO_RUN: LoadRun = {
  mm: 0,
  kind: 0,
  flags: 0,
  pages: 0,
  start: 0,
  source: 0,
  file: 0,
  index: 0,
  ...NO_DIGEST,
};

/** Reads the bytes of runs of one mm. */
export class RunBytes {
  readonly #mm: Mm;
  readonly #reader: Reader;
  readonly #packed: PackedBlocks;
  readonly #digest: FramesDigest;
  #run: LoadRun = NO_RUN;
  /** The next run continues the block of this one. */
  #hasMore = false;

  constructor(mm: Mm, reader: Reader, digest: FramesDigest) {
    this.#mm = mm;
    this.#reader = reader;
    this.#packed = new PackedBlocks(reader);
    this.#digest = digest;
  }

  /** Begins a run. */
  begin(run: LoadRun): void {
    this.#run = run;
    const isRest = this.#hasMore;
    this.#hasMore = (run.flags & LOAD_FLAG.MORE) !== 0;
    const isOfPages = (run.flags & LOAD_FLAG.OF_PAGES) !== 0;
    if (!isRest) this.#digest.begin(run.digest, isOfPages);
  }

  /** Reads the bytes of `count` pages from `vpn` on into frames, and digests them. */
  read(vpn: number, first: number, count: number): void {
    const { memory } = this.#mm;
    const { start, pages, digest } = this.#run;
    const bytes = memory.bytesOf(first);
    const at = memory.byteAt(first);
    const length = count * PAGE_SIZE;
    const offset = addressOf(vpn - start);
    const isChecked = digest !== DIGEST.NONE;
    const isEnd = vpn + count === start + pages && !this.#hasMore;
    const part = isChecked ? CHECKED_PART : length;
    for (let done = 0; done < length; done += part) {
      const bytesNow = Math.min(part, length - done);
      this.#take(bytes, at + done, bytesNow, offset + done);
      if (!isChecked) continue;
      this.#digest.take(first, at + done, bytesNow, isEnd && done + bytesNow === length);
    }
  }

  /** Reads `length` bytes of the pages of the run, from byte `from` of them on. */
  #take(into: Uint8Array, at: number, length: number, from: number): void {
    const { source, packed = 0, blockPages = 0, skip = 0 } = this.#run;
    if (packed === 0) {
      this.#reader.read(into, at, length, source + from);
      return;
    }
    const pages = this.#packed.pages(source, packed, addressOf(blockPages));
    const first = addressOf(skip) + from;
    into.set(pages.subarray(first, first + length), at);
  }

  /**
   * Throws IMAGE_CHECKSUM if the bytes of the block that ends with this run do not have the stored
   * digest. `slot` is the VMA of the run.
   */
  assertDigest(slot: number): void {
    const { digest, start, pages, source, mm } = this.#run;
    const found = this.#digest;
    if (digest === DIGEST.NONE || this.#hasMore || isSameDigest(this.#run, found)) return;
    const address = addressOf(start);
    const range = `${hex(address)}-${hex(address + addressOf(pages))}`;
    const vma = `${hex(addressOf(this.#mm.vmas.start(slot)))}-${hex(addressOf(this.#mm.vmas.end(slot)))}`;
    const { name, offset } = this.#reader.placeOf(source);
    throw new MmdumpError(
      'IMAGE_CHECKSUM',
      `${name}: mm ${mm}, VMA ${vma}, pages ${range} at byte ${offset}: ` +
        mismatchText(this.#run, found),
      { mm, address, offset },
    );
  }
}
