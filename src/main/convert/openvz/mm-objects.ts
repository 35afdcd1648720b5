/** The MM objects of an OpenVZ file that is made of an image. */
import { MM_ADDRESSES } from '../../../shared/formats/openvz/decode-mm.ts';
import {
  CONTENT,
  encodeAuxv,
  encodeBits,
  encodeCopyPages,
  encodeMm,
  encodePages,
  encodeVma,
  REFERENCE,
  VMA_TYPE,
} from '../../../shared/formats/openvz/records.ts';
import { addressOf, PAGE_SIZE } from '../../../shared/page.ts';
import { BLOCK, type Block } from '../../image/index/block-index.ts';
import { isOfFile, isUnreachable } from '../../image/index/file-pages.ts';
import { findVma, type ImageMm, type ImageVma } from '../../image/index/image-mm.ts';
import type { ImageContents } from '../../image/read/image-contents.ts';
import type { FileObjects } from './file-objects.ts';
import { node, refer, type TreeNode } from './object-tree.ts';

/** Makes the objects of the mms of an image, one after the other in the order of the image. */
export class MmObjects {
  readonly #image: ImageContents;
  readonly #files: FileObjects;
  readonly #done = new Map<ImageMm, TreeNode>();

  constructor(image: ImageContents, files: FileObjects) {
    this.#image = image;
    this.#files = files;
  }

  /** Tells the files what the mappings show of them. This comes before `mm`. */
  collectFiles(mm: ImageMm): void {
    for (const vma of mm.vmas) {
      if (vma.file === null) continue;
      this.#files.add(vma.file);
      for (const block of blocksOf(mm, vma)) {
        if (block.kind !== BLOCK.CLONE && isInInode(vma, block)) {
          this.#files.addPages(mm, vma, block);
        }
      }
    }
  }

  /** The object of an mm. `auxv` has no end; `ldt` may be empty. */
  mm(mm: ImageMm, auxv: Uint8Array, ldt: Uint8Array): TreeNode {
    const { def_flags, flags, ...addresses } = mm.fields;
    const vdso = mm.vmas.find(({ isVdso }) => isVdso)?.start ?? 0;
    const values = MM_ADDRESSES.map((name) => addresses[name]);
    const made = node(encodeMm([...values, def_flags], flags, vdso));
    this.#done.set(mm, made);
    for (const vma of mm.vmas) made.children.push(this.#vma(mm, vma));
    made.children.push(node(encodeAuxv(auxv)));
    if (ldt.length > 0) made.children.push(node(encodeBits(CONTENT.MM_CONTEXT, ldt)));
    return made;
  }

  #vma(mm: ImageMm, vma: ImageVma): TreeNode {
    const type = vma.isVdso ? VMA_TYPE.VDSO : VMA_TYPE.ORDINARY;
    const made = node(encodeVma({ ...vma, type }));
    refer(made, REFERENCE.VMA_FILE, this.#files.object(vma.file));
    for (const block of blocksOf(mm, vma)) {
      if (block.kind === BLOCK.GUARD || isInInode(vma, block)) continue;
      const start = addressOf(block.start);
      const end = addressOf(block.start + block.pages);
      const donor = block.kind === BLOCK.CLONE ? this.#donor(vma, block) : undefined;
      if (donor === undefined) addPages(made, mm.ordinal, start, end);
      else {
        const copy = node(encodeCopyPages(start, end));
        refer(copy, REFERENCE.COPYPAGES_SOURCE, donor);
        made.children.push(copy);
      }
    }
    return made;
  }

  /** The mm that has all pages of a clone as data at the same addresses, or undefined. */
  #donor(vma: ImageVma, clone: Block): TreeNode | undefined {
    const mm = this.#image.mmAt(clone.source);
    const object = mm && this.#done.get(mm);
    if (mm === undefined || object === undefined || vma.anonvmaid === 0) return undefined;
    const end = clone.start + clone.pages;
    for (let vpn = clone.start; vpn < end; ) {
      const block = mm.blocks.find(vpn);
      const given = findVma(mm.vmas, addressOf(vpn));
      if (block === undefined || given?.anonvmaid !== vma.anonvmaid) return undefined;
      if (block.kind === BLOCK.CLONE || block.kind === BLOCK.GUARD) return undefined;
      if (isInInode(given, block)) return undefined;
      vpn = block.start + block.pages;
    }
    return object;
  }
}

/** Adds pages with their bytes. They join the block before them, which makes files shorter. */
function addPages(vma: TreeNode, mm: number, start: number, end: number): void {
  const last = vma.children.at(-1)?.pages;
  const joins = last !== undefined && last.address + last.pages * PAGE_SIZE === start;
  const from = joins ? last.address : start;
  if (joins) vma.children.pop();
  const pages = { mm, address: from, pages: (end - from) / PAGE_SIZE };
  vma.children.push(node(encodePages(from, end), [], pages));
}

function* blocksOf({ blocks }: ImageMm, vma: ImageVma): Generator<Block, void> {
  for (let index = vma.firstBlock; index < vma.lastBlock; index++) yield blocks.at(index);
}

/** Whether the pages of the block belong to a file that only this file has. */
function isInInode(vma: ImageVma, block: Block): boolean {
  return vma.file !== null && isUnreachable(vma.file) && isOfFile(vma, block);
}
