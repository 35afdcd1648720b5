/** Checks mms, VMAs and blocks of pages by themselves. `checker.ts` checks their order. */

import { DIGEST, type DigestKind } from '../../../shared/digest/digest-kind.ts';
import type { ImageHead } from '../../../shared/formats/cpt/head.ts';
import {
  type BitsObject,
  type CopyPagesObject,
  type CptObject,
  type DataObject,
  type MmObject,
  type PagesObject,
  type VmaObject,
  whereIs,
} from '../../../shared/formats/cpt/objects.ts';
import { PAGES_FLAG, PAGES_PAD_SHIFT, VMA_TYPE } from '../../../shared/formats/cpt/records.ts';
import { ImageProblem } from '../../../shared/formats/problem.ts';
import {
  granuleStart,
  hex,
  isPageAligned,
  PAGE_SIZE,
  TASK_SIZE,
  vpnOf,
} from '../../../shared/page.ts';
import { VM } from '../../../shared/vm-flags.ts';
import { BLOCK, type Block, BlockIndex } from '../index/block-index.ts';
import { isUnreachable } from '../index/file-pages.ts';
import type { ImageFile, ImageVma, Payload, StoredPages } from '../index/image-mm.ts';
import { INDEX_COST, type IndexBudget } from '../index/index-budget.ts';

const KNOWN_FLAGS =
  PAGES_FLAG.DIGEST |
  PAGES_FLAG.GUARD |
  PAGES_FLAG.FILE_PAGES |
  PAGES_FLAG.IN_PARENT |
  PAGES_FLAG.ZSTD |
  (7 << PAGES_PAD_SHIFT);
/** Most pages of a file, since the format numbers the bytes of a file with 64 bits. */
const FILE_PAGES_MAX = 2 ** 52;

/** The current VMA. */
export interface OpenVma {
  readonly record: VmaObject;
  readonly start: number;
  readonly end: number;
  readonly firstBlock: number;
  readonly pages: StoredPages;
  file: ImageFile | null;
  /** Address at which its last block ends. */
  filledTo: number;
}

/** The current mm. */
export interface OpenMm {
  readonly record: MmObject;
  readonly vmas: ImageVma[];
  readonly blocks: BlockIndex;
  auxv: Payload | null;
  notes: Payload | null;
  ldt: Payload | null;
}

export function openMm(record: MmObject, budget: IndexBudget): OpenMm {
  budget.take(INDEX_COST.MM);
  const blocks = new BlockIndex(budget);
  return { record, vmas: [], blocks, auxv: null, notes: null, ldt: null };
}

export function wrong(
  object: CptObject,
  message: string,
  address: number | null = null,
): ImageProblem {
  const text = `${whereIs(object)}: ${message}`;
  return new ImageProblem('IMAGE_CORRUPT', object.offset, text, address);
}

export function payloadOf(object: DataObject | BitsObject): Payload {
  const offset = object.offset + object.headerLength;
  return { offset, bytes: object.length - object.headerLength, crc: object.payloadCrc };
}

export function isRange(start: number, end: number): boolean {
  return isPageAligned(start) && isPageAligned(end) && start < end && end <= TASK_SIZE;
}

export function rangeText(start: number, end: number): string {
  return `${hex(start)}-${hex(end)}`;
}

/** Throws an ImageProblem if a VMA is wrong by itself. */
export function checkVma(object: VmaObject): void {
  const { start, end, vmaType, anonvma, anonvmaid, flags, pgoff, hasName } = object;
  if (!isRange(start, end)) throw wrong(object, `${rangeText(start, end)} is not a range of pages`);
  if (vmaType > VMA_TYPE.VDSO || (vmaType === VMA_TYPE.FILE) !== hasName) {
    throw wrong(object, `vma_type ${vmaType} does not fit its file`, start);
  }
  if (anonvma !== (anonvmaid === 0 ? 0 : 1)) {
    throw wrong(object, `anonvma ${anonvma} does not fit anonvmaid ${anonvmaid}`, start);
  }
  if ((flags & VM.SHARED) !== 0 && (flags & VM.MAYSHARE) === 0) {
    throw wrong(object, `flags ${hex(flags)}: VM_SHARED is set without VM_MAYSHARE`, start);
  }
  if (pgoff + (end - start) / PAGE_SIZE > FILE_PAGES_MAX) {
    throw wrong(object, `pgoff ${pgoff} is beyond any file`, start);
  }
}

/**
 * Whether FILE_PAGES (flag bit 2) is allowed. It is so only where pages of the file and pages of
 * the mm can lie side by side.
 */
function mayHoldFilePages({ file, record }: OpenVma): boolean {
  return file !== null && isUnreachable(file) && (record.flags & VM.MAYSHARE) === 0;
}

/** Checks the range of a block: inside its VMA, behind the block before it, in one granule. */
export function checkRange(object: PagesObject | CopyPagesObject, vma: OpenVma): void {
  const { start, end } = object;
  if (!isRange(start, end)) throw wrong(object, `${rangeText(start, end)} is not a range of pages`);
  if (start < vma.start || end > vma.end) {
    const range = rangeText(vma.start, vma.end);
    throw wrong(object, `${rangeText(start, end)} is outside its VMA ${range}`, start);
  }
  if (start < vma.filledTo) {
    throw wrong(object, `start ${hex(start)} is below the end of the previous block`, start);
  }
  if (granuleStart(vpnOf(start)) !== granuleStart(vpnOf(end) - 1)) {
    throw wrong(object, `${rangeText(start, end)} crosses a boundary of 2 MiB`, start);
  }
  vma.filledTo = end;
}

/**
 * The length of the zstd frame of a block, or 0 if it has none. A frame is shorter than the pages,
 * so what it takes to read it is bounded.
 */
function checkPacked(object: PagesObject, compress: ImageHead['compress']): number {
  const { start, end, hasData, flags } = object;
  const pad = flags >>> PAGES_PAD_SHIFT;
  const isPacked = (flags & PAGES_FLAG.ZSTD) !== 0;
  if (!isPacked && pad === 0) return 0;
  if (!isPacked || !hasData) {
    throw wrong(object, `flags ${hex(flags)} are unknown or contradict its content`, start);
  }
  if (compress === 'none') {
    throw wrong(object, 'it is compressed, but the file head says that no block is', start);
  }
  const payload = object.length - object.headerLength;
  const packed = payload - pad;
  if (packed > 0 && payload < end - start) return packed;
  const text = `a zstd frame of ${packed} bytes, expected fewer than the ${end - start} of its pages`;
  throw wrong(object, text, start);
}

/**
 * Checks a PAGES object, counts its pages in the VMA, and returns it as a block. `kind` is the kind
 * of the digests of the image, `head` its file head.
 */
export function checkPages(
  object: PagesObject,
  vma: OpenVma,
  kind: DigestKind,
  { parent, compress }: Pick<ImageHead, 'parent' | 'compress'>,
): Block {
  const { start, end, hasData, flags } = object;
  const payload = object.length - object.headerLength;
  const expected = hasData ? end - start : 0;
  const packed = checkPacked(object, compress);
  if (packed === 0 && payload !== expected) {
    throw wrong(object, `${payload} bytes of payload, expected ${expected}`, start);
  }
  const isGuard = (flags & PAGES_FLAG.GUARD) !== 0;
  const isInParent = (flags & PAGES_FLAG.IN_PARENT) !== 0;
  const bits = Number(hasData) + Number(isGuard) + Number(isInParent);
  if ((flags & ~KNOWN_FLAGS) !== 0 || bits > 1) {
    throw wrong(object, `flags ${hex(flags)} are unknown or contradict its content`, start);
  }
  if (isInParent && parent === null) {
    throw wrong(object, 'pages of the parent image, but the file head names none', start);
  }
  const isFilePages = (flags & PAGES_FLAG.FILE_PAGES) !== 0;
  if (isFilePages && (isGuard || !mayHoldFilePages(vma))) {
    throw wrong(object, 'pages of a file, which this mapping cannot have', start);
  }
  const hasDigest = (flags & PAGES_FLAG.DIGEST) !== 0;
  if (hasDigest !== (isInParent || (hasData && kind !== DIGEST.NONE))) {
    throw wrong(object, 'its digest and the file head contradict each other', start);
  }
  const pages = (end - start) / PAGE_SIZE;
  const blockKind = hasData
    ? BLOCK.DATA
    : isGuard
      ? BLOCK.GUARD
      : isInParent
        ? BLOCK.PARENT
        : BLOCK.ZERO;
  vma.pages[COUNTED_AS[blockKind]] += pages;
  return {
    start: vpnOf(start),
    pages,
    kind: blockKind,
    source: object.offset + object.headerLength,
    packed,
    digest: isInParent ? DIGEST.XXH3 : hasDigest ? kind : DIGEST.NONE,
    low: object.digestLow,
    high: object.digestHigh,
    isFilePages,
  };
}

/** The count of a VMA to which the pages of a PAGES object belong. */
const COUNTED_AS = {
  [BLOCK.DATA]: 'copy',
  [BLOCK.GUARD]: 'guard',
  [BLOCK.PARENT]: 'parent',
  [BLOCK.ZERO]: 'zero',
} as const;
