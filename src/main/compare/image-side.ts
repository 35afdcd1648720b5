/** One of two images that are compared: what it says about pages, and where it holds them. */
import { assert } from '../../shared/assert.ts';
import { DIGEST } from '../../shared/digest/digest-kind.ts';
import { type PairPlace, ZEROS } from '../../shared/dump/page-pairs.ts';
import { PAGE_SIZE, vpnOf } from '../../shared/page.ts';
import { BLOCK, type Block } from '../image/index/block-index.ts';
import type { ImageMm } from '../image/index/image-mm.ts';
import type { PageState } from '../image/pages/page-info.ts';
import type { ImageContents } from '../image/read/image-contents.ts';
import type { ByteSource } from '../image/source/byte-source.ts';

/** Neighbouring pages about which an image says the same. */
export interface Piece {
  readonly state: PageState;
  readonly pages: number;
  /** Whether the bytes are zeros, lie at `place`, or are not known. */
  readonly content: 'zeros' | 'stored' | 'unknown';
  /** Where they lie, if they are stored. */
  readonly at: PairPlace;
  /** The block that holds them, if they are the whole of it; otherwise null. */
  readonly block: Block | null;
  /** Id of the image that stores them; null if the id does not tell the bytes. */
  readonly image: string | null;
  /** Byte of that image at which they begin; if they are compressed, at which their block does. */
  readonly offset: number;
}

/** The place of pages that are zeros. */
export const ZERO_PLACE: PairPlace = { place: ZEROS, packed: 0, whole: 0, skip: 0 };

const STATES = {
  [BLOCK.DATA]: 'copy',
  [BLOCK.ZERO]: 'zero',
  [BLOCK.CLONE]: 'clone',
  [BLOCK.GUARD]: 'guard',
  [BLOCK.PARENT]: 'copy',
} as const;

export class ImageSide {
  readonly contents: ImageContents;
  /** The ids of the images of the chain that have checksums, by the source of each. */
  readonly #ids = new Map<ByteSource, string>();

  /** Precondition: all ancestors are open. */
  constructor(contents: ImageContents, id: string) {
    this.contents = contents;
    const { source, head, chain } = contents;
    // Without checksums images of different pages can have one id.
    if (head.digest !== 'none') this.#ids.set(source, id);
    for (const [ordinal, ancestor] of chain.ancestors.entries()) {
      if (ancestor.head.digest === 'none') continue;
      this.#ids.set(chain.get(ordinal)!.source, ancestor.id);
    }
  }

  /** The first of `pages` pages of a mapping from `address` on, as many as have the same answer. */
  look(mm: ImageMm, address: number, pages: number): Piece {
    const vpn = vpnOf(address);
    const { blocks } = mm;
    const index = blocks.firstFrom(vpn);
    const next = index < blocks.count ? blocks.at(index) : undefined;
    const state = next !== undefined && next.start <= vpn ? STATES[next.kind] : 'absent';
    const found = this.contents.look(mm, address, pages * PAGE_SIZE);
    const count = found.bytes / PAGE_SIZE;
    const none = {
      state,
      pages: count,
      at: ZERO_PLACE,
      block: null,
      image: null,
      offset: 0,
    } as const;
    if (found.kind === 'absent') return { ...none, content: 'unknown' };
    if (found.kind === 'zeros') return { ...none, content: 'zeros' };
    assert(found.kind === 'stored', 'all ancestors are open');
    const { source, base, from, block } = found;
    const { packed } = block;
    const offset = packed === 0 ? block.source + from : block.source;
    const whole = packed === 0 ? 0 : block.pages * PAGE_SIZE;
    return {
      state,
      pages: count,
      content: 'stored',
      at: { place: base + offset, packed, whole, skip: packed === 0 ? 0 : from },
      block: from === 0 && count === block.pages ? block : null,
      image: this.#ids.get(source) ?? null,
      offset,
    };
  }
}

/** Whether the first pages of two pieces hold the same bytes, as far as the records tell. */
export function isTold(a: Piece, b: Piece): boolean {
  if (a.image !== null && a.image === b.image && a.offset === b.offset) {
    if (a.at.skip === b.at.skip) return true;
  }
  if (a.pages !== b.pages) return false;
  const left = a.block;
  const right = b.block;
  if (left === null || right === null || left.digest !== DIGEST.XXH3) return false;
  return right.digest === DIGEST.XXH3 && left.low === right.low && left.high === right.high;
}
