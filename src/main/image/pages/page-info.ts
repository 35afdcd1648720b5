/** What the records of an image say about one page. */
import { optional, wholeNumber } from '../../../shared/arguments/checks.ts';
import type { Shape } from '../../../shared/arguments/options.ts';
import { addressOf } from '../../../shared/page.ts';
import { BLOCK, type Block, type BlockKind } from '../index/block-index.ts';
import type { ImageMm, ImageVma } from '../index/image-mm.ts';

/** The records of an image about one page. */
export interface PageInfo {
  /**
   * - 'copy': the image stores the bytes of the page.
   * - 'zero': the page is zeros.
   * - 'clone': an earlier mm stores the bytes of the page.
   * - 'guard': a guard page.
   * - 'parent': the parent image shows the page at the same place.
   * - 'absent': this mapping does not store the page; `read` may find a page of a file elsewhere.
   * - 'unmapped': there is no mapping.
   */
  readonly kind: PageKind | 'unmapped';
  /** The mapping of the page; null if there is none. */
  readonly vma: ImageVma | null;
  /** Byte of the image at which the page begins; null if it has none, or is compressed. */
  readonly offset: number | null;
}

/** The kind of a page of a mapping, as `PageInfo` explains it. */
export type PageKind = 'copy' | 'zero' | 'clone' | 'guard' | 'parent' | 'absent';

/**
 * What an image says about a page: 'copy', 'zero', 'clone', 'guard' and 'absent' as in `PageInfo`. A
 * page that lies in the parent is a 'copy', since it does not matter which image stores it.
 */
export type PageState = 'copy' | 'zero' | 'clone' | 'guard' | 'absent';

/** Chooses an address space of an image. */
export interface MmChoice {
  /** Ordinal of the mm, from 0. Default 0. */
  readonly mm?: number | undefined;
}

export const MM_CHOICE: Shape<MmChoice> = { mm: optional(wholeNumber(0)) };

const KINDS: { readonly [kind in BlockKind]: PageKind } = {
  [BLOCK.DATA]: 'copy',
  [BLOCK.ZERO]: 'zero',
  [BLOCK.CLONE]: 'clone',
  [BLOCK.GUARD]: 'guard',
  [BLOCK.PARENT]: 'parent',
};

/** The kind of the pages of a block. */
export function kindOf({ kind }: Block): PageKind {
  return KINDS[kind];
}

/** What the records say about page `vpn`, which lies in `vma`. */
export function pageIn(mm: ImageMm, vma: ImageVma, vpn: number): PageInfo {
  const block = mm.blocks.find(vpn);
  if (block === undefined) return { kind: 'absent', vma, offset: null };
  return { kind: kindOf(block), vma, offset: offsetIn(block, vpn) };
}

/** Byte of the image at which page `vpn` of a block begins; null if the block has no plain bytes. */
export function offsetIn(block: Block, vpn: number): number | null {
  if (block.kind !== BLOCK.DATA || block.packed > 0) return null;
  return block.source + addressOf(vpn - block.start);
}
