/** What an mm, a VMA and a block of pages must be by themselves; see `checker.ts` for their order. */
import { PAGES_FLAG } from '../../../shared/image/cpt-records.ts';
import {
  granuleStart,
  hex,
  isPageAligned,
  PAGE_SIZE,
  TASK_SIZE,
  vpnOf,
} from '../../../shared/page.ts';
import { BLOCK, type Block, BlockIndex } from '../../image/block-index.ts';
import type { ImageFile, ImageVma, Payload, StoredPages } from '../../image/image-mm.ts';
import { ImageProblem } from '../../image/problem.ts';
import {
  type BitsObject,
  type CopyPagesObject,
  type CptObject,
  type DataObject,
  type MmObject,
  type PagesObject,
  type VmaObject,
  whereIs,
} from './objects.ts';

const KNOWN_FLAGS = PAGES_FLAG.PAYLOAD_CRC | PAGES_FLAG.GUARD | PAGES_FLAG.FILE_PAGES;
/** Addresses end here: user space and its guard page. */
const ADDRESS_END = TASK_SIZE + PAGE_SIZE;

/** The VMA at hand. */
export interface OpenVma {
  readonly record: VmaObject;
  readonly start: number;
  readonly end: number;
  readonly firstBlock: number;
  readonly pages: StoredPages;
  file: ImageFile | null;
  /** End of its last block, address. */
  filledTo: number;
}

export interface OpenMm {
  readonly record: MmObject;
  readonly vmas: ImageVma[];
  readonly blocks: BlockIndex;
  auxv: Payload | null;
  notes: Payload | null;
  ldt: Payload | null;
}

export function openMm(record: MmObject): OpenMm {
  return { record, vmas: [], blocks: new BlockIndex(), auxv: null, notes: null, ldt: null };
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
  return isPageAligned(start) && isPageAligned(end) && start < end && end <= ADDRESS_END;
}

export function rangeText(start: number, end: number): string {
  return `${hex(start)}-${hex(end)}`;
}

/** The range of a block: inside its VMA, behind the block before, in one granule. */
export function checkRange(object: PagesObject | CopyPagesObject, vma: OpenVma): void {
  const { start, end } = object;
  if (!isRange(start, end)) throw wrong(object, `${rangeText(start, end)} is no range of pages`);
  if (start < vma.start || end > vma.end) {
    const range = rangeText(vma.start, vma.end);
    throw wrong(object, `${rangeText(start, end)} is outside of its VMA ${range}`, start);
  }
  if (start < vma.filledTo) {
    throw wrong(object, `start ${hex(start)} is below the end of the block before`, start);
  }
  if (granuleStart(vpnOf(start)) !== granuleStart(vpnOf(end) - 1)) {
    throw wrong(object, `${rangeText(start, end)} crosses a boundary of 2 MiB`, start);
  }
  vma.filledTo = end;
}

/** A PAGES object as a block; its pages are counted in the VMA. */
export function checkPages(object: PagesObject, vma: OpenVma, imageHasCrc: boolean): Block {
  const { start, end, hasData, flags } = object;
  const payload = object.length - object.headerLength;
  const expected = hasData ? end - start : 0;
  if (payload !== expected) {
    throw wrong(object, `${payload} bytes of payload, expected ${expected}`, start);
  }
  const hasCrc = (flags & PAGES_FLAG.PAYLOAD_CRC) !== 0;
  const isGuard = (flags & PAGES_FLAG.GUARD) !== 0;
  if ((flags & ~KNOWN_FLAGS) !== 0 || (hasData && isGuard)) {
    throw wrong(object, `flags ${hex(flags)} are not known or do not fit`, start);
  }
  if (hasCrc !== (hasData && imageHasCrc)) {
    const message = 'payload_crc and the flags of the file head contradict each other';
    throw wrong(object, message, start);
  }
  const pages = (end - start) / PAGE_SIZE;
  if (hasData) vma.pages.copy += pages;
  else if (isGuard) vma.pages.guard += pages;
  else vma.pages.zero += pages;
  return {
    start: vpnOf(start),
    pages,
    kind: hasData ? BLOCK.DATA : isGuard ? BLOCK.GUARD : BLOCK.ZERO,
    source: object.offset + object.headerLength,
    crc: object.payloadCrc,
    hasCrc,
    isFilePages: (flags & PAGES_FLAG.FILE_PAGES) !== 0,
  };
}
