/**
 * Finds where an image, or one of its ancestors, holds the bytes that an mm showed. A range of
 * addresses is divided into stretches. Each lies in one block or in one hole, whatever the records
 * say.
 */
import { assert } from '../../../shared/assert.ts';
import { MmdumpError } from '../../../shared/errors.ts';
import { addressOf, hex, MiB, PAGE_SIZE, vpnOf } from '../../../shared/page.ts';
import { printable } from '../../../shared/printable.ts';
import { VM } from '../../../shared/vm-flags.ts';
import type { ImageChain } from '../chain/chain.ts';
import { BLOCK, type Block, hasContent } from '../index/block-index.ts';
import { findVma, type ImageFile, type ImageMm, type ImageVma } from '../index/image-mm.ts';
import type { ByteSource } from '../source/byte-source.ts';
import type { CheckedRecords } from './image-contents.ts';

/** Bytes that are zeros. */
export interface ZeroStretch {
  readonly kind: 'zeros';
  readonly bytes: number;
}

/** Bytes that lie in the payload of one block. */
export interface StoredStretch {
  readonly kind: 'stored';
  readonly bytes: number;
  /** The image that stores the block: the open image, or an ancestor. */
  readonly source: ByteSource;
  /** The number of the first byte of that image, among those of the chain. */
  readonly base: number;
  /** Byte of the payload at which the stretch begins. */
  readonly from: number;
  /** The mm that stores the block. It need not be the mm whose address was asked for. */
  readonly mm: ImageMm;
  /** The block, of kind DATA. */
  readonly block: Block;
}

/** Bytes that an ancestor may store whose records were not read yet. */
export interface UnopenedStretch {
  readonly kind: 'unopened';
  readonly bytes: 0;
  /** Ordinal of the ancestor in the chain. */
  readonly ancestor: number;
}

/** Bytes that the image does not know. */
export interface AbsentStretch {
  readonly kind: 'absent';
  readonly bytes: number;
  /** Why, for messages. */
  readonly reason: string;
}

export type Stretch = ZeroStretch | StoredStretch | UnopenedStretch;

/** Pages of one block that one image of the chain stores. */
export interface StoredPart {
  readonly start: number;
  readonly pages: number;
  /** The number of the first byte of the payload of their block, among those of the chain. */
  readonly payload: number;
  /** The block, of kind DATA. */
  readonly block: Block;
}

/** Most bytes of zeros per stretch, so that a thread which fills many of them can yield. */
const ZEROS_MAX = MiB;

export class PagePlaces {
  readonly #source: ByteSource;
  readonly #records: CheckedRecords;
  readonly #chain: ImageChain;
  readonly #byOffset: ReadonlyMap<number, ImageMm>;

  constructor(source: ByteSource, records: CheckedRecords, chain: ImageChain) {
    this.#source = source;
    this.#records = records;
    this.#chain = chain;
    this.#byOffset = new Map(records.mms.map((mm) => [mm.offset, mm]));
  }

  /** The mm whose record begins at this byte of the image. */
  mmAt(offset: number): ImageMm | undefined {
    return this.#byOffset.get(offset);
  }

  /**
   * Divides `bytes` bytes from `address` on into stretches, in order and without a gap. Whoever is
   * given an unopened stretch opens the ancestor, before it asks for the next one. Throws
   * PAGE_ABSENT when it comes to a page that the image does not hold.
   */
  *stretches(mm: ImageMm, address: number, bytes: number): Generator<Stretch> {
    for (let done = 0; done < bytes; ) {
      const stretch = this.stretch(mm, address + done, bytes - done);
      yield stretch;
      done += stretch.bytes;
    }
  }

  /**
   * Divides `pages` pages from page `start` on, which lie in blocks that the image stores or has in
   * its parent. Throws IMAGE_CORRUPT if the ancestors do not hold them. Precondition: all ancestors
   * are open.
   */
  *stored(mm: ImageMm, start: number, pages: number): Generator<StoredPart> {
    for (let done = 0; done < pages; ) {
      const vpn = start + done;
      const stretch = this.stretch(mm, addressOf(vpn), addressOf(pages - done));
      assert(stretch.kind === 'stored', 'the pages lie in a block, and all ancestors are open');
      const { base, block, bytes } = stretch;
      const count = bytes / PAGE_SIZE;
      yield { start: vpn, pages: count, payload: base + block.source, block };
      done += count;
    }
  }

  /** The first stretch of `most` bytes from `address` on. PAGE_ABSENT if the image lacks it. */
  stretch(mm: ImageMm, address: number, most: number): Stretch {
    const found = this.look(mm, address, most);
    if (found.kind === 'absent') throw this.#absent(mm, address, found.reason);
    if (found.kind === 'zeros' && found.bytes > ZEROS_MAX) return zeros(ZEROS_MAX);
    return found;
  }

  /** The first stretch of `most` bytes from `address` on. Zeros may be as many as are asked for. */
  look(mm: ImageMm, address: number, most: number): Stretch | AbsentStretch {
    const { blocks } = mm;
    const vpn = vpnOf(address);
    const index = blocks.firstFrom(vpn);
    const block = index === blocks.count ? undefined : blocks.at(index);
    if (block === undefined) return this.#hole(mm, address, most);
    if (block.start > vpn) {
      return this.#hole(mm, address, Math.min(most, addressOf(block.start) - address));
    }
    if (block.kind === BLOCK.GUARD) {
      return absent(Math.min(most, endOf(block) - address), 'a guard page is there');
    }
    if (block.kind === BLOCK.CLONE) return this.#cloned(mm, block, address, most);
    return this.#inBlock(mm, block, address, most);
  }

  /** A stretch of a clone: the donor stores its bytes, at the same address. */
  #cloned(mm: ImageMm, clone: Block, address: number, most: number): Stretch {
    const donor = this.mmAt(clone.source);
    const block = donor?.blocks.find(vpnOf(address));
    if (donor === undefined || block === undefined || !hasContent(block)) {
      throw this.#contradiction(mm, address, `the MM at byte ${clone.source} does not store it`);
    }
    return this.#inBlock(donor, block, address, Math.min(most, endOf(clone) - address));
  }

  /**
   * A stretch without a block: pages of a file or of a device, or pages that were never touched.
   */
  #hole(mm: ImageMm, address: number, most: number): Stretch | AbsentStretch {
    const vma = findVma(mm.vmas, address);
    if (vma === undefined) return absent(most, 'no mapping is there');
    const bytes = Math.min(most, vma.end - address);
    if ((vma.flags & (VM.IO | VM.PFNMAP)) !== 0)
      return absent(bytes, 'it is the memory of a device');
    // A private mapping that was left out may have had copies of its own.
    const isShared = (vma.flags & VM.MAYSHARE) !== 0;
    if (this.#isLeftOut(vma) && !isShared) return absent(bytes, LEFT_OUT);
    if (vma.file !== null) return this.#fileHole(mm, vma, vma.file, address, bytes);
    const reason = this.#mayBeLeftOut(vma);
    return reason === null ? zeros(bytes) : absent(bytes, reason);
  }

  /** A stretch of a file that this mapping does not store. Another mapping may store it. */
  #fileHole(
    mm: ImageMm,
    vma: ImageVma,
    file: ImageFile,
    address: number,
    most: number,
  ): Stretch | AbsentStretch {
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
      return this.#inBlock(owner, block, addressOf(stored.vpn) + offset, most);
    }
    const gap = Math.min(most, addressOf(filePages.gap(file.id, index)) - offset);
    const reason = this.#mayBeLeftOut(vma);
    if (reason !== null) return absent(gap, reason);
    const end = Math.ceil(file.size / PAGE_SIZE);
    if (index >= end) return absent(gap, `it is beyond the end of ${printable(file.path)}`);
    const bytes = Math.min(gap, addressOf(end - index) - offset);
    if (!file.isMemoryBacked || file.isIncomplete) {
      return absent(bytes, `it is page ${index} of ${printable(file.path)}`);
    }
    return zeros(bytes);
  }

  /**
   * A stretch of a block from `address` on, which `mm` has at that address: a block of data, of
   * zeros, or of pages in the parent.
   */
  #inBlock(mm: ImageMm, block: Block, address: number, most: number): Stretch {
    const bytes = Math.min(most, endOf(block) - address);
    if (block.kind === BLOCK.ZERO) return zeros(bytes);
    if (block.kind === BLOCK.PARENT) return this.#inAncestor(mm.ordinal, address, bytes);
    const { start } = block;
    const place = { source: this.#source, base: 0 };
    return { kind: 'stored', bytes, ...place, from: address - addressOf(start), mm, block };
  }

  /** A stretch in the first ancestor that stores the page itself. */
  #inAncestor(ordinal: number, address: number, most: number): Stretch {
    const vpn = vpnOf(address);
    const { ancestors } = this.#chain;
    for (let ancestor = 0; ancestor < ancestors.length; ancestor++) {
      const opened = this.#chain.get(ancestor);
      if (opened === undefined) return { kind: 'unopened', bytes: 0, ancestor };
      const mm = opened.records.mms[ordinal];
      const block = mm?.blocks.find(vpn);
      if (mm === undefined || block === undefined || !hasContent(block)) {
        throw this.#notInAncestor(ordinal, address, opened.source.name);
      }
      most = Math.min(most, endOf(block) - address);
      if (block.kind === BLOCK.PARENT) continue;
      const { source, start: base } = opened;
      const from = address - addressOf(block.start);
      return { kind: 'stored', bytes: most, source, base, from, mm, block };
    }
    throw this.#notInAncestor(ordinal, address, 'no ancestor');
  }

  #notInAncestor(ordinal: number, address: number, ancestor: string): MmdumpError {
    const place = `mm ${ordinal}, page at ${hex(address)}`;
    const reason = `it lies in the parent, but ${ancestor} does not store it`;
    const fields = { mm: ordinal, address, reason };
    return new MmdumpError('IMAGE_CORRUPT', `${this.#source.name}: ${place}: ${reason}`, fields);
  }

  /** Why an absent page of the mapping may have been left out and need not be zeros, or null. */
  #mayBeLeftOut(vma: ImageVma): string | null {
    if (this.#isLeftOut(vma)) return LEFT_OUT;
    if ((vma.flags & VM.HUGETLB) === 0) return null;
    return 'pages of VM_HUGETLB mappings may have been left out';
  }

  #isLeftOut(vma: ImageVma): boolean {
    return this.#records.head.dontDump && (vma.flags & VM.DONTDUMP) !== 0;
  }

  #absent(mm: ImageMm, address: number, reason: string): MmdumpError {
    const place = `mm ${mm.ordinal} does not hold the page at ${hex(address)}`;
    const fields = { mm: mm.ordinal, address, reason };
    return new MmdumpError('PAGE_ABSENT', `${this.#source.name}: ${place}: ${reason}`, fields);
  }

  /** An error for records that contradict each other. `openImage` accepts no such image. */
  #contradiction(mm: ImageMm, address: number, reason: string): MmdumpError {
    const place = `mm ${mm.ordinal}, page at ${hex(address)}`;
    const fields = { mm: mm.ordinal, address, reason };
    return new MmdumpError('IMAGE_CORRUPT', `${this.#source.name}: ${place}: ${reason}`, fields);
  }
}

const LEFT_OUT = 'pages of VM_DONTDUMP mappings were left out';

function zeros(bytes: number): ZeroStretch {
  return { kind: 'zeros', bytes };
}

function absent(bytes: number, reason: string): AbsentStretch {
  return { kind: 'absent', bytes, reason };
}

function endOf(block: Block): number {
  return addressOf(block.start + block.pages);
}
