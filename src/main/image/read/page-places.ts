/**
 * Finds where an image holds the bytes that an mm showed. A range of addresses is divided into
 * stretches. Each lies in one block or in one hole, whatever the records say.
 */
import { MmdumpError } from '../../../shared/errors.ts';
import { addressOf, hex, MiB, PAGE_SIZE, vpnOf } from '../../../shared/page.ts';
import { VM } from '../../../shared/vm-flags.ts';
import { BLOCK, type Block } from '../index/block-index.ts';
import type { FilePages } from '../index/file-pages.ts';
import { findVma, type ImageFile, type ImageMm, type ImageVma } from '../index/image-mm.ts';

/** Bytes that are zeros. */
export interface ZeroStretch {
  readonly kind: 'zeros';
  readonly bytes: number;
}

/** Bytes that lie in the payload of one block. */
export interface StoredStretch {
  readonly kind: 'stored';
  readonly bytes: number;
  /** Byte of the payload at which the stretch begins. */
  readonly from: number;
  /** The mm that stores the block. It need not be the mm whose address was asked for. */
  readonly mm: ImageMm;
  /** The block, of kind DATA. */
  readonly block: Block;
}

export type Stretch = ZeroStretch | StoredStretch;

/** The records from which the places of pages follow. */
export interface ImageRecords {
  /** Name of the image, for messages. */
  readonly name: string;
  readonly mms: readonly ImageMm[];
  readonly filePages: FilePages;
  /** Pages of VM_DONTDUMP mappings were left out. */
  readonly dontDump: boolean;
}

/** Most bytes of zeros per stretch, so that a thread which fills many of them can yield. */
const ZEROS_MAX = MiB;

export class PagePlaces {
  readonly #records: ImageRecords;
  readonly #byOffset: ReadonlyMap<number, ImageMm>;

  constructor(records: ImageRecords) {
    this.#records = records;
    this.#byOffset = new Map(records.mms.map((mm) => [mm.offset, mm]));
  }

  /** The mm whose record begins at this byte of the image. */
  mmAt(offset: number): ImageMm | undefined {
    return this.#byOffset.get(offset);
  }

  /**
   * Divides `bytes` bytes from `address` on into stretches, in order and without a gap. Throws
   * PAGE_ABSENT when it comes to a page that the image does not hold.
   */
  *stretches(mm: ImageMm, address: number, bytes: number): Generator<Stretch> {
    for (let done = 0; done < bytes; ) {
      const stretch = this.stretch(mm, address + done, bytes - done);
      yield stretch;
      done += stretch.bytes;
    }
  }

  /** The first stretch of `most` bytes from `address` on. PAGE_ABSENT if the image lacks it. */
  stretch(mm: ImageMm, address: number, most: number): Stretch {
    const { blocks } = mm;
    const vpn = vpnOf(address);
    const index = blocks.firstFrom(vpn);
    const block = index === blocks.count ? undefined : blocks.at(index);
    if (block === undefined) return this.#hole(mm, address, most);
    if (block.start > vpn) {
      return this.#hole(mm, address, Math.min(most, addressOf(block.start) - address));
    }
    if (block.kind === BLOCK.GUARD) throw this.#absent(mm, address, 'a guard page is there');
    if (block.kind === BLOCK.CLONE) return this.#cloned(mm, block, address, most);
    return inBlock(mm, block, address, most);
  }

  /** A stretch of a clone: the donor stores its bytes, at the same address. */
  #cloned(mm: ImageMm, clone: Block, address: number, most: number): Stretch {
    const donor = this.mmAt(clone.source);
    const block = donor?.blocks.find(vpnOf(address));
    if (donor === undefined || block?.kind !== BLOCK.DATA) {
      throw this.#contradiction(mm, address, `the MM at byte ${clone.source} does not store it`);
    }
    return inBlock(donor, block, address, Math.min(most, endOf(clone) - address));
  }

  /**
   * A stretch without a block: pages of a file or of a device, or pages that were never touched.
   */
  #hole(mm: ImageMm, address: number, most: number): Stretch {
    const vma = findVma(mm.vmas, address);
    if (vma === undefined) throw this.#absent(mm, address, 'no mapping is there');
    if ((vma.flags & (VM.IO | VM.PFNMAP)) !== 0) {
      throw this.#absent(mm, address, 'it is the memory of a device');
    }
    // A private mapping that was left out may have had copies of its own.
    const isShared = (vma.flags & VM.MAYSHARE) !== 0;
    if (this.#isLeftOut(vma) && !isShared) throw this.#absent(mm, address, LEFT_OUT);
    const bytes = Math.min(most, vma.end - address);
    if (vma.file !== null) return this.#fileHole(mm, vma, vma.file, address, bytes);
    this.#assertNotLeftOut(mm, vma, address);
    return zeros(bytes);
  }

  /** A stretch of a file that this mapping does not store. Another mapping may store it. */
  #fileHole(mm: ImageMm, vma: ImageVma, file: ImageFile, address: number, most: number): Stretch {
    const { mms, filePages } = this.#records;
    const index = vma.pgoff + (vpnOf(address) - vpnOf(vma.start));
    const offset = address % PAGE_SIZE;
    const stored = filePages.find(file.id, index);
    if (stored !== undefined) {
      const owner = mms[stored.mm];
      const block = owner?.blocks.find(stored.vpn);
      if (owner === undefined || block === undefined) {
        throw this.#contradiction(mm, address, `mm ${stored.mm} does not store page ${index}`);
      }
      return inBlock(owner, block, addressOf(stored.vpn) + offset, most);
    }
    this.#assertNotLeftOut(mm, vma, address);
    const end = Math.ceil(file.size / PAGE_SIZE);
    if (index >= end) throw this.#absent(mm, address, `it is beyond the end of ${file.path}`);
    if (!file.isMemoryBacked || file.isIncomplete) {
      throw this.#absent(mm, address, `it is page ${index} of ${file.path}`);
    }
    const pages = Math.min(filePages.gap(file.id, index), end - index);
    return zeros(Math.min(most, addressOf(pages) - offset));
  }

  /** PAGE_ABSENT if an absent page of the mapping may have been left out and need not be zeros. */
  #assertNotLeftOut(mm: ImageMm, vma: ImageVma, address: number): void {
    if (this.#isLeftOut(vma)) throw this.#absent(mm, address, LEFT_OUT);
    if ((vma.flags & VM.HUGETLB) !== 0) {
      throw this.#absent(mm, address, 'pages of VM_HUGETLB mappings may have been left out');
    }
  }

  #isLeftOut(vma: ImageVma): boolean {
    return this.#records.dontDump && (vma.flags & VM.DONTDUMP) !== 0;
  }

  #absent(mm: ImageMm, address: number, reason: string): MmdumpError {
    const place = `mm ${mm.ordinal} does not hold the page at ${hex(address)}`;
    const fields = { mm: mm.ordinal, address, reason };
    return new MmdumpError('PAGE_ABSENT', `${this.#records.name}: ${place}: ${reason}`, fields);
  }

  /** An error for records that contradict each other. `openImage` accepts no such image. */
  #contradiction(mm: ImageMm, address: number, reason: string): MmdumpError {
    const place = `mm ${mm.ordinal}, page at ${hex(address)}`;
    const fields = { mm: mm.ordinal, address, reason };
    return new MmdumpError('IMAGE_CORRUPT', `${this.#records.name}: ${place}: ${reason}`, fields);
  }
}

const LEFT_OUT = 'pages of VM_DONTDUMP mappings were left out';

function zeros(most: number): ZeroStretch {
  return { kind: 'zeros', bytes: Math.min(most, ZEROS_MAX) };
}

/**
 * A stretch of a block from `address` on.
 *
 * Preconditions: the block is DATA or ZERO, and `mm` stores it at `address`.
 */
function inBlock(mm: ImageMm, block: Block, address: number, most: number): Stretch {
  const bytes = Math.min(most, endOf(block) - address);
  if (block.kind === BLOCK.ZERO) return zeros(bytes);
  return { kind: 'stored', bytes, from: address - addressOf(block.start), mm, block };
}

function endOf(block: Block): number {
  return addressOf(block.start + block.pages);
}
