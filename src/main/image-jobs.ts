/** The jobs of a dumper that verify, compare and search images, and look into address spaces. */
import type { AddressSpace } from '../mmu/machine/address-space.ts';
import { type Check, instanceOf } from '../shared/arguments/checks.ts';
import { optionsOf } from '../shared/arguments/options.ts';
import { diffWith } from './compare/diff.ts';
import { DIFF_OPTIONS, type DiffOptions, type ImageDiff } from './compare/diff-report.ts';
import { diffSpaces } from './compare/diff-spaces.ts';
import type { Engine } from './dump/engine.ts';
import { Image } from './image/image.ts';
import { imageSource } from './image/source/open-source.ts';
import {
  VERIFY_OPTIONS,
  type Verification,
  type VerifyOptions,
  verifyWith,
} from './image/verify/verify.ts';
import { addressSpaces } from './job/handle-arguments.ts';
import { JobQueue } from './job/job-queue.ts';
import { wanted } from './search/pattern.ts';
import {
  SEARCH_OPTIONS,
  type SearchOptions,
  type SearchResult,
  SPACE_SEARCH_OPTIONS,
  type SpaceSearchOptions,
  searchOptions,
  searchWith,
} from './search/search.ts';
import { searchSpacesWith } from './search/search-spaces.ts';
import type { MemoryImage } from './sinks/memory-sink.ts';

export const IMAGE: Check<Image> = instanceOf(Image, 'an Image');

/** What a dumper does with images. `Dumper` inherits it. */
export abstract class ImageJobs {
  /** @internal */
  protected readonly engine: Engine;
  /** @internal */
  protected readonly queue: JobQueue;

  /** @internal */
  constructor(engine: Engine) {
    this.engine = engine;
    this.queue = new JobQueue(() => engine.pool.nextJob());
  }

  /**
   * Verifies structure, order, bounds and checksums of an image (docs/IMAGE_FORMAT.md). Problems of
   * the image are listed, not thrown. It rejects with INPUT_FAILED where the image cannot be read
   * at all, IMAGE_TOO_LARGE beyond `maxIndexBytes`, WORKER_LOST, and as every job with
   * OPTION_INVALID, AbortError, TIMEOUT and DUMPER_CLOSED.
   */
  async verify(from: string | MemoryImage, options: VerifyOptions = {}): Promise<Verification> {
    const source = imageSource('from', from);
    const checked = optionsOf('verify', options, VERIFY_OPTIONS);
    return this.queue.run(checked, 'verify', ({ signal }) =>
      verifyWith(this.engine.pool, source, { ...checked, signal }),
    );
  }

  /**
   * Compares two images: their mms by ordinal, the mappings by address, and the pages. Blocks whose
   * digests are equal, and pages that both have in one ancestor, are not read; so to find damage is
   * the task of `verify`. Both images stay open until it is done.
   *
   * It rejects with INPUT_FAILED, IMAGE_CLOSED, IMAGE_CORRUPT, IMAGE_CHECKSUM, IMAGE_PARENT_DIFFERS
   * and WORKER_LOST, and as every job with OPTION_INVALID, AbortError, TIMEOUT and DUMPER_CLOSED.
   */
  async diffImages(left: Image, right: Image, options: DiffOptions = {}): Promise<ImageDiff> {
    IMAGE('left', left);
    IMAGE('right', right);
    const checked = optionsOf('diffImages', options, DIFF_OPTIONS);
    return left.use((a) =>
      right.use((b) =>
        this.queue.run(checked, 'diff', ({ signal }) => {
          const images = [
            { contents: a, id: left.id },
            { contents: b, id: right.id },
          ] as const;
          return diffWith(this.engine.pool, ...images, true, { ...checked, signal });
        }),
      ),
    );
  }

  /**
   * Compares an image with address spaces of a machine: what has changed in them since. The image is
   * the left side, and the address spaces in their order are the mms of the right side. They are
   * dumped into memory, without the pages that are the same in the image. Pages that no rule can
   * store are absent on the right side. It rejects as `dump` and `diffImages` do.
   */
  async diff(
    spaces: AddressSpace | readonly AddressSpace[],
    image: Image,
    options: DiffOptions = {},
  ): Promise<ImageDiff> {
    const references = addressSpaces('spaces', spaces).map(({ reference }) => reference);
    IMAGE('image', image);
    const checked = optionsOf('diff', options, DIFF_OPTIONS);
    return image.use((contents) =>
      this.queue.run(checked, 'diff', (deadline) => {
        const left = { contents, id: image.id };
        return diffSpaces(this.engine, references, left, checked, deadline);
      }),
    );
  }

  /**
   * Searches an image for a sequence of bytes, for a text in UTF-8, or for a regular expression over
   * bytes. Matches may cross pages and blocks. Those of bytes may overlap, and at least one byte of
   * each lies in a page that the image or an ancestor stores. Those of an expression follow each
   * other, as with the flag g, begin in such a page, and have at most `maxMatchBytes` bytes.
   * Checksums are not verified.
   *
   * It rejects with INPUT_FAILED, IMAGE_CLOSED, IMAGE_CORRUPT, IMAGE_CHECKSUM, IMAGE_PARENT_DIFFERS
   * and WORKER_LOST, and as every job with OPTION_INVALID, AbortError, TIMEOUT and DUMPER_CLOSED.
   */
  async search(
    image: Image,
    pattern: string | ArrayBufferView | RegExp,
    options: SearchOptions = {},
  ): Promise<SearchResult> {
    const sought = wanted('pattern', pattern);
    const checked = searchOptions('search', options, SEARCH_OPTIONS);
    return IMAGE('image', image).use((contents) =>
      this.queue.run(checked, 'search', ({ signal }) =>
        searchWith(this.engine.pool, contents, sought, { ...checked, signal }),
      ),
    );
  }

  /**
   * Searches address spaces of one machine as `search` does an image, at one instant: the machine is
   * frozen meanwhile, and nothing faults in. It finds what a search of an image of them would find.
   *
   * It rejects with MM_GONE, BANK_UNREACHABLE, PROCESS_GONE, INPUT_FAILED, WORKER_LOST and
   * TOO_MANY_THREADS, and as every job with OPTION_INVALID, AbortError, TIMEOUT, DUMPER_CLOSED,
   * MACHINE_CLOSED and MACHINE_POISONED.
   */
  async searchSpaces(
    spaces: AddressSpace | readonly AddressSpace[],
    pattern: string | ArrayBufferView | RegExp,
    options: SpaceSearchOptions = {},
  ): Promise<SearchResult> {
    const references = addressSpaces('spaces', spaces).map(({ reference }) => reference);
    const sought = wanted('pattern', pattern);
    const checked = searchOptions('searchSpaces', options, SPACE_SEARCH_OPTIONS);
    return this.queue.run(checked, 'search', ({ signal }) =>
      searchSpacesWith(this.engine.pool, references, sought, { ...checked, signal }),
    );
  }
}
