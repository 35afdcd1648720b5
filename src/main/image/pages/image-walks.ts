/**
 * What walks through an open image: its mappings, runs and pages, the bytes of a range as a stream,
 * and strings. `Image` inherits it. Memory is bounded, whatever the image holds: a walk keeps one
 * run, a page with its bytes at most one chunk, and a stream at most two.
 */
import { Readable } from 'node:stream';
import type { AddressRange } from '../../../mmu/machine/prefetch.ts';
import {
  abortSignal,
  flag,
  oneOf,
  optional,
  wholeNumber,
} from '../../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../../shared/arguments/options.ts';
import { addressOf, MiB, PAGE_SIZE, TASK_SIZE, vpnOf } from '../../../shared/page.ts';
import { throwIfAborted } from '../../../shared/sync/wait.ts';
import { Yielder } from '../../job/stop.ts';
import type { Block } from '../index/block-index.ts';
import type { ImageMm, ImageVma } from '../index/image-mm.ts';
import type { ImageContents } from '../read/image-contents.ts';
import type { Uses } from '../read/uses.ts';
import { readCString } from './c-string.ts';
import { bytesIn, CHUNK_BYTES, knownPages } from './known-bytes.ts';
import {
  BYTE_RANGE,
  chosenVmas,
  kindsOf,
  MAPPING_FILTER,
  type MappingFilter,
  PAGE_FILTER,
  type PageFilter,
  RECORDED,
} from './page-filter.ts';
import { MM_CHOICE, type MmChoice, offsetIn, type PageInfo, type PageKind } from './page-info.ts';
import { type ImageRun, runsIn } from './page-runs.ts';

/** A page of a mapping, as `Image.pages` gives it. */
export interface ImagePage extends PageInfo {
  /** Ordinal of the mm. */
  readonly mm: number;
  /** Address of its first byte. */
  readonly address: number;
  /** The kind of the page. */
  readonly kind: PageKind;
  /** The mapping of the page. */
  readonly vma: ImageVma;
  /**
   * With `bytes`, the 4096 bytes of the page, which stay as they are; null if the image does not know
   * them, and without `bytes`.
   */
  readonly bytes: Uint8Array | null;
}

/** Options of `Image.pages`. */
export interface PagesOptions extends PageFilter {
  /** Reads the bytes of the pages, too. Default false: the walk reads nothing. */
  readonly bytes?: boolean | undefined;
}

/** Options of `Image.stream`. */
export interface ByteStreamOptions extends MmChoice {
  /**
   * What becomes of bytes that the image does not know (PAGE_ABSENT of `read`):
   *
   * - 'refuse': the stream fails with PAGE_ABSENT and gives no byte at all.
   * - 'zeros': the stream has zeros in their place.
   * - 'skip': the stream leaves them out.
   *
   * Default 'refuse'.
   */
  readonly holes?: 'refuse' | 'zeros' | 'skip' | undefined;
  /** Destroys the stream, with AbortError. Default: no signal. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of `Image.cString`. */
export interface CStringOptions extends MmChoice {
  /** Most bytes of the string, without its NUL, up to 1 MiB. SIZE_LIMIT beyond it. Default 4096. */
  readonly most?: number | undefined;
  /** What the bytes mean. With 'latin1' each byte is one character. Default 'utf8'. */
  readonly encoding?: 'utf8' | 'latin1' | undefined;
}

const ADDRESS = wholeNumber(0, TASK_SIZE - 1);
const STRING_MOST = 4096;
const PAGES_OPTIONS: Shape<PagesOptions> = { ...PAGE_FILTER, bytes: optional(flag) };
const STREAM_OPTIONS: Shape<ByteStreamOptions> = {
  ...MM_CHOICE,
  holes: optional(oneOf(['refuse', 'zeros', 'skip'])),
  signal: optional(abortSignal),
};
const STRING_OPTIONS: Shape<CStringOptions> = {
  ...MM_CHOICE,
  most: optional(wholeNumber(1, MiB)),
  encoding: optional(oneOf(['utf8', 'latin1'])),
};

/** The walks of an image. */
export abstract class ImageWalks {
  readonly #contents: ImageContents;
  readonly #uses: Uses;

  /** @internal */
  constructor(contents: ImageContents, uses: Uses) {
    this.#contents = contents;
    this.#uses = uses;
  }

  /**
   * The mappings of an mm, by ascending address: all of them, or those that a filter chooses. They
   * stay valid after `close`. OPTION_INVALID if there is no such mm.
   */
  vmas(filter: MappingFilter = {}): readonly ImageVma[] {
    const checked = optionsOf('filter', filter, MAPPING_FILTER);
    return chosenVmas(this.#mm(checked.mm).vmas, checked);
  }

  /**
   * The runs of an mm by ascending address, from the records alone: neighbouring pages of one mapping
   * and one kind. Without `kind` and `class` they are those of pages that have a record, and absent
   * pages are left out. Each run is an object of its own. A walk that goes on after `close` throws
   * IMAGE_CLOSED. OPTION_INVALID at once for a wrong filter, or if there is no such mm.
   */
  runs(filter: PageFilter = {}): AsyncGenerator<ImageRun, void, undefined> {
    const checked = optionsOf('filter', filter, PAGE_FILTER);
    return this.#whileOpen(this.#runs(this.#mm(checked.mm), checked));
  }

  /**
   * The pages of an mm by ascending address, as `page` tells them, and with the option `bytes` as
   * `read` shows them. It walks as `runs` does, and keeps no list. With `bytes` it can also reject as
   * `read` does, but not with PAGE_ABSENT: such pages have no bytes.
   */
  pages(options: PagesOptions = {}): AsyncGenerator<ImagePage, void, undefined> {
    const checked = optionsOf('options', options, PAGES_OPTIONS);
    return this.#pages(this.#mm(checked.mm), checked);
  }

  /**
   * The bytes of a range in the order of addresses, as a Readable of node:stream with back pressure:
   * it reads ahead by one chunk of at most 256 KiB. Chunks are the reader's own. The range need not
   * begin or end at a page. The stream fails as `read` rejects, and with AbortError; OPTION_INVALID
   * is thrown at once. Destroy a stream that is not read to its end.
   */
  stream(range: AddressRange, options: ByteStreamOptions = {}): Readable {
    const wanted = BYTE_RANGE('range', range);
    const { mm, holes = 'refuse', signal } = optionsOf('options', options, STREAM_OPTIONS);
    this.#mm(mm);
    throwIfAborted(signal);
    const use = <T>(job: (contents: ImageContents) => Promise<T>): Promise<T> =>
      this.#uses.during(() => job(this.#contents));
    const bytes = bytesIn(use, mm, wanted, holes, signal);
    return Readable.from(bytes, { objectMode: false, highWaterMark: CHUNK_BYTES, signal });
  }

  /**
   * The C string at an address: its bytes up to the NUL byte, across pages, as text. It reads no page
   * behind that byte. It rejects with SIZE_LIMIT if no NUL byte is among the first `most` + 1 bytes,
   * with PAGE_ABSENT if the string runs into bytes that the image does not know, and as `read` does.
   */
  async cString(address: number, options: CStringOptions = {}): Promise<string> {
    ADDRESS('address', address);
    const checked = optionsOf('options', options, STRING_OPTIONS);
    const { most = STRING_MOST, encoding = 'utf8' } = checked;
    const mm = this.#mm(checked.mm);
    return await this.#uses.during(() => readCString(this.#contents, mm, address, most, encoding));
  }

  #mm(ordinal: number | undefined): ImageMm {
    this.#uses.assertOpen();
    return this.#contents.mm(ordinal);
  }

  #runs(mm: ImageMm, filter: PageFilter): AsyncGenerator<ImageRun, void, undefined> {
    const kinds = kindsOf(filter) ?? RECORDED;
    const yielder = new Yielder(undefined);
    return runsIn(mm, chosenVmas(mm.vmas, filter), filter.range, kinds, yielder);
  }

  async *#pages(mm: ImageMm, options: PagesOptions): AsyncGenerator<ImagePage, void, undefined> {
    const yielder = new Yielder(undefined);
    for await (const { address, pages, kind, vma } of this.#runs(mm, options)) {
      let block: Block | undefined;
      let chunk: Uint8Array | undefined;
      let chunkAt = 0;
      for (let vpn = vpnOf(address); vpn < vpnOf(address) + pages; vpn++) {
        if (yielder.isDue()) await yielder.yield();
        const at = addressOf(vpn);
        if (options.bytes === true && (chunk === undefined || at >= chunkAt + chunk.length)) {
          chunkAt = at;
          chunk = await this.#chunk(mm, at, address + addressOf(pages) - at);
        }
        const bytes =
          chunk === undefined || chunk.length === 0
            ? null
            : chunk.subarray(at - chunkAt, at - chunkAt + PAGE_SIZE);
        if (kind !== 'absent' && (block === undefined || vpn >= block.start + block.pages)) {
          block = mm.blocks.find(vpn);
        }
        const offset = block === undefined ? null : offsetIn(block, vpn);
        this.#uses.assertOpen();
        yield { mm: mm.ordinal, address: at, kind, vma, offset, bytes };
      }
    }
  }

  /** The bytes of the pages from `address` on, as many as are known; empty if the first is not. */
  #chunk(mm: ImageMm, address: number, most: number): Promise<Uint8Array> {
    return this.#uses.during(async () => {
      await this.#contents.openChain();
      const limit = Math.min(most, CHUNK_BYTES - (address % CHUNK_BYTES));
      const chunk = new Uint8Array(knownPages(this.#contents, mm, address, limit));
      if (chunk.length > 0) await this.#contents.read(mm, address, chunk);
      return chunk;
    });
  }

  /** Gives what `walk` gives, as long as the image is open. */
  async *#whileOpen<T>(
    walk: AsyncGenerator<T, void, undefined>,
  ): AsyncGenerator<T, void, undefined> {
    for await (const each of walk) {
      this.#uses.assertOpen();
      yield each;
    }
  }
}
