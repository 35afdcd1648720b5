/** What an image holds of an mm, as its reader sees it. */
import type { MmAddresses } from '../../../mmu/mm/mm-struct.ts';
import type { BlockIndex } from './block-index.ts';

/** A file that mappings of an image show. */
export interface ImageFile {
  /** Equal wherever the same file is mapped. */
  readonly id: number;
  /** As d_path gives it: a deleted file's ends in ' (deleted)'. */
  readonly path: string;
  /** The same, raw bytes. */
  readonly rawPath: Uint8Array;
  /** Bytes that it had when it was dumped. */
  readonly size: number;
  /** No name led to it any more. */
  readonly isDeleted: boolean;
  /** Its content lay in memory alone (memfd, tmpfs, shared anonymous memory). */
  readonly isMemoryBacked: boolean;
  /** Memory-backed, and whoever made the image could not see all of it: absent pages are unknown. */
  readonly isIncomplete: boolean;
}

/** Pages of a VMA that the image holds, and guard pages, which have no content. */
export interface StoredPages {
  /** Pages whose bytes the image has here. */
  copy: number;
  /** Pages of zeros. */
  zero: number;
  /** Pages whose bytes an earlier address space has. */
  clone: number;
  /** Guard pages. */
  guard: number;
}

/** A mapping in an image. */
export interface ImageVma {
  /** Byte of the image at which its record begins. */
  readonly offset: number;
  /** Address of its first byte. */
  readonly start: number;
  /** First address after it. */
  readonly end: number;
  /** VM_* bits (linux/mm.h). */
  readonly flags: number;
  /** vm_page_prot, low and high word. */
  readonly pgprotLow: number;
  /** vm_page_prot, bits 32 to 63. */
  readonly pgprotHigh: number;
  /** Page of the file, or of the anonymous space, at its start. */
  readonly pgoff: number;
  /** Whether it is the code that the kernel maps into every process. */
  readonly isVdso: boolean;
  /** Equal for mappings of the image that share an anon_vma; 0 where there is none. */
  readonly anonvmaid: number;
  /** The file that it maps; null for anonymous memory. */
  readonly file: ImageFile | null;
  /** How many of its pages the image stores, by kind. */
  readonly pages: Readonly<StoredPages>;
  /** @internal Its blocks in the mm's index: [firstBlock, lastBlock). */
  readonly firstBlock: number;
  /** @internal */
  readonly lastBlock: number;
}

/** A payload that is read when somebody asks for it. */
export interface Payload {
  /** Byte of the image. */
  readonly offset: number;
  /** Its length. */
  readonly bytes: number;
  /** crc32 of its bytes. */
  readonly crc: number;
}

/** An address space in an image. */
export interface ImageMm {
  /** Its place in the image, from 0. */
  readonly ordinal: number;
  /** Byte of the image at which its record begins. */
  readonly offset: number;
  /** start_code to env_end, brk, def_flags and flags, as the kernel names them. */
  readonly fields: MmAddresses;
  /** Its mappings, ascending. */
  readonly vmas: readonly ImageVma[];
  /** @internal */
  readonly blocks: BlockIndex;
  /** Where its auxiliary vector lies; null where it has none. */
  readonly auxv: Payload | null;
  /** Where its ELF notes lie; null where it has none. */
  readonly notes: Payload | null;
  /** Where its LDT lies; null where it has none. */
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
