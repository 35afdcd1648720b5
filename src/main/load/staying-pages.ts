/**
 * The pages of a restore on demand that need no frame: those that stay in the image and in its
 * ancestors until they are touched, zero pages, and guard pages.
 *
 * A row of the table (`mmu/backing/image-table.ts`) is a whole block of the image that stores it,
 * since a digest covers a block. An image with a parent shows any part of the blocks of an ancestor,
 * and each of these blocks gets one row.
 */
import { ImageTableWriter, type TableSource } from '../../mmu/backing/image-table.ts';
import { LOAD, LoadList, type LoadRun } from '../../shared/dump/load-table.ts';
import { imageOfChain, type SourceReach } from '../../shared/dump/tasks/source-reach.ts';
import { granuleStart } from '../../shared/page.ts';
import { assertZstd } from '../../shared/zstd.ts';
import { BLOCK, type Block } from '../image/index/block-index.ts';
import type { ImageMm } from '../image/index/image-mm.ts';
import type { ImageContents, StoredPart } from '../image/read/image-contents.ts';
import { digestKernelBytes } from '../package/kernels.ts';

/** The image and its ancestors, as their bytes are numbered in a chain. */
interface ChainImages {
  readonly images: readonly SourceReach[];
  readonly starts: readonly number[];
}

export class StayingPages {
  /** Runs in the order of the image. The SOURCE of a BACKED one is the place of its first page. */
  readonly entries: LoadList = new LoadList();
  readonly #writer = new ImageTableWriter();
  readonly #image: ImageContents;
  #chain: ChainImages | undefined;
  /** Granule that was listed last, and its mm. Blocks lie in one granule. */
  #granule = -1;
  #mm = -1;
  /** Places of the ancestors' blocks that this granule shows, by the byte at which they begin. */
  readonly #places = new Map<number, number>();
  #pages = 0;

  /** Precondition of all methods: the ancestors of the image are open. */
  constructor(image: ImageContents) {
    this.#image = image;
  }

  /** How many pages stay in the image and its ancestors. */
  get pages(): number {
    return this.#pages;
  }

  /**
   * Takes the run of a block if it needs no frame, and tells whether it has. Pages of files, of the
   * vdso and of devices need one, since no entry can name them. ZSTD_MISSING if pages are compressed
   * that this Node could not load later.
   */
  take(mm: ImageMm, block: Block, run: LoadRun, hasZeroPage: boolean): boolean {
    if (run.kind === LOAD.ANON) return this.#takeBacked(mm, block, run);
    if (run.kind !== LOAD.GUARD && !(run.kind === LOAD.ZERO_PAGE && hasZeroPage)) return false;
    this.entries.add(run);
    return true;
  }

  /** The table of the blocks that hold the pages. */
  table(): Uint8Array {
    const kernel = this.#writer.hasXxh3 ? digestKernelBytes() : new Uint8Array();
    return this.#writer.finish(this.#images().images.map(sourceOf), kernel);
  }

  #takeBacked(mm: ImageMm, block: Block, run: LoadRun): boolean {
    if (block.kind === BLOCK.PARENT) return this.#takeFromAncestors(mm, block, run);
    const { source: offset, packed } = block;
    if (packed > 0) assertZstd(this.#image.source.name);
    const place = this.#writer.add({ ...run, source: 0, offset, packed });
    this.#enter(run, place);
    return true;
  }

  /** Takes none of the pages if other threads of the machine cannot reach all of them. */
  #takeFromAncestors(mm: ImageMm, { start, pages }: Block, run: LoadRun): boolean {
    const parts = [...this.#image.stored(mm, start, pages)];
    const { images, starts } = this.#images();
    const isReached = ({ payload }: StoredPart): boolean => {
      return images[imageOfChain(starts, payload)]!.kind !== 'memory';
    };
    if (!parts.every(isReached)) return false;
    const granule = granuleStart(start);
    if (granule !== this.#granule || mm.ordinal !== this.#mm) this.#places.clear();
    this.#granule = granule;
    this.#mm = mm.ordinal;
    for (const part of parts) {
      const place = this.#placeOf(mm, part) + (part.start - part.block.start);
      this.#enter({ ...run, start: part.start, pages: part.pages }, place);
    }
    return true;
  }

  /** Place of the first page of the block that has the pages. Adds its row if it has none. */
  #placeOf(mm: ImageMm, { payload, block }: StoredPart): number {
    const known = this.#places.get(payload);
    if (known !== undefined) return known;
    if (block.packed > 0) assertZstd(`an ancestor of ${this.#image.source.name}`);
    const { starts } = this.#images();
    const image = imageOfChain(starts, payload);
    const offset = payload - starts[image]!;
    const place = this.#writer.add({ ...block, mm: mm.ordinal, source: image, offset });
    this.#places.set(payload, place);
    return place;
  }

  #enter(run: LoadRun, place: number): void {
    this.entries.add({ ...run, kind: LOAD.BACKED, source: place });
    this.#pages += run.pages;
  }

  #images(): ChainImages {
    if (this.#chain !== undefined) return this.#chain;
    const { reach } = this.#image;
    this.#chain = reach.kind === 'chain' ? reach : { images: [reach], starts: [0] };
    return this.#chain;
  }
}

function sourceOf(reach: SourceReach): TableSource {
  const { name } = reach;
  if (reach.kind === 'parts') return { name, fds: reach.fds, partBytes: reach.partBytes };
  return { name, fds: reach.kind === 'file' ? [reach.fd] : [], partBytes: 0 };
}
