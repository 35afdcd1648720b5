/** What an image holds of an mm, as its reader sees it. */
import type { MmAddresses } from '../../mmu/mm-struct.ts';
import type { BlockIndex } from './block-index.ts';

export interface ImageFile {
  /** Equal wherever the same file is mapped. */
  readonly id: number;
  /** As d_path gives it: a deleted file's ends in ' (deleted)'. */
  readonly path: string;
  /** The same, raw bytes. */
  readonly rawPath: Uint8Array;
  readonly size: number; // bytes
  readonly isDeleted: boolean;
  readonly isMemoryBacked: boolean;
  /** Memory-backed, and whoever made the image could not see all of it: absent pages are unknown. */
  readonly isIncomplete: boolean;
}

/** Pages of a VMA that the image holds, and guard pages, which have no content. */
export interface StoredPages {
  copy: number;
  zero: number;
  clone: number;
  guard: number;
}

export interface ImageVma {
  /** Byte of the image at which its record begins. */
  readonly offset: number;
  readonly start: number; // address
  readonly end: number;
  readonly flags: number; // VM_*
  /** vm_page_prot, low and high word. */
  readonly pgprotLow: number;
  readonly pgprotHigh: number;
  readonly pgoff: number; // pages
  readonly isVdso: boolean;
  readonly anonvmaid: number;
  readonly file: ImageFile | null;
  readonly pages: Readonly<StoredPages>;
  /** Its blocks in the mm's index: [firstBlock, lastBlock). */
  readonly firstBlock: number;
  readonly lastBlock: number;
}

/** A payload that is read when somebody asks for it. */
export interface Payload {
  /** Byte of the image. */
  readonly offset: number;
  readonly bytes: number;
  readonly crc: number;
}

export interface ImageMm {
  readonly ordinal: number;
  /** Byte of the image at which its record begins. */
  readonly offset: number;
  readonly fields: MmAddresses;
  readonly vmas: readonly ImageVma[];
  readonly blocks: BlockIndex;
  readonly auxv: Payload | null;
  readonly notes: Payload | null;
  readonly ldt: Payload | null;
}

/** The mapping that holds `address`, by bisection. */
export function findVma(vmas: readonly ImageVma[], address: number): ImageVma | undefined {
  let low = 0;
  let high = vmas.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (vmas[middle]!.end > address) high = middle;
    else low = middle + 1;
  }
  const vma = vmas[low];
  return vma !== undefined && vma.start <= address ? vma : undefined;
}
