/** Walks the pages of an mm in runs, from the records alone. It keeps one run in memory. */
import type { AddressRange } from '../../../mmu/machine/prefetch.ts';
import { addressOf, PAGE_SIZE, pageAlignUp, vpnOf } from '../../../shared/page.ts';
import type { Yielder } from '../../job/stop.ts';
import type { ImageMm, ImageVma } from '../index/image-mm.ts';
import { kindOf, type PageKind } from './page-info.ts';

/** Neighbouring pages of one mapping and one kind, as many as there are. */
export interface ImageRun {
  /** Ordinal of the mm. */
  readonly mm: number;
  /** Address of the first page. */
  readonly address: number;
  /** Number of pages. */
  readonly pages: number;
  /** The kind of the pages, as `PageInfo` explains it. */
  readonly kind: PageKind;
  /** The mapping. */
  readonly vma: ImageVma;
}

/**
 * The runs of these mappings of an mm whose kind is one of `kinds`, by ascending address. Runs that
 * reach out of the range, which is in bytes, are cut at the pages where it begins and ends.
 */
export async function* runsIn(
  mm: ImageMm,
  vmas: readonly ImageVma[],
  range: AddressRange | undefined,
  kinds: ReadonlySet<PageKind>,
  yielder: Yielder,
): AsyncGenerator<ImageRun, void, undefined> {
  const first = range === undefined ? 0 : vpnOf(range.address);
  const end =
    range === undefined
      ? Number.POSITIVE_INFINITY
      : pageAlignUp(range.address + range.length) / PAGE_SIZE;
  for (const vma of vmas) {
    const from = Math.max(first, vpnOf(vma.start));
    const to = Math.min(end, vpnOf(vma.end));
    for (let at = from; at < to; ) {
      if (yielder.isDue()) await yielder.yield();
      const { kind, pages } = firstPart(mm, at, to);
      let next = at + pages;
      while (next < to) {
        if (yielder.isDue()) await yielder.yield();
        const part = firstPart(mm, next, to);
        if (part.kind !== kind) break;
        next += part.pages;
      }
      if (kinds.has(kind)) {
        yield { mm: mm.ordinal, address: addressOf(at), pages: next - at, kind, vma };
      }
      at = next;
    }
  }
}

/** The pages from page `from` on that lie in one block, or before the next one. */
function firstPart(
  { blocks }: ImageMm,
  from: number,
  to: number,
): { readonly kind: PageKind; readonly pages: number } {
  const index = blocks.firstFrom(from);
  const block = index < blocks.count ? blocks.at(index) : undefined;
  if (block === undefined) return { kind: 'absent', pages: to - from };
  if (block.start > from) return { kind: 'absent', pages: Math.min(to, block.start) - from };
  return { kind: kindOf(block), pages: Math.min(to, block.start + block.pages) - from };
}
