/** The records of an image about an mm, as its reader sees them. */
import type { MmAddresses } from '../../../mmu/mm/mm-struct.ts';
import type { BlockIndex } from './block-index.ts';

/** A file that mappings of an image show. */
export interface ImageFile {
  /** Number of the file, equal wherever the same file is mapped. */
  readonly id: number;
  /** The path as d_path gives it; that of a deleted file ends in ' (deleted)'. */
  readonly path: string;
  /** The bytes of the path. */
  readonly rawPath: Uint8Array;
  /** Length of the file at the time of the dump, in bytes. */
  readonly size: number;
  /** Whether the file had no name any more. */
  readonly isDeleted: boolean;
  /** Whether its content lay in memory alone (memfd, tmpfs, shared anonymous memory). */
  readonly isMemoryBacked: boolean;
  /**
   * Whether the file is memory-backed and not all of it could be seen when the image was made. Its
   * absent pages are then unknown.
   */
  readonly isIncomplete: boolean;
}

/** Numbers of pages of a VMA that have a record in the image, by kind. */
export interface StoredPages {
  /** Pages whose bytes are stored for this VMA. */
  copy: number;
  /** Pages of zeros. */
  zero: number;
  /** Pages whose bytes an earlier mm of the image stores. */
  clone: number;
  /** Guard pages, which have no content. */
  guard: number;
  /** Pages that the parent image shows at the same place. */
  parent: number;
}

/** A mapping in an image. */
export interface ImageVma {
  /** Byte of the image at which the record of the mapping begins. */
  readonly offset: number;
  /** Address of the first byte. */
  readonly start: number;
  /** First address after the mapping. */
  readonly end: number;
  /** VM_* bits (linux/mm.h). */
  readonly flags: number;
  /** vm_page_prot, bits 0 to 31. */
  readonly pgprotLow: number;
  /** vm_page_prot, bits 32 to 63. */
  readonly pgprotHigh: number;
  /** vm_pgoff: page of the file, or of the anonymous space, at `start`. */
  readonly pgoff: number;
  /** Whether it is the vdso, the code that the kernel maps into every process. */
  readonly isVdso: boolean;
  /** Equal for mappings of the image that share an anon_vma; 0 for a mapping without one. */
  readonly anonvmaid: number;
  /** The file that it maps; null for anonymous memory. */
  readonly file: ImageFile | null;
  /** How many of its pages have a record in the image, by kind. */
  readonly pages: Readonly<StoredPages>;
  /** @internal First of its blocks in `ImageMm.blocks`. */
  readonly firstBlock: number;
  /** @internal End of its blocks in `ImageMm.blocks`, exclusive. */
  readonly lastBlock: number;
}

/** A payload that is read only when it is asked for. */
export interface Payload {
  /** Byte of the image at which it begins. */
  readonly offset: number;
  /** Length of the payload, in bytes. */
  readonly bytes: number;
  /** crc32 of the payload. */
  readonly crc: number;
  /** @internal The payload, where it is made of records of another format. */
  readonly content?: Uint8Array;
}

/** An address space in an image. */
export interface ImageMm {
  /** Ordinal of the mm in the image, from 0. */
  readonly ordinal: number;
  /** Byte of the image at which its record begins. */
  readonly offset: number;
  /** start_code to env_end, brk, def_flags and flags, under the names of the kernel. */
  readonly fields: MmAddresses;
  /** The mappings, by ascending address. */
  readonly vmas: readonly ImageVma[];
  /** @internal */
  readonly blocks: BlockIndex;
  /** Place of the auxiliary vector; null if there is none. */
  readonly auxv: Payload | null;
  /** Place of the ELF notes; null if there are none. */
  readonly notes: Payload | null;
  /** Place of the LDT; null if there is none. */
  readonly ldt: Payload | null;
}

/** Finds the mapping that holds `address`, by bisection. Both may be in bytes or in pages. */
export function findVma<V extends { readonly start: number; readonly end: number }>(
  vmas: readonly V[],
  address: number,
): V | undefined {
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
