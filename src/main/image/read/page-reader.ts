/**
 * Reads the pages of an image by blocks, and checks each block against the digest of its payload:
 *
 *  - A block that is wanted as a whole is read into the buffer of the caller and checked there.
 *  - Small blocks that lie close together are read with one call.
 *  - A part of a block comes from a cache of whole blocks, since a digest covers the whole block.
 *
 * Several reads are under way while earlier ones are checked.
 */

import { DIGEST, isSameDigest, mismatchText } from '../../../shared/digest/digest-kind.ts';
import type { PayloadDigest } from '../../../shared/digest/payload-digest.ts';
import { MmdumpError } from '../../../shared/errors.ts';
import { pagesText } from '../../../shared/formats/problem.ts';
import { addressOf, hex, KiB, PAGE_SIZE } from '../../../shared/page.ts';
import { packedRoom, unpackBlock } from '../../../shared/zstd.ts';
import { Yielder } from '../../job/stop.ts';
import type { ImageChain } from '../chain/chain.ts';
import type { Block } from '../index/block-index.ts';
import { findVma, type ImageMm } from '../index/image-mm.ts';
import type { ByteSource } from '../source/byte-source.ts';
import { BlockCache } from './block-cache.ts';
import type { PagePlaces, StoredStretch, Stretch } from './page-places.ts';

/** Most reads of one request that are under way at the same time. */
const READS_AT_ONCE = 3;
/** A larger block is read by itself, into the buffer of the caller. */
const SMALL_BLOCK = 128 * KiB;
/** Most bytes that one read takes for several small blocks, with the records between them. */
const BATCH_BYTES = 256 * KiB;
/** Most bytes between two blocks that are read along, to save one read. */
const GAP_BYTES = 4 * KiB;

/** A block that is wanted as a whole, and the part of the caller's buffer that it fills. */
interface WantedBlock {
  readonly mm: ImageMm;
  readonly block: Block;
  readonly source: ByteSource;
  readonly into: Uint8Array;
}

export class PageReader {
  readonly #places: PagePlaces;
  readonly #chain: ImageChain;
  readonly #cache: BlockCache;
  readonly #digest: () => PayloadDigest;

  /** The cache holds up to `cacheBytes` bytes of payloads. `digest` returns a PayloadDigest. */
  constructor(
    places: PagePlaces,
    chain: ImageChain,
    cacheBytes: number,
    digest: () => PayloadDigest,
  ) {
    this.#digest = digest;
    this.#places = places;
    this.#chain = chain;
    this.#cache = new BlockCache(cacheBytes);
  }

  /**
   * Fills `into` with the bytes that an mm held from `address` on. It writes nothing after it has
   * settled.
   */
  async read(mm: ImageMm, address: number, into: Uint8Array): Promise<void> {
    if (into.length === 0) return;
    // Most small reads lie in one block, and the cache holds it.
    const first = this.#places.stretch(mm, address, into.length);
    if (first.bytes === into.length && this.#isReady(first, into)) return;
    const reads = new Reads(READS_AT_ONCE);
    try {
      await this.#start(reads, mm, address, into);
    } finally {
      await reads.ended();
    }
    reads.throwIfFailed();
  }

  /** Empties the cache. */
  clear(): void {
    this.#cache.clear();
  }

  async #start(reads: Reads, mm: ImageMm, address: number, into: Uint8Array): Promise<void> {
    const yielder = new Yielder(undefined);
    let batch: WantedBlock[] = [];
    let at = 0;
    for (const stretch of this.#places.stretches(mm, address, into.length)) {
      if (yielder.isDue()) await yielder.yield();
      if (stretch.kind === 'unopened') {
        await this.#chain.open(stretch.ancestor);
        continue;
      }
      const { bytes } = stretch;
      const target = into.subarray(at, at + bytes);
      at += bytes;
      if (this.#isReady(stretch, target) || stretch.kind === 'zeros') continue;
      if (bytes < payloadBytes(stretch.block)) {
        await reads.start(() => this.#readPart(stretch, target));
      } else {
        const { mm, block, source } = stretch;
        if (!joins(batch, block, source)) {
          const full = batch;
          batch = [];
          if (full.length > 0) await reads.start(() => this.#readBatch(full));
        }
        batch.push({ mm, block, source, into: target });
      }
    }
    if (batch.length > 0) await reads.start(() => this.#readBatch(batch));
  }

  /** Fills `into` with zeros, or with what the cache holds; false if a block has to be read. */
  #isReady(stretch: Stretch, into: Uint8Array): boolean {
    if (stretch.kind === 'zeros') {
      into.fill(0);
      return true;
    }
    if (stretch.kind === 'unopened') return false;
    const { block, base, from, bytes } = stretch;
    const payload = this.#cache.get(base + block.source);
    payload?.copy(into, 0, from, from + bytes);
    return payload !== undefined;
  }

  async #readPart(stretch: StoredStretch, into: Uint8Array): Promise<void> {
    const { mm, block, source, base, from, bytes } = stretch;
    if (block.digest === DIGEST.NONE && block.packed === 0) {
      await source.read(into, block.source + from);
      return;
    }
    const fill = async (payload: Uint8Array): Promise<void> => {
      await this.#readPayload(source, mm, block, payload);
    };
    await this.#cache.read(base + block.source, payloadBytes(block), fill, (payload) => {
      payload.copy(into, 0, from, from + bytes);
    });
  }

  /** Reads one block, or several that lie one behind the other, with one call, and checks them. */
  async #readBatch(batch: readonly WantedBlock[]): Promise<void> {
    const first = batch[0]!;
    const last = batch.at(-1)!;
    if (first === last) {
      await this.#readPayload(first.source, first.mm, first.block, first.into);
      return;
    }
    const start = first.block.source;
    const end = last.block.source + storedBytes(last.block);
    const buffer = Buffer.allocUnsafeSlow(end - start);
    await first.source.read(buffer, start);
    for (const { mm, block, source, into } of batch) {
      const at = block.source - start;
      const payload = buffer.subarray(at, at + storedBytes(block));
      if (block.packed > 0) unpack(source, block, payload, into);
      else into.set(payload);
      this.#check(source, mm, block, into);
    }
  }

  /** Reads the payload of one block, which `source` stores, and checks it. */
  async #readPayload(
    source: ByteSource,
    mm: ImageMm,
    block: Block,
    into: Uint8Array,
  ): Promise<void> {
    if (block.packed > 0) {
      const frame = Buffer.allocUnsafeSlow(storedBytes(block));
      await source.read(frame, block.source);
      unpack(source, block, frame, into);
    } else {
      await source.read(into, block.source);
    }
    this.#check(source, mm, block, into);
  }

  /** IMAGE_CHECKSUM if the payload of a block does not match the digest in its record. */
  #check(source: ByteSource, mm: ImageMm, block: Block, payload: Uint8Array): void {
    if (block.digest === DIGEST.NONE) return;
    const found = this.#digest();
    found.of(block.digest, payload);
    if (isSameDigest(block, found)) return;
    const address = addressOf(block.start);
    const vma = findVma(mm.vmas, address);
    const start = vma?.start ?? 0;
    const end = vma?.end ?? 0;
    const where = pagesText(mm.ordinal, { start, end }, address, payload.length);
    throw new MmdumpError(
      'IMAGE_CHECKSUM',
      `${source.name}: ${where}, payload at byte ${block.source}: ${mismatchText(block, found)}`,
      { mm: mm.ordinal, vmaStart: start, vmaEnd: end, address, offset: block.source },
    );
  }
}

/** Bytes of the pages of a block. */
function payloadBytes({ pages }: Block): number {
  return pages * PAGE_SIZE;
}

/** Bytes that a block takes in the image. */
function storedBytes(block: Block): number {
  return block.packed > 0 ? packedRoom(block.packed) : payloadBytes(block);
}

/** Decompresses a block. IMAGE_CORRUPT if its frame does not hold its pages, and ZSTD_MISSING. */
function unpack({ name }: ByteSource, block: Block, frame: Uint8Array, into: Uint8Array): void {
  const reason = unpackBlock(frame, block.packed, into, name);
  if (reason === null) return;
  const { source: offset } = block;
  const address = addressOf(block.start);
  const text = `${name}: payload at byte ${offset}, pages from ${hex(address)} on: ${reason}`;
  throw new MmdumpError('IMAGE_CORRUPT', text, { offset, address, reason });
}

/** Whether the read of a batch can take this block as well. */
function joins(batch: readonly WantedBlock[], block: Block, source: ByteSource): boolean {
  const first = batch[0]?.block;
  const last = batch.at(-1)?.block;
  if (first === undefined || last === undefined) return true;
  if (batch[0]?.source !== source) return false;
  if (payloadBytes(first) > SMALL_BLOCK || payloadBytes(block) > SMALL_BLOCK) return false;
  const gap = block.source - (last.source + storedBytes(last));
  const bytes = block.source + storedBytes(block) - first.source;
  return gap >= 0 && gap <= GAP_BYTES && bytes <= BATCH_BYTES;
}

/** The reads of one request. A few run at a time, and the first failure is that of the request. */
class Reads {
  readonly #running = new Set<Promise<void>>();
  readonly #most: number;
  #failed = false;
  #error: unknown;

  constructor(most: number) {
    this.#most = most;
  }

  /** Starts a read when fewer than `most` are under way. Rejects if one has failed meanwhile. */
  async start(read: () => Promise<void>): Promise<void> {
    while (this.#running.size >= this.#most) await Promise.race(this.#running);
    this.throwIfFailed();
    const running = this.#watch(read).finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Waits until no read is under way. It never rejects. */
  async ended(): Promise<void> {
    await Promise.all(this.#running);
  }

  throwIfFailed(): void {
    if (this.#failed) throw this.#error;
  }

  async #watch(read: () => Promise<void>): Promise<void> {
    try {
      await read();
    } catch (error) {
      if (!this.#failed) this.#error = error;
      this.#failed = true;
    }
  }
}
