/**
 * Checks the objects of a native image against each other: the grammar of the stream, ranges that
 * nest and ascend, counts that add up. It builds the index of the reader on the way.
 *
 * START ─▶ { STATE } ─▶ MM ─▶ [MM_AUXV] ─▶ [CORE_NOTES] ─▶ { VMA … } ─▶ [BITS]
 *                        ▲                                                │
 *                        └──────────────────── next mm ───────────────────┘
 *
 * VMA … = VMA ─▶ [NAME] ─▶ { PAGES | COPYPAGES }
 */

import { type DigestKind, digestKindOf } from '../../../shared/digest/digest-kind.ts';
import type { ImageHead } from '../../../shared/formats/cpt/head.ts';
import type {
  BitsObject,
  CopyPagesObject,
  CptObject,
  DataObject,
  MmObject,
  NameObject,
  PagesObject,
  StateObject,
  VmaObject,
} from '../../../shared/formats/cpt/objects.ts';
import {
  AUXV_MAX_BYTES,
  LDT_MAX_BYTES,
  MMS_MAX,
  NOTES_MAX_BYTES,
  VMA_TYPE,
} from '../../../shared/formats/cpt/records.ts';
import { ImageProblem } from '../../../shared/formats/problem.ts';
import { addressOf, hex, vpnOf } from '../../../shared/page.ts';
import { printable } from '../../../shared/printable.ts';
import type { Block } from '../index/block-index.ts';
import { FilePages, isOfFile, isUnreachable } from '../index/file-pages.ts';
import type { ImageMm } from '../index/image-mm.ts';
import { INDEX_COST, type IndexBudget } from '../index/index-budget.ts';
import type { CheckedRecords } from '../read/image-contents.ts';
import {
  checkPages,
  checkRange,
  checkVma,
  type OpenMm,
  type OpenVma,
  openMm,
  payloadOf,
  wrong,
} from './blocks.ts';
import { checkCopyPages } from './clones.ts';
import { ImageFiles } from './names.ts';
import { ImageStates } from './states.ts';

export class StreamChecker {
  readonly mms: ImageMm[] = [];
  /** Places where the pages of unreachable files are stored. */
  readonly filePages: FilePages;
  readonly #head: ImageHead;
  readonly #digest: DigestKind;
  readonly #report: (problem: ImageProblem) => void;
  readonly #budget: IndexBudget;
  readonly #files: ImageFiles;
  readonly #states: ImageStates;
  readonly #byOffset = new Map<number, ImageMm>();
  #mm: OpenMm | undefined;
  #vma: OpenVma | undefined;
  #needsName = false;
  /** An object of this mm, or of this VMA, was lost, so its counts cannot add up any more. */
  #mmDoubtful = false;
  #vmaDoubtful = false;
  /** No object was lost so far. */
  #isWhole = true;

  /** `report` is given the problems that do not end the reading of the image. It may throw. */
  constructor(head: ImageHead, budget: IndexBudget, report: (problem: ImageProblem) => void) {
    this.#head = head;
    this.#digest = digestKindOf(head.digest);
    this.#budget = budget;
    this.#files = new ImageFiles(budget);
    this.#states = new ImageStates(budget);
    this.filePages = new FilePages(budget);
    this.#report = report;
  }

  /**
   * Takes the next object. `payload` is the path of a NAME or the name of a STATE. Throws an
   * ImageProblem if the object is wrong. A caller that goes on calls `lost`; objects are then
   * skipped until the next VMA, BITS or MM.
   */
  add(object: CptObject, payload: Uint8Array | undefined): void {
    if (object.type === 'STATE') {
      this.#addState(object, payload ?? new Uint8Array());
      return;
    }
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

  /** The records, once all objects were taken. */
  get records(): CheckedRecords {
    const { mms, filePages } = this;
    return { head: this.#head, states: this.#states.listed, mms, filePages };
  }

  /** Notes that the current object was not taken. Objects that belong to it are skipped. */
  lost(): void {
    this.#isWhole = false;
    this.#mmDoubtful = true;
    this.#vmaDoubtful = true;
    this.#needsName = false;
  }

  /** Makes the last checks, when the image ends at byte `offset`. */
  finish(offset: number): void {
    if (this.#needsName) {
      this.#report(new ImageProblem('IMAGE_CORRUPT', offset, 'the last VMA has no NAME'));
    }
    this.#closeMm();
    const { mmCount } = this.#head;
    if (this.mms.length === mmCount || this.#mmDoubtful) return;
    const message = `file head: mm_count ${mmCount}, but the image has ${this.mms.length} MMs`;
    this.#report(new ImageProblem('IMAGE_CORRUPT', 0, message));
  }

  #addState(object: StateObject, payload: Uint8Array): void {
    if (this.#mm !== undefined) throw wrong(object, 'follows an MM');
    this.#states.take(object, payload);
  }

  #addMm(object: MmObject): void {
    this.#closeMm();
    this.#mmDoubtful = false;
    this.#vmaDoubtful = false;
    if (this.mms.length === MMS_MAX) {
      this.lost(); // objects that belong to it are not taken
      throw wrong(object, `an image has at most ${MMS_MAX} MM objects`);
    }
    this.#mm = openMm(object, this.#budget);
  }

  #openMm(object: CptObject): OpenMm {
    if (this.#mm === undefined) throw wrong(object, 'comes before the first MM');
    return this.#mm;
  }

  #closeMm(): void {
    const mm = this.#mm;
    if (mm === undefined) return;
    this.#closeVma(mm);
    const { record, vmas, blocks, auxv, notes, ldt } = mm;
    const { offset, fields } = record;
    const ordinal = this.mms.length;
    const closed = { ordinal, offset, fields, vmas, blocks, auxv, notes, ldt };
    this.mms.push(closed);
    this.#byOffset.set(offset, closed);
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
    const stored = vma.pages.copy + vma.pages.zero + vma.pages.clone + vma.pages.parent;
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
    const most = isAuxv ? AUXV_MAX_BYTES : NOTES_MAX_BYTES;
    if (payload.bytes > most)
      throw wrong(object, `${payload.bytes} bytes, expected at most ${most}`);
    if (isAuxv) mm.auxv = payload;
    else mm.notes = payload;
  }

  #addVma(object: VmaObject): void {
    const mm = this.#openMm(object);
    const before = this.#vma;
    this.#closeVma(mm);
    this.#vmaDoubtful = false;
    const { start, end } = object;
    this.#needsName = object.hasName;
    checkVma(object);
    if (before !== undefined && start < before.end) {
      throw wrong(
        object,
        `start ${hex(start)} is below the end ${hex(before.end)} of the previous VMA`,
        start,
      );
    }
    this.#budget.take(INDEX_COST.VMA);
    this.#vma = {
      record: object,
      start,
      end,
      firstBlock: mm.blocks.count,
      pages: { copy: 0, zero: 0, clone: 0, guard: 0, parent: 0 },
      file: null,
      filledTo: start,
    };
  }

  #addName(object: NameObject, payload: Uint8Array): void {
    const vma = this.#vma;
    if (!this.#needsName || vma === undefined)
      throw wrong(object, 'does not follow a VMA that maps a file');
    this.#needsName = false;
    vma.file = this.#files.take(object, payload, vma.start);
  }

  #addPages(object: PagesObject): void {
    const vma = this.#blockVma(object);
    const block = checkPages(object, vma, this.#digest, this.#head);
    this.#mm?.blocks.add(block);
    this.#noteFilePages(object, vma, block);
  }

  /** Reports a page of a file that is stored twice: a reader could not tell which one is right. */
  #noteFilePages(object: PagesObject, { record, file, start }: OpenVma, block: Block): void {
    if (file === null || !isUnreachable(file) || !isOfFile(record, block)) return;
    const index = record.pgoff + (block.start - vpnOf(start));
    const mm = this.mms.length;
    const twice = this.filePages.add(file.id, index, block.pages, mm, block.start);
    if (twice === undefined) return;
    const address = addressOf(block.start + (twice - index));
    const name = printable(file.path);
    const message = `page ${twice} of ${name}, at ${hex(address)}, is already stored`;
    this.#report(wrong(object, message, address));
  }

  #addCopyPages(object: CopyPagesObject): void {
    const vma = this.#blockVma(object);
    const donor = this.#byOffset.get(object.source);
    this.#mm?.blocks.add(checkCopyPages(object, vma, donor, this.#isWhole));
  }

  #blockVma(object: PagesObject | CopyPagesObject): OpenVma {
    const vma = this.#vma;
    if (vma === undefined) throw wrong(object, 'comes before the first VMA of its mm');
    checkRange(object, vma);
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
