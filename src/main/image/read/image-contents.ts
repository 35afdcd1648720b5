/** The contents of an open image: its records, and the way to its bytes. `Image` keeps it open. */
import { crc32 } from 'node:zlib';
import { refusal, unknownName } from '../../../shared/arguments/refuse.ts';
import type { SourceReach } from '../../../shared/dump/tasks/source-reach.ts';
import { MmdumpError } from '../../../shared/errors.ts';
import { pad8 } from '../../../shared/formats/cpt/encode-mm.ts';
import type { ImageHead } from '../../../shared/formats/cpt/head.ts';
import { type Problem, problemError } from '../../../shared/formats/problem.ts';
import { MiB } from '../../../shared/page.ts';
import { throwIfAborted } from '../../../shared/sync/wait.ts';
import type { ImageChain } from '../chain/chain.ts';
import type { FilePages } from '../index/file-pages.ts';
import type { ImageMm } from '../index/image-mm.ts';
import { type ImageState, stateText } from '../index/image-state.ts';
import type { ByteSource } from '../source/byte-source.ts';
import { type AbsentStretch, PagePlaces, type StoredPart, type Stretch } from './page-places.ts';
import { PageReader } from './page-reader.ts';
import { threadDigest } from './thread-digest.ts';

export type { StoredPart } from './page-places.ts';

/** The records of an image, checked against each other. */
export interface CheckedRecords {
  readonly head: ImageHead;
  readonly states: readonly ImageState[];
  readonly mms: readonly ImageMm[];
  readonly filePages: FilePages;
}

/** Bytes of a state that are read and checked at a time. */
const STATE_PART = 4 * MiB;

/** The payloads that an mm may have beside its pages. */
export type PayloadPart = 'ldt' | 'auxv' | 'notes';

export class ImageContents {
  readonly source: ByteSource;
  readonly chain: ImageChain;
  readonly head: ImageHead;
  readonly states: readonly ImageState[];
  readonly mms: readonly ImageMm[];
  readonly #places: PagePlaces;
  readonly #reader: PageReader;
  /** How many machines have pages that lie in the image. */
  #holders = 0;
  #isClosed = false;

  constructor(source: ByteSource, records: CheckedRecords, chain: ImageChain, cacheBytes: number) {
    const { head, states, mms } = records;
    this.source = source;
    this.chain = chain;
    this.head = head;
    this.states = states;
    this.mms = mms;
    this.#places = new PagePlaces(source, records, chain);
    this.#reader = new PageReader(this.#places, chain, cacheBytes, threadDigest);
  }

  /**
   * The descriptors or the memory from which a worker reads the image, and its ancestors, while it
   * is open. Precondition: `openChain` has resolved.
   */
  get reach(): SourceReach {
    return this.chain.reach(this.source.reach);
  }

  /** Reads the records of all ancestors, for code that finds pages without waiting. */
  openChain(signal?: AbortSignal): Promise<void> {
    return this.chain.openAll(signal);
  }

  /**
   * The pages of blocks that this image stores or has in its parent, where they lie: see
   * PagePlaces.stored. Precondition: `openChain` has resolved.
   */
  stored(mm: ImageMm, start: number, pages: number): Generator<StoredPart> {
    return this.#places.stored(mm, start, pages);
  }

  /** Where the first of `most` bytes from `address` on lie: see PagePlaces.look. */
  look(mm: ImageMm, address: number, most: number): Stretch | AbsentStretch {
    return this.#places.look(mm, address, most);
  }

  /** Throws INPUT_FAILED if the memory of the image or of an ancestor was written again. */
  assertIntact(): void {
    this.source.assertIntact?.();
    this.chain.assertIntact();
  }

  /** The mm with this ordinal. OPTION_INVALID if there is none. */
  mm(ordinal = 0): ImageMm {
    const found = this.mms[ordinal];
    if (found !== undefined) return found;
    const message = `mm ${ordinal}: ${this.source.name} has ${this.mms.length} mms, from 0 on`;
    throw new MmdumpError('OPTION_INVALID', message, { mm: ordinal });
  }

  /** The mm whose record begins at this byte of the image. */
  mmAt(offset: number): ImageMm | undefined {
    return this.#places.mmAt(offset);
  }

  /**
   * Reads as `Image.read` does.
   *
   * Preconditions: `address` and the bytes behind it lie in user space.
   */
  read(mm: ImageMm, address: number, into: Uint8Array): Promise<void> {
    return this.#reader.read(mm, address, into);
  }

  /** Reads a payload beside the pages and checks it; empty if there is none. IMAGE_CHECKSUM. */
  async payload(mm: ImageMm, part: PayloadPart): Promise<Uint8Array> {
    const payload = mm[part];
    if (payload === null) return new Uint8Array();
    const { offset, crc, content } = payload;
    if (content !== undefined) return content.slice();
    const bytes = new Uint8Array(payload.bytes);
    await this.source.read(bytes, offset);
    if (crc32(bytes) === crc) return bytes;
    throw this.#damaged('payload', offset);
  }

  /** Reads a state and checks it. OPTION_INVALID if there is none of this name, IMAGE_CHECKSUM. */
  async state(name: string, signal?: AbortSignal): Promise<Uint8Array> {
    const { offset, bytes, crc } = this.#stateOf(name);
    const read = new Uint8Array(bytes);
    const padding = new Uint8Array(pad8(bytes) - bytes);
    let found = 0;
    for (let at = 0; at < bytes; at += STATE_PART) {
      throwIfAborted(signal);
      const part = read.subarray(at, at + STATE_PART);
      await this.source.read(part, offset + at);
      found = crc32(part, found);
    }
    if (padding.length > 0) await this.source.read(padding, offset + bytes);
    if (crc32(padding, found) === crc) return read;
    throw this.#damaged(`${stateText(name)}, payload`, offset);
  }

  #stateOf(name: string): ImageState {
    const found = this.states.find((each) => each.name === name);
    if (found !== undefined) return found;
    const known = this.states.map((each) => each.name);
    if (known.length > 0) throw unknownName('state', name, known);
    throw refusal('state', name, 'none, since the image holds no state');
  }

  #damaged(what: string, offset: number): Error {
    const message = `${what} at byte ${offset}: its checksum does not match`;
    const problem: Problem = { code: 'IMAGE_CHECKSUM', offset, address: null, message };
    return problemError(this.source.name, problem);
  }

  /**
   * Keeps the files of the image open, also after `close`, until the returned function is called.
   * INPUT_FAILED from the last one to let go, if the system cannot close a file.
   */
  hold(): () => Promise<void> {
    this.#holders++;
    let isHeld = true;
    return async () => {
      if (!isHeld) return;
      isHeld = false;
      this.#holders--;
      if (this.#isClosed && this.#holders === 0) await this.#closeFiles();
    };
  }

  /** Closes the files, or lets the last holder do that. */
  async close(): Promise<void> {
    this.#reader.clear();
    this.#isClosed = true;
    if (this.#holders === 0) await this.#closeFiles();
  }

  async #closeFiles(): Promise<void> {
    await this.source.close();
    await this.chain.close();
  }
}
