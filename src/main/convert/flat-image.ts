/** The image that flattening makes, as a sequence of records and pages. */
import { DIGEST, type DigestKind, digestKindOf } from '../../shared/digest/digest-kind.ts';
import { PayloadDigest } from '../../shared/digest/payload-digest.ts';
import {
  encodeCopyPages,
  putDigest,
  putPages,
  signPages,
} from '../../shared/formats/cpt/encode.ts';
import { encodeHead } from '../../shared/formats/cpt/encode-mm.ts';
import type { CptObject } from '../../shared/formats/cpt/objects.ts';
import { FILE_HEAD, PAGES_FLAG, PAGES_RECORD } from '../../shared/formats/cpt/records.ts';
import { addressOf, GRANULE_SIZE, granuleStart } from '../../shared/page.ts';
import { BLOCK, type Block, hasContent } from '../image/index/block-index.ts';
import { IdHash } from '../image/index/id-hash.ts';
import type { ImageMm, ImageVma } from '../image/index/image-mm.ts';
import type { ImageContents } from '../image/read/image-contents.ts';
import { Yielder } from '../job/stop.ts';
import { loadDigestKernels } from '../package/kernels.ts';
import { objectsOf } from './raw-objects.ts';
import type { TargetWriter } from './target-writer.ts';

const RECORD_BYTES = PAGES_RECORD.SIZE; // COPYPAGES has the same length

/** A block of the new image. */
interface FlatBlock {
  readonly start: number; // page
  pages: number;
  readonly block: Block;
}

/** Takes the parts of the new image in order. */
interface FlatVisitor {
  /** An object that stays as it is. */
  object(object: CptObject): Promise<void> | undefined;
  block(mm: ImageMm, block: FlatBlock): Promise<void> | undefined;
}

/** Goes through the new image twice: once to learn its length, once to write it. */
export class FlatImage {
  readonly #contents: ImageContents;
  readonly #blockPerPage: boolean;
  readonly #yielder: Yielder;
  readonly #kind: DigestKind;
  readonly #record = new Int32Array(RECORD_BYTES >> 2);
  readonly #pages = new Uint8Array(GRANULE_SIZE);
  readonly #digest = new PayloadDigest(() => loadDigestKernels().inside);
  /** Byte of the new image at which the record of each mm begins, by that in the old one. */
  readonly #mmOffsets = new Map<number, number>();
  #length = 0;

  constructor(contents: ImageContents, blockPerPage: boolean, signal: AbortSignal | undefined) {
    this.#contents = contents;
    this.#blockPerPage = blockPerPage;
    this.#yielder = new Yielder(signal);
    this.#kind = digestKindOf(contents.head.digest);
  }

  /** Computes the length of the new image. */
  async length(): Promise<number> {
    this.#length = FILE_HEAD.SIZE;
    await this.#visit({
      object: ({ type, offset, length }) => {
        if (type === 'MM') this.#mmOffsets.set(offset, this.#length);
        this.#length += length;
        return undefined;
      },
      block: (_mm, { block, pages }) => {
        this.#length += RECORD_BYTES + (hasContent(block) ? addressOf(pages) : 0);
        return undefined;
      },
    });
    return this.#length;
  }

  /** Writes the new image and returns its id. Precondition: `length` has resolved. */
  async write(writer: TargetWriter, onWritten: () => void): Promise<string> {
    const { head, source } = this.#contents;
    const { frozen, dontDump, mmCount } = head;
    const totalLen = this.#length;
    const flags = { frozen, dontDump, digest: this.#kind };
    const { bytes, crc } = encodeHead({ ...flags, mmCount, totalLen });
    const id = new IdHash(crc >>> 0);
    writer.write(bytes);
    await this.#visit({
      object: async ({ offset, length, recordCrc }) => {
        id.add(recordCrc);
        for (let done = 0; done < length; done += this.#pages.length) {
          const part = this.#pages.subarray(0, Math.min(this.#pages.length, length - done));
          await source.read(part, offset + done);
          writer.write(part);
        }
      },
      block: async (mm, block) => {
        id.add(await this.#writeBlock(writer, mm, block));
        onWritten();
      },
    });
    return id.digest();
  }

  /** Writes one block, and returns the crc of its record. */
  async #writeBlock(
    writer: TargetWriter,
    mm: ImageMm,
    { start, pages, block }: FlatBlock,
  ): Promise<number> {
    const record = this.#record;
    const bytes = new Uint8Array(record.buffer);
    const from = addressOf(start);
    const to = addressOf(start + pages);
    if (block.kind === BLOCK.CLONE) {
      const crc = encodeCopyPages(record, 0, from, to, this.#mmOffsets.get(block.source)!);
      writer.write(bytes);
      return crc >>> 0;
    }
    const hasData = hasContent(block);
    const guard = block.kind === BLOCK.GUARD ? PAGES_FLAG.GUARD : 0;
    putPages(record, 0, from, to, hasData, guard | (block.isFilePages ? PAGES_FLAG.FILE_PAGES : 0));
    const payload = this.#pages.subarray(0, hasData ? to - from : 0);
    await this.#contents.read(mm, from, payload);
    if (hasData && this.#kind !== DIGEST.NONE) {
      this.#digest.of(this.#kind, payload);
      putDigest(record, 0, this.#digest.low, this.#digest.high);
    }
    const crc = signPages(record, 0);
    writer.write(bytes);
    writer.write(payload);
    return crc >>> 0;
  }

  /** Calls the visitor for everything in the new image but its head. */
  async #visit(visitor: FlatVisitor): Promise<void> {
    const { mms } = this.#contents;
    let mm: ImageMm | undefined;
    let ordinal = 0;
    let vma = 0;
    let open: ImageVma | undefined;
    const close = async (): Promise<void> => {
      if (open === undefined || mm === undefined) return;
      for (const block of this.#blocks(mm, open)) {
        if (this.#yielder.isDue()) await this.#yielder.yield();
        await visitor.block(mm, block);
      }
      open = undefined;
    };
    for await (const object of objectsOf(this.#contents)) {
      if (object.type === 'PAGES' || object.type === 'COPYPAGES') continue;
      if (object.type !== 'NAME') await close();
      if (object.type === 'MM') {
        mm = mms[ordinal++];
        vma = 0;
      }
      if (object.type === 'VMA') open = mm?.vmas[vma++];
      if (this.#yielder.isDue()) await this.#yielder.yield();
      await visitor.object(object);
    }
    await close();
  }

  /** The blocks that a VMA has in the new image. */
  *#blocks({ blocks }: ImageMm, { firstBlock, lastBlock }: ImageVma): Generator<FlatBlock> {
    let open: FlatBlock | undefined;
    for (let index = firstBlock; index < lastBlock; index++) {
      const block = blocks.at(index);
      const { start, pages } = block;
      if (this.#blockPerPage) {
        for (let page = 0; page < pages; page++) yield { start: start + page, pages: 1, block };
        continue;
      }
      const next = { start, pages, block };
      if (open !== undefined && joins(open, next)) {
        open.pages += pages;
        continue;
      }
      if (open !== undefined) yield open;
      open = next;
    }
    if (open !== undefined) yield open;
  }
}

/** Whether a dump would have made one block of these two. */
function joins(open: FlatBlock, next: FlatBlock): boolean {
  const [a, b] = [open.block, next.block];
  if (open.start + open.pages !== next.start) return false;
  if (granuleStart(open.start) !== granuleStart(next.start)) return false;
  if (hasContent(a) ? !hasContent(b) : a.kind !== b.kind) return false;
  return a.kind === BLOCK.CLONE ? a.source === b.source : a.isFilePages === b.isFilePages;
}
