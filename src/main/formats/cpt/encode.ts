/**
 * The native image, `cpt` version 1: lays out the stream that docs/IMAGE_FORMAT.md describes.
 *
 *   head · for each mm: MM, auxv, notes, (VMA, NAME, blocks …) …, BITS
 *
 * Nothing here depends on how the mm was cut into units: runs never cross a VMA or a granule, and
 * come in the order of address.
 */
import { crc32 } from 'node:zlib';
import type { Mm } from '../../../mmu/mm.ts';
import { VMA_KIND } from '../../../mmu/vma/vma-table.ts';
import { PAGE_CLASS } from '../../../shared/dump/page-class.ts';
import { donorOf, FILE_PAGES_BIT } from '../../../shared/dump/run-table.ts';
import {
  BITS_RECORD,
  CONTENT,
  COPYPAGES_RECORD,
  CPT_ARCH_X86_64,
  CPT_MAGIC,
  CPT_VERSION,
  DATA_RECORD,
  FILE_HEAD,
  HEAD_FLAG,
  MM_RECORD,
  NAME_RECORD,
  OBJECT,
  OBJECT_TYPE,
  PAGES_FLAG,
  PAGES_RECORD,
  VMA_IMAGE,
  VMA_TYPE,
} from '../../../shared/image/cpt-records.ts';
import { addressOf, PAGE_SHIFT, PAGE_SIZE } from '../../../shared/page.ts';
import { pagePrivileges } from '../../../shared/vm-flags.ts';
import { RunCursor } from '../../dump/run-cursor.ts';
import { type Layout, LayoutBuilder, type LayoutInput, type LayoutMm } from '../layout.ts';
import { type AnonIds, findAnonIds } from './anon-ids.ts';
import { nameKind, namePath, pad8, upperBound } from './encode-bounds.ts';

const { COPY, CLONE, GUARD, UNSUPPORTED } = PAGE_CLASS;

/** Which crcs the engine fills in, by record. */
const HEAD_SHAPE = shape(FILE_HEAD.SIZE, FILE_HEAD.RECORD_CRC);
const MM_SHAPE = shape(MM_RECORD.SIZE, MM_RECORD.RECORD_CRC);
const VMA_SHAPE = shape(VMA_IMAGE.SIZE, VMA_IMAGE.RECORD_CRC);
const NAME_SHAPE = shape(NAME_RECORD.SIZE, NAME_RECORD.RECORD_CRC);
const DATA_SHAPE = shape(DATA_RECORD.SIZE, DATA_RECORD.RECORD_CRC);
const BITS_SHAPE = shape(BITS_RECORD.SIZE, BITS_RECORD.RECORD_CRC);
const PAGES_SHAPE = shape(PAGES_RECORD.SIZE, PAGES_RECORD.RECORD_CRC);
const COPYPAGES_SHAPE = shape(COPYPAGES_RECORD.SIZE, COPYPAGES_RECORD.RECORD_CRC);
const PAGES_CRC_SHAPE = { ...PAGES_SHAPE, payloadCrc: PAGES_RECORD.PAYLOAD_CRC };

function shape(
  recordBytes: number,
  recordCrc: number,
): { readonly recordBytes: number; readonly recordCrc: number; readonly payloadCrc: number } {
  return { recordBytes, recordCrc, payloadCrc: 0 };
}

/** AbortError, through the input's turns. */
export async function layoutCpt(input: LayoutInput): Promise<Layout> {
  return await new CptEncoder(input, await findAnonIds(input)).encode();
}

/** An encoded NAME, reused wherever the file is mapped again. */
interface EncodedName {
  readonly at: number;
  readonly bytes: number;
}

class CptEncoder {
  readonly #input: LayoutInput;
  readonly #out: LayoutBuilder;
  readonly #names = new Map<number, EncodedName>();
  readonly #anonIds: AnonIds;
  /** Byte of the image at which each MM object begins, by ordinal, as far as there are any. */
  readonly #mmOffsets: number[] = [];

  constructor(input: LayoutInput, anonIds: AnonIds) {
    this.#input = input;
    this.#anonIds = anonIds;
    const { pieces, bytes } = upperBound(input);
    this.#out = new LayoutBuilder(input.buffers, pieces, bytes);
  }

  async encode(): Promise<Layout> {
    const head = this.#head();
    for (const mm of this.#input.mms) await this.#mm(mm);
    this.#out.setU64(head + FILE_HEAD.TOTAL_LEN, this.#out.offset);
    return this.#out.finish();
  }

  #head(): number {
    const { view } = this.#out;
    const { frozen, payloadCrc, dontDump, mms } = this.#input;
    const at = this.#out.record(FILE_HEAD.SIZE);
    view.setUint32(at + FILE_HEAD.MAGIC, CPT_MAGIC, true);
    view.setUint16(at + FILE_HEAD.HDRLEN, FILE_HEAD.SIZE, true);
    view.setUint16(at + FILE_HEAD.VERSION, CPT_VERSION, true);
    view.setUint16(at + FILE_HEAD.ARCH, CPT_ARCH_X86_64, true);
    view.setUint16(at + FILE_HEAD.PAGE_SHIFT, PAGE_SHIFT, true);
    const flags =
      (frozen ? 0 : HEAD_FLAG.NOT_FROZEN) |
      (payloadCrc ? 0 : HEAD_FLAG.NO_PAYLOAD_CRC) |
      (dontDump ? HEAD_FLAG.DONTDUMP_LEFT_OUT : 0);
    view.setUint32(at + FILE_HEAD.FLAGS, flags, true);
    view.setUint32(at + FILE_HEAD.MM_COUNT, mms.length, true);
    this.#out.piece(at, FILE_HEAD.SIZE, HEAD_SHAPE);
    return at;
  }

  /** Starts an object: room in the arena, and its header. */
  #object(type: number, hdrlen: number, payload: number, content: number): number {
    const at = this.#out.record(hdrlen + payload);
    const { view } = this.#out;
    this.#out.setU64(at + OBJECT.LEN, hdrlen + payload);
    view.setUint32(at + OBJECT.TYPE, type, true);
    view.setUint16(at + OBJECT.HDRLEN, hdrlen, true);
    view.setUint16(at + OBJECT.CONTENT, content, true);
    return at;
  }

  async #mm(layoutMm: LayoutMm): Promise<void> {
    const { mm, auxv, notes, ldt } = layoutMm;
    this.#mmOffsets.push(this.#out.offset);
    this.#mmRecord(layoutMm);
    this.#dataRecord(OBJECT_TYPE.MM_AUXV, auxv);
    this.#dataRecord(OBJECT_TYPE.CORE_NOTES, notes);
    const { units, runs, turns } = this.#input;
    const cursor = new RunCursor(units, runs, layoutMm.units.first, layoutMm.units.last);
    for (let ordinal = 0; ordinal < mm.vmas.count; ordinal++) {
      if (turns.isDue()) await turns.next();
      this.#vma(layoutMm, ordinal);
      const end = mm.vmas.end(mm.vmas.slot(ordinal));
      for (; cursor.start < end; cursor.next()) {
        if (turns.isDue()) await turns.next();
        this.#run(cursor);
      }
    }
    if (ldt.length > 0) this.#bits(ldt);
  }

  #mmRecord({ addresses, mm }: LayoutMm): void {
    const at = this.#object(OBJECT_TYPE.MM, MM_RECORD.SIZE, 0, CONTENT.ARRAY);
    const out = this.#out;
    out.setU64(at + MM_RECORD.START_CODE, addresses.start_code);
    out.setU64(at + MM_RECORD.END_CODE, addresses.end_code);
    out.setU64(at + MM_RECORD.START_DATA, addresses.start_data);
    out.setU64(at + MM_RECORD.END_DATA, addresses.end_data);
    out.setU64(at + MM_RECORD.START_BRK, addresses.start_brk);
    out.setU64(at + MM_RECORD.BRK, addresses.brk);
    out.setU64(at + MM_RECORD.START_STACK, addresses.start_stack);
    out.setU64(at + MM_RECORD.START_ARG, addresses.start_arg);
    out.setU64(at + MM_RECORD.END_ARG, addresses.end_arg);
    out.setU64(at + MM_RECORD.START_ENV, addresses.start_env);
    out.setU64(at + MM_RECORD.END_ENV, addresses.end_env);
    out.setU64(at + MM_RECORD.DEF_FLAGS, addresses.def_flags);
    out.setU64(at + MM_RECORD.FLAGS, addresses.flags);
    out.setU64(at + MM_RECORD.MAP_COUNT, mm.vmas.count);
    out.piece(at, MM_RECORD.SIZE, MM_SHAPE);
  }

  /** An optional object of bytes: the auxiliary vector, the notes of a core. */
  #dataRecord(type: number, data: Uint8Array): void {
    if (data.length === 0) return;
    const padded = pad8(data.length);
    const at = this.#object(type, DATA_RECORD.SIZE, padded, CONTENT.DATA);
    const payload = this.#payload(at + DATA_RECORD.SIZE, padded, data);
    this.#out.view.setUint32(at + DATA_RECORD.PAYLOAD_CRC, crc32(payload), true);
    this.#out.piece(at, DATA_RECORD.SIZE + padded, DATA_SHAPE);
  }

  #payload(at: number, padded: number, data: Uint8Array): Uint8Array {
    this.#out.bytes.set(data, at);
    return this.#out.bytes.subarray(at, at + padded);
  }

  #vma({ mm, tally }: LayoutMm, ordinal: number): void {
    const { vmas } = mm;
    const slot = vmas.slot(ordinal);
    const file = vmas.file(slot);
    const flags = vmas.flags(slot);
    const isVdso = vmas.kind(slot) === VMA_KIND.VDSO;
    const privileges = pagePrivileges(flags);
    const at = this.#object(OBJECT_TYPE.VMA, VMA_IMAGE.SIZE, 0, CONTENT.ARRAY);
    const out = this.#out;
    const fileWord = file === 0 ? 0xffff_ffff : 0; // CPT_NULL, or 0: a NAME follows
    out.setU32(at + VMA_IMAGE.FILE, fileWord);
    out.setU32(at + VMA_IMAGE.FILE + 4, fileWord);
    const type = isVdso ? VMA_TYPE.VDSO : file === 0 ? VMA_TYPE.TYPE_0 : VMA_TYPE.FILE;
    out.setU32(at + VMA_IMAGE.VMA_TYPE, type);
    const anonId = this.#anonIds.of(this.#mmOffsets.length - 1, ordinal);
    out.setU32(at + VMA_IMAGE.ANONVMA, anonId === 0 ? 0 : 1);
    out.setU32(at + VMA_IMAGE.ANONVMAID, anonId);
    out.setU64(at + VMA_IMAGE.START, addressOf(vmas.start(slot)));
    out.setU64(at + VMA_IMAGE.END, addressOf(vmas.end(slot)));
    out.setU32(at + VMA_IMAGE.FLAGS, flags);
    out.setU32(at + VMA_IMAGE.PGPROT, privileges.low);
    out.setU32(at + VMA_IMAGE.PGPROT + 4, privileges.high);
    out.setU64(at + VMA_IMAGE.PGOFF, vmas.pgoff(slot));
    const stored = tally.copy[ordinal]! + tally.zero[ordinal]! + tally.clone[ordinal]!;
    out.setU64(at + VMA_IMAGE.PAGE_NUM, stored);
    out.piece(at, VMA_IMAGE.SIZE, VMA_SHAPE);
    if (file !== 0) this.#name(mm, file);
  }

  #name(mm: Mm, file: number): void {
    let name = this.#names.get(file);
    if (name === undefined) {
      name = this.#encodeName(mm, file, this.#names.size + 1);
      this.#names.set(file, name);
    }
    this.#out.piece(name.at, name.bytes, NAME_SHAPE);
  }

  #encodeName(mm: Mm, file: number, imageId: number): EncodedName {
    const path = namePath(mm, file);
    const padded = pad8(path.length + 1);
    const at = this.#object(OBJECT_TYPE.NAME, NAME_RECORD.SIZE, padded, CONTENT.NAME);
    this.#out.setU64(at + NAME_RECORD.FILE_ID, imageId);
    this.#out.setU64(at + NAME_RECORD.FILE_SIZE, mm.files.size(file));
    this.#out.view.setUint32(at + NAME_RECORD.FILE_KIND, nameKind(mm, file), true);
    const payload = this.#payload(at + NAME_RECORD.SIZE, padded, path);
    this.#out.view.setUint32(at + NAME_RECORD.PAYLOAD_CRC, crc32(payload), true);
    return { at, bytes: NAME_RECORD.SIZE + padded };
  }

  /** A run becomes one block, or one a page. */
  #run(run: RunCursor): void {
    if (run.pageClass === UNSUPPORTED) return; // left out, and named in the report
    if (!this.#input.blockPerPage) {
      this.#block(run, run.start, run.count, run.source);
      return;
    }
    for (let page = 0; page < run.count; page++) {
      this.#block(run, run.start + page, 1, run.source + page);
    }
  }

  #block(run: RunCursor, start: number, count: number, source: number): void {
    if (run.pageClass === CLONE) {
      this.#copyPages(start, count, donorOf(run.word));
      return;
    }
    const hasData = run.pageClass === COPY;
    const payload = hasData ? count * PAGE_SIZE : 0;
    const at = this.#object(
      OBJECT_TYPE.PAGES,
      PAGES_RECORD.SIZE,
      0,
      hasData ? CONTENT.DATA : CONTENT.VOID,
    );
    const { payloadCrc } = this.#input;
    this.#out.setU64(at + OBJECT.LEN, PAGES_RECORD.SIZE + payload);
    this.#out.setU64(at + PAGES_RECORD.START, addressOf(start));
    this.#out.setU64(at + PAGES_RECORD.END, addressOf(start + count));
    const flags =
      (hasData && payloadCrc ? PAGES_FLAG.PAYLOAD_CRC : 0) |
      (run.pageClass === GUARD ? PAGES_FLAG.GUARD : 0) |
      ((run.word & FILE_PAGES_BIT) !== 0 ? PAGES_FLAG.FILE_PAGES : 0);
    this.#out.view.setUint32(at + PAGES_RECORD.FLAGS, flags, true);
    const shape = payloadCrc ? PAGES_CRC_SHAPE : PAGES_SHAPE;
    this.#out.piece(at, PAGES_RECORD.SIZE, shape, source, hasData ? count : 0);
  }

  /** Donors come first, so it is known where their MM objects are. */
  #copyPages(start: number, count: number, donor: number): void {
    const { SIZE, START, END, SOURCE } = COPYPAGES_RECORD;
    const at = this.#object(OBJECT_TYPE.COPYPAGES, SIZE, 0, CONTENT.VOID);
    this.#out.setU64(at + START, addressOf(start));
    this.#out.setU64(at + END, addressOf(start + count));
    this.#out.setU64(at + SOURCE, this.#mmOffsets[donor]!);
    this.#out.piece(at, SIZE, COPYPAGES_SHAPE);
  }

  #bits(ldt: Uint8Array): void {
    const at = this.#object(OBJECT_TYPE.BITS, BITS_RECORD.SIZE, ldt.length, CONTENT.MM_CONTEXT);
    this.#out.view.setUint32(at + BITS_RECORD.BYTES, ldt.length, true);
    const payload = this.#payload(at + BITS_RECORD.SIZE, ldt.length, ldt);
    this.#out.view.setUint32(at + BITS_RECORD.PAYLOAD_CRC, crc32(payload), true);
    this.#out.piece(at, BITS_RECORD.SIZE + ldt.length, BITS_SHAPE);
  }
}
