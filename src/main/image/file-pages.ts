/**
 * Where an image holds the pages of memory-backed and deleted files: each is stored once, in the
 * mapping that owns it, and read from there through every other mapping of the file.
 */
import { addressOf, vpnOf } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { Block } from './block-index.ts';
import type { ImageMm, ImageVma } from './image-mm.ts';

interface FileMapping {
  readonly mm: ImageMm;
  readonly vma: ImageVma;
}

export class FilePages {
  readonly #mappings = new Map<number, FileMapping[]>();

  constructor(mms: readonly ImageMm[]) {
    for (const mm of mms) {
      for (const vma of mm.vmas) {
        if (vma.file === null || !(vma.file.isMemoryBacked || vma.file.isDeleted)) continue;
        const known = this.#mappings.get(vma.file.id);
        if (known === undefined) this.#mappings.set(vma.file.id, [{ mm, vma }]);
        else known.push({ mm, vma });
      }
    }
  }

  /** The block, and the page in it, that stores page `index` of a file. */
  find(file: number, index: number): { readonly block: Block; readonly vpn: number } | undefined {
    for (const { mm, vma } of this.#mappings.get(file) ?? []) {
      const address = vma.start + addressOf(index - vma.pgoff);
      if (address < vma.start || address >= vma.end) continue;
      const vpn = vpnOf(address);
      const block = mm.blocks.find(vpn);
      if (block !== undefined && isOfFile(vma, block)) return { block, vpn };
    }
    return undefined;
  }
}

/** Whether a block of a mapping of a lost file holds the file's pages, not the mm's own. */
export function isOfFile(vma: ImageVma, block: Block): boolean {
  return (vma.flags & VM.MAYSHARE) !== 0 || block.isFilePages;
}
