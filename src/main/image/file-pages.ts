/**
 * Where an image holds the pages of memory-backed and deleted files: each is stored once, in the
 * mapping that owns it, and read from there through every other mapping of the file.
 */
import { addressOf, PAGE_SIZE, vpnOf } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { BLOCK, type Block } from './block-index.ts';
import type { ImageMm, ImageVma } from './image-mm.ts';

/** Pages [from, to) of a file, as one mapping covers them. */
interface Cover {
  readonly mm: ImageMm;
  readonly vma: ImageVma;
  readonly from: number;
  readonly to: number;
  /** No cover up to this one, in order, ends later. */
  lastTo: number;
}

export class FilePages {
  /** Covers by file, ascending by FROM. */
  readonly #covers = new Map<number, Cover[]>();

  constructor(mms: readonly ImageMm[]) {
    for (const mm of mms) {
      for (const vma of mm.vmas) {
        if (vma.file === null || !(vma.file.isMemoryBacked || vma.file.isDeleted)) continue;
        const to = vma.pgoff + (vma.end - vma.start) / PAGE_SIZE;
        const cover = { mm, vma, from: vma.pgoff, to, lastTo: to };
        const known = this.#covers.get(vma.file.id);
        if (known === undefined) this.#covers.set(vma.file.id, [cover]);
        else known.push(cover);
      }
    }
    for (const covers of this.#covers.values()) sortCovers(covers);
  }

  /** The block, and the page in it, that stores page `index` of a file. */
  find(file: number, index: number): { readonly block: Block; readonly vpn: number } | undefined {
    const covers = this.#covers.get(file) ?? [];
    for (let at = countUpTo(covers, index) - 1; at >= 0; at--) {
      const { mm, vma, from, to, lastTo } = covers[at]!;
      if (lastTo <= index) return undefined;
      if (to <= index) continue;
      const vpn = vpnOf(vma.start + addressOf(index - from));
      const block = mm.blocks.find(vpn);
      if (block !== undefined && isOfFile(vma, block)) return { block, vpn };
    }
    return undefined;
  }
}

function sortCovers(covers: Cover[]): void {
  covers.sort((a, b) => a.from - b.from);
  let lastTo = 0;
  for (const cover of covers) {
    lastTo = Math.max(lastTo, cover.to);
    cover.lastTo = lastTo;
  }
}

/** How many covers begin at or before `index`. */
function countUpTo(covers: readonly Cover[], index: number): number {
  let low = 0;
  let high = covers.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (covers[middle]!.from > index) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Whether a block of a mapping of a lost file holds the file's pages, not the mm's own. */
export function isOfFile(vma: ImageVma, block: Block): boolean {
  if (block.kind === BLOCK.GUARD) return false; // this mm may not look at the page, others may
  return (vma.flags & VM.MAYSHARE) !== 0 || block.isFilePages;
}
