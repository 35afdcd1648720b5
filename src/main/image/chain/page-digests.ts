/**
 * Digests the pages that an image stores or has in its parent, one by one, with all workers. The
 * digest of a block of one page stands in its record, so such pages are not read.
 */
import { DIGEST } from '../../../shared/digest/digest-kind.ts';
import {
  type DigestRange,
  describePageDigests,
  type PageDigestBuffers,
  PageDigestTable,
  pageDigestBytes,
} from '../../../shared/dump/page-digests.ts';
import { PayloadTable, payloadTableBytes } from '../../../shared/dump/payload-table.ts';
import { MmdumpError } from '../../../shared/errors.ts';
import { addressOf, GRANULE_PAGES, granuleStart, MiB, PAGE_SIZE } from '../../../shared/page.ts';
import type { WorkerPool } from '../../crew/pool.ts';
import { cutIntoUnits } from '../../crew/units.ts';
import { Yielder } from '../../job/stop.ts';
import { loadDigestKernels } from '../../package/kernels.ts';
import { BLOCK, type Block, hasContent } from '../index/block-index.ts';
import type { ImageMm } from '../index/image-mm.ts';
import type { ImageContents, StoredPart } from '../read/image-contents.ts';
import { whileIntact } from '../source/byte-source.ts';

/** Pages that are digested in one phase. Their table takes 40 bytes per page. */
const PAGES_AT_ONCE = 0x10_0000;
/** Bytes per unit of a phase. */
const UNIT_BYTES = MiB;

/** Which blocks of an image are meant: all that have content, or those that lie in the parent. */
export type DigestedBlocks = 'content' | 'parent';

/**
 * Digests the pages of an image. Throws INPUT_FAILED, the errors of `ImageContents.openChain`, and
 * AbortError.
 */
export async function digestPages(
  pool: WorkerPool,
  contents: ImageContents,
  blocks: DigestedBlocks,
  signal: AbortSignal | undefined,
): Promise<PageDigestBuffers> {
  await contents.openChain(signal);
  const ranges = contents.mms.map((mm) => rangesOf(mm, blocks));
  let pages = 0;
  const numbered = ranges.map((ofMm) =>
    ofMm.map((range) => {
      const first = pages;
      pages += range.pages;
      return { ...range, first };
    }),
  );
  const buffers = describePageDigests(
    numbered,
    new SharedArrayBuffer(Math.max(8, pageDigestBytes(pages))),
  );
  const digester = new PageDigester(pool, contents, new PageDigestTable(buffers), signal);
  await whileIntact(contents, () => digester.run(blocks));
  return buffers;
}

/** Whether the digests of the pages of a block are wanted. */
function isWanted(block: Block, blocks: DigestedBlocks): boolean {
  return blocks === 'content' ? hasContent(block) : block.kind === BLOCK.PARENT;
}

/** The granules that have such blocks. Neighbours are joined. */
function rangesOf(mm: ImageMm, blocks: DigestedBlocks): Omit<DigestRange, 'first'>[] {
  const ranges: { start: number; pages: number }[] = [];
  for (let index = 0; index < mm.blocks.count; index++) {
    const block = mm.blocks.at(index);
    if (!isWanted(block, blocks)) continue;
    const start = granuleStart(block.start); // a block lies in one granule
    const last = ranges.at(-1);
    const end = last === undefined ? -1 : last.start + last.pages;
    if (last === undefined || start > end) ranges.push({ start, pages: GRANULE_PAGES });
    else if (start === end) last.pages += GRANULE_PAGES;
  }
  return ranges;
}

/** Pages that wait for a phase: where their bytes are, and the numbers of their digests. */
class PageDigester {
  readonly #pool: WorkerPool;
  readonly #contents: ImageContents;
  readonly #table: PageDigestTable;
  readonly #signal: AbortSignal | undefined;
  readonly #offsets: number[] = [];
  readonly #numbers: number[] = [];
  /** The blocks of the pages: length of the frame or 0, pages, and pages before the page. */
  readonly #frames: number[] = [];
  readonly #blockPages: number[] = [];
  readonly #skips: number[] = [];

  constructor(
    pool: WorkerPool,
    contents: ImageContents,
    table: PageDigestTable,
    signal: AbortSignal | undefined,
  ) {
    this.#pool = pool;
    this.#contents = contents;
    this.#table = table;
    this.#signal = signal;
  }

  async run(blocks: DigestedBlocks): Promise<void> {
    const yielder = new Yielder(this.#signal);
    for (const mm of this.#contents.mms) {
      for (let index = 0; index < mm.blocks.count; index++) {
        const block = mm.blocks.at(index);
        if (!isWanted(block, blocks)) continue;
        if (yielder.isDue()) await yielder.yield();
        for (const part of this.#contents.stored(mm, block.start, block.pages)) {
          this.#add(mm.ordinal, part);
        }
        if (this.#offsets.length >= PAGES_AT_ONCE) await this.#flush();
      }
    }
    await this.#flush();
  }

  #add(mm: number, { start, pages, payload, block }: StoredPart): void {
    const first = this.#table.numberOf(mm, start);
    if (block.pages === 1 && block.digest === DIGEST.XXH3) {
      this.#set(first, block.low, block.high);
      return;
    }
    for (let page = 0; page < pages; page++) {
      const skip = start - block.start + page;
      this.#frames.push(block.packed);
      this.#blockPages.push(block.pages);
      this.#skips.push(skip);
      this.#offsets.push(payload + (block.packed > 0 ? 0 : addressOf(skip)));
      this.#numbers.push(first + page);
    }
  }

  #set(number: number, low: number, high: number): void {
    this.#table.words[number * 2] = low;
    this.#table.words[number * 2 + 1] = high;
  }

  /** Digests the pages that wait, in the order of their places. */
  async #flush(): Promise<void> {
    const offsets = this.#offsets;
    const count = offsets.length;
    if (count === 0) return;
    const order = Uint32Array.from(offsets, (_, index) => index);
    order.sort((a, b) => offsets[a]! - offsets[b]!);
    const payloads = new SharedArrayBuffer(payloadTableBytes(count));
    const table = new PayloadTable(payloads);
    order.forEach((page, index) => {
      table.set(index, offsets[page]!, PAGE_SIZE, DIGEST.XXH3, 0, 0);
      const frame = this.#frames[page]!;
      if (frame === 0) return;
      table.setPacked(
        index,
        frame,
        addressOf(this.#blockPages[page]!),
        addressOf(this.#skips[page]!),
      );
    });
    const units = cutIntoUnits(count, () => PAGE_SIZE, UNIT_BYTES);
    const crew = this.#pool.crew({
      units: units.unitCount,
      bytes: count * PAGE_SIZE,
      mayRunHere: true,
    });
    const digestKernel = loadDigestKernels().inside;
    const task = { ...units, source: this.#contents.reach, payloads, digestKernel };
    await this.#pool.phase('verify', crew).run(() => task, { signal: this.#signal });
    order.forEach((page, index) => {
      if (table.isBroken(index)) throw broken(this.#contents.source.name, offsets[page]!);
      const { low, high } = table.found(index);
      this.#set(this.#numbers[page]!, low, high);
    });
    this.#offsets.length = 0;
    this.#numbers.length = 0;
    this.#frames.length = 0;
    this.#blockPages.length = 0;
    this.#skips.length = 0;
  }
}

function broken(name: string, offset: number): MmdumpError {
  const text = `${name}, or an ancestor of it: a compressed block, at byte ${offset} of the chain`;
  return new MmdumpError('IMAGE_CORRUPT', `${text}: its zstd frame is damaged`, { offset });
}
