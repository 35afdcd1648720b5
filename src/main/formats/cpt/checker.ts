/**
 * What the objects of a native image must be among each other: the grammar of the stream, ranges
 * that nest and ascend, counts that add up. Builds the reader's index on the way.
 *
 *   START ─▶ MM ─▶ [MM_AUXV] ─▶ [CORE_NOTES] ─▶ { VMA ─▶ [NAME] ─▶ { PAGES | COPYPAGES } } ─▶ [BITS]
 *             ▲                                                                                │
 *             └────────────────────────────────── next mm ─────────────────────────────────────┘
 */
import { PAGES_FLAG, VMA_TYPE } from '../../../shared/image/cpt-records.ts';
import {
  addressOf,
  granuleStart,
  hex,
  isPageAligned,
  PAGE_SIZE,
  TASK_SIZE,
  vpnOf,
} from '../../../shared/page.ts';
import { BLOCK, BlockIndex } from '../../image/block-index.ts';
import type { ImageFile, ImageMm, ImageVma, Payload, StoredPages } from '../../image/image-mm.ts';
import { ImageProblem } from '../../image/problem.ts';
import type { ImageHead } from './head.ts';
import { ImageFiles } from './names.ts';
import {
  type BitsObject,
  type CopyPagesObject,
  type CptObject,
  type DataObject,
  type MmObject,
  type NameObject,
  type PagesObject,
  type VmaObject,
  whereIs,
} from './objects.ts';

const LDT_MAX_BYTES = 65_536;
const AUXV_MAX_BYTES = 65_536;
const KNOWN_FLAGS = PAGES_FLAG.PAYLOAD_CRC | PAGES_FLAG.GUARD | PAGES_FLAG.FILE_PAGES;
/** Addresses end here: user space and its guard page. */
const ADDRESS_END = TASK_SIZE + PAGE_SIZE;

/** The VMA at hand. */
interface OpenVma {
  readonly record: VmaObject;
  readonly start: number;
  readonly end: number;
  readonly firstBlock: number;
  readonly pages: StoredPages;
  file: ImageFile | null;
  /** End of its last block, address. */
  filledTo: number;
}

interface OpenMm {
  readonly record: MmObject;
  readonly vmas: ImageVma[];
  readonly blocks: BlockIndex;
  auxv: Payload | null;
  notes: Payload | null;
  ldt: Payload | null;
}

export class StreamChecker {
  readonly mms: ImageMm[] = [];
  readonly #head: ImageHead;
  readonly #report: (problem: ImageProblem) => void;
  readonly #files = new ImageFiles();
  #mm: OpenMm | undefined;
  #vma: OpenVma | undefined;
  #needsName = false;
  /** An object of this mm, or of this VMA, was lost: counts cannot add up any more. */
  #mmDoubtful = false;
  #vmaDoubtful = false;

  /** `report` is told what does not keep the rest from being read; it may throw. */
  constructor(head: ImageHead, report: (problem: ImageProblem) => void) {
    this.#head = head;
    this.#report = report;
  }

  /**
   * Takes the next object. `payload` is given for a NAME. Throws ImageProblem; an object that was
   * not taken makes what follows it doubtful, until the next VMA or MM.
   */
  add(object: CptObject, payload: Uint8Array | undefined): void {
    if (object.type !== 'MM' && object.type !== 'VMA' && this.#vmaDoubtful) {
      if (object.type === 'NAME') this.#needsName = false;
      if (object.type !== 'BITS') return;
    }
    if (this.#needsName && object.type !== 'NAME') {
      this.#needsName = false;
      throw wrong(object, 'expected the NAME of the VMA before it');
    }
    if (this.#mm?.ldt != null && object.type !== 'MM') {
      throw wrong(object, 'follows BITS, which must be the last object of an mm');
    }
    if (object.type === 'MM') this.#addMm(object);
    else if (object.type === 'VMA') this.#addVma(object);
    else if (object.type === 'NAME') this.#addName(object, payload ?? new Uint8Array());
    else if (object.type === 'PAGES') this.#addPages(object);
    else if (object.type === 'COPYPAGES') this.#addCopyPages(object);
    else if (object.type === 'BITS') this.#addBits(object);
    else this.#addData(object);
  }

  /** The object at hand was not taken: what belongs to it cannot be placed. */
  lost(): void {
    this.#mmDoubtful = true;
    this.#vmaDoubtful = true;
    this.#needsName = false;
  }

  /** The image ends at byte `offset`. */
  finish(offset: number): void {
    if (this.#needsName)
      throw new ImageProblem('IMAGE_CORRUPT', offset, 'the last VMA has no NAME');
    this.#closeMm();
    const { mmCount } = this.#head;
    if (this.mms.length === mmCount || this.#mmDoubtful) return;
    const message = `file head: mm_count ${mmCount}, but ${this.mms.length} MM objects are there`;
    throw new ImageProblem('IMAGE_CORRUPT', 0, message);
  }

  #addMm(object: MmObject): void {
    this.#closeMm();
    this.#mmDoubtful = false;
    this.#vmaDoubtful = false;
    this.#mm = openMm(object);
  }

  #openMm(object: CptObject): OpenMm {
    if (this.#mm === undefined) throw wrong(object, 'stands before the first MM');
    return this.#mm;
  }

  #closeMm(): void {
    const mm = this.#mm;
    if (mm === undefined) return;
    this.#closeVma(mm);
    const { record, vmas, blocks, auxv, notes, ldt } = mm;
    const { offset, fields } = record;
    const ordinal = this.mms.length;
    this.mms.push({ ordinal, offset, fields, vmas, blocks, auxv, notes, ldt });
    this.#mm = undefined;
    if (record.mapCount !== vmas.length && !this.#mmDoubtful) {
      this.#report(wrong(record, `map_count ${record.mapCount}, but ${vmas.length} VMAs follow`));
    }
  }

  #closeVma(mm: OpenMm): void {
    const vma = this.#vma;
    if (vma === undefined) return;
    this.#vma = undefined;
    const { record, file, pages, firstBlock } = vma;
    mm.vmas.push({
      offset: record.offset,
      start: record.start,
      end: record.end,
      flags: record.flags,
      pgprotLow: record.pgprotLow,
      pgprotHigh: record.pgprotHigh,
      pgoff: record.pgoff,
      isVdso: record.vmaType === VMA_TYPE.VDSO,
      anonvmaid: record.anonvmaid,
      file,
      pages,
      firstBlock,
      lastBlock: mm.blocks.count,
    });
    const stored = vma.pages.copy + vma.pages.zero + vma.pages.clone;
    if (stored !== record.pageNum && !this.#vmaDoubtful) {
      const message = `page_num ${record.pageNum}, but ${stored} pages follow`;
      this.#report(wrong(record, message, vma.start));
    }
  }

  #addData(object: DataObject): void {
    const mm = this.#openMm(object);
    const isAuxv = object.type === 'MM_AUXV';
    if (mm.vmas.length > 0 || this.#vma !== undefined) throw wrong(object, 'follows a VMA');
    if (mm.notes !== null || (isAuxv && mm.auxv !== null)) throw wrong(object, 'is out of order');
    const payload = payloadOf(object);
    if (isAuxv && payload.bytes > AUXV_MAX_BYTES) throw wrong(object, 'is too long');
    if (isAuxv) mm.auxv = payload;
    else mm.notes = payload;
  }

  #addVma(object: VmaObject): void {
    const mm = this.#openMm(object);
    const before = this.#vma;
    this.#closeVma(mm);
    this.#vmaDoubtful = false;
    const { start, end, vmaType } = object;
    this.#needsName = object.hasName;
    if (!isRange(start, end)) throw wrong(object, `${rangeText(start, end)} is no range of pages`);
    if (before !== undefined && start < before.end) {
      throw wrong(
        object,
        `start ${hex(start)} is below the end ${hex(before.end)} of the VMA before`,
        start,
      );
    }
    if (vmaType > VMA_TYPE.VDSO || (vmaType === VMA_TYPE.FILE) !== object.hasName) {
      throw wrong(object, `vma_type ${vmaType} does not fit its file`, start);
    }
    this.#vma = {
      record: object,
      start,
      end,
      firstBlock: mm.blocks.count,
      pages: { copy: 0, zero: 0, clone: 0, guard: 0 },
      file: null,
      filledTo: start,
    };
  }

  #addName(object: NameObject, payload: Uint8Array): void {
    const vma = this.#vma;
    if (!this.#needsName || vma === undefined)
      throw wrong(object, 'follows no VMA that maps a file');
    this.#needsName = false;
    vma.file = this.#files.take(object, payload, vma.start);
  }

  #addPages(object: PagesObject): void {
    const { start, end, hasData, flags } = object;
    const vma = this.#blockVma(object, start, end);
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
    if (hasCrc !== (hasData && this.#head.hasPayloadCrc)) {
      throw wrong(
        object,
        'payload_crc and the flags of the file head contradict each other',
        start,
      );
    }
    const pages = (end - start) / PAGE_SIZE;
    const kind = hasData ? BLOCK.DATA : isGuard ? BLOCK.GUARD : BLOCK.ZERO;
    if (hasData) vma.pages.copy += pages;
    else if (isGuard) vma.pages.guard += pages;
    else vma.pages.zero += pages;
    this.#mm?.blocks.add({
      start: vpnOf(start),
      pages,
      kind,
      source: object.offset + object.headerLength,
      crc: object.payloadCrc,
      hasCrc,
      isFilePages: (flags & PAGES_FLAG.FILE_PAGES) !== 0,
    });
  }

  #addCopyPages(object: CopyPagesObject): void {
    const { start, end, source } = object;
    const vma = this.#blockVma(object, start, end);
    const donor = this.mms.find((mm) => mm.offset === source);
    if (donor === undefined) throw wrong(object, `source ${source} is no earlier MM`, start);
    assertDonates(object, donor);
    const pages = (end - start) / PAGE_SIZE;
    vma.pages.clone += pages;
    const block = { start: vpnOf(start), pages, kind: BLOCK.CLONE, source, crc: 0 };
    this.#mm?.blocks.add({ ...block, hasCrc: false, isFilePages: false });
  }

  /** The VMA that a block belongs to, once its range is known to fit. */
  #blockVma(object: PagesObject | CopyPagesObject, start: number, end: number): OpenVma {
    const vma = this.#vma;
    if (vma === undefined) throw wrong(object, 'stands before the first VMA of its mm');
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
    return vma;
  }

  #addBits(object: BitsObject): void {
    const mm = this.#openMm(object);
    this.#closeVma(mm);
    this.#vmaDoubtful = false;
    const payload = payloadOf(object);
    if (payload.bytes === 0 || payload.bytes > LDT_MAX_BYTES || payload.bytes % 8 !== 0) {
      throw wrong(object, `an LDT of ${payload.bytes} bytes, expected 8 to 65536`);
    }
    mm.ldt = payload;
  }
}

function openMm(record: MmObject): OpenMm {
  return { record, vmas: [], blocks: new BlockIndex(), auxv: null, notes: null, ldt: null };
}

function wrong(object: CptObject, message: string, address: number | null = null): ImageProblem {
  const text = `${whereIs(object)}: ${message}`;
  return new ImageProblem('IMAGE_CORRUPT', object.offset, text, address);
}

function payloadOf(object: DataObject | BitsObject): Payload {
  const offset = object.offset + object.headerLength;
  return { offset, bytes: object.length - object.headerLength, crc: object.payloadCrc };
}

function isRange(start: number, end: number): boolean {
  return isPageAligned(start) && isPageAligned(end) && start < end && end <= ADDRESS_END;
}

function rangeText(start: number, end: number): string {
  return `${hex(start)}-${hex(end)}`;
}

/** A clone's pages must be stored by the donor itself, as data, at the same addresses. */
function assertDonates(object: CopyPagesObject, donor: ImageMm): void {
  const last = vpnOf(object.end);
  for (let vpn = vpnOf(object.start) as number; vpn < last; ) {
    const block = donor.blocks.find(vpn);
    if (block === undefined || block.kind !== BLOCK.DATA) {
      const address = addressOf(vpn);
      throw wrong(object, `mm ${donor.ordinal} does not store page ${hex(address)}`, address);
    }
    vpn = block.start + block.pages;
  }
}
