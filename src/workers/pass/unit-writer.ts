/**
 * The second walk over a classified unit, whose place in the image is known now. It writes records,
 * pages and checksums, one piece after the other, as the format demands (docs/IMAGE_FORMAT.md).
 */
import type { Mm } from '../../mmu/mm/mm.ts';
import { vmaRecordOf } from '../../mmu/vma/vma-record.ts';
import type { NameTable } from '../../shared/dump/name-table.ts';
import type { PackedUnit } from '../../shared/dump/packed-unit.ts';
import { PAGE_CLASS } from '../../shared/dump/page-class.ts';
import { classOf, donorOf, FILE_PAGES_BIT } from '../../shared/dump/run-table.ts';
import { RAW_PIECE } from '../../shared/dump/segment-cut.ts';
import type { VmaTallies } from '../../shared/dump/vma-tally.ts';
import {
  encodeCopyPages,
  encodeVma,
  putDigest,
  putPages,
  signPages,
} from '../../shared/formats/cpt/encode.ts';
import {
  COPYPAGES_RECORD,
  PAGES_FLAG,
  PAGES_PAD_SHIFT,
  PAGES_RECORD,
  VMA_IMAGE,
} from '../../shared/formats/cpt/records.ts';
import { addressOf, PAGE_SIZE } from '../../shared/page.ts';
import { packedRoom } from '../../shared/zstd.ts';
import type { PageMover } from '../copy/page-mover.ts';
import type { ImageOutput } from '../output/image-output.ts';
import type { CrcList } from './crc-list.ts';
import type { ParentDigests } from './parent-digests.ts';
import type { Writer } from './sizer.ts';

const { COPY, CLONE, UNSUPPORTED, GUARD, PARENT } = PAGE_CLASS;
const PAGES_BYTES = PAGES_RECORD.SIZE;
const { GUARD: GUARD_FLAG, FILE_PAGES, IN_PARENT, ZSTD } = PAGES_FLAG;

/** What the writer needs to know of the dump. */
export interface WriterInput {
  readonly mms: readonly Mm[];
  /** For each mm the number of its first VMA, counted over all mms. */
  readonly vmaBases: readonly number[];
  readonly tallies: VmaTallies;
  readonly names: NameTable;
  readonly blockPerPage: boolean;
  /**
   * anonvmaid of each VMA, counted over all mms. Undefined if the ids are not known yet: the
   * coordinator fills them in after the pass.
   */
  readonly anonIds: Int32Array | undefined;
  /**
   * Image offset of the MM object of an mm. Throws PhaseStopped if the phase is stopped while it
   * waits.
   */
  readonly offsetOfMm: (mm: number) => number;
  /** The digests of pages. Undefined if the image has no parent. */
  readonly parent: ParentDigests | undefined;
  /** The compressed blocks of a unit. Undefined if no block is compressed. */
  readonly packedOf: ((unit: number) => PackedUnit) | undefined;
}

/** Writes one unit after the other. */
export class UnitWriter implements Writer {
  readonly #input: WriterInput;
  readonly #out: ImageOutput;
  readonly #mover: PageMover;
  readonly #crcs: CrcList;
  #mm: Mm;
  #base = 0;
  /** The blocks of the unit, if they are compressed. */
  #packed: PackedUnit | undefined;
  /** Pages of the unit that are stored with their bytes. */
  copied = 0;
  /** Image offset of the next piece. */
  #offset = 0;

  constructor(input: WriterInput, out: ImageOutput, mover: PageMover, crcs: CrcList) {
    this.#input = input;
    this.#out = out;
    this.#mover = mover;
    this.#crcs = crcs;
    this.#mm = input.mms[0]!;
  }

  /** Begins unit `unit` of mm `ordinal`, whose part of the image begins at byte `offset`. */
  begin(ordinal: number, offset: number, unit: number): void {
    this.#packed = this.#input.packedOf?.(unit);
    this.#mm = this.#input.mms[ordinal]!;
    this.#base = this.#input.vmaBases[ordinal]!;
    this.#offset = offset;
    this.copied = 0;
  }

  /**
   * Copies complete records: bytes [at, at + bytes) of `words`. Both numbers are multiples of 8.
   */
  raw(words: Int32Array, at: number, bytes: number): void {
    for (let done = 0; done < bytes; ) {
      const count = Math.min(RAW_PIECE, bytes - done);
      this.#out.room();
      const into = this.#out.window.words;
      const to = this.#out.at >> 2;
      const from = (at + done) >> 2;
      if (count === RAW_PIECE) into.set(words.subarray(from, from + (count >> 2)), to);
      else for (let word = 0; word < count >> 2; word++) into[to + word] = words[from + word]!;
      this.#advance(count);
      done += count;
    }
  }

  vma(vma: number): void {
    const { tallies, names, anonIds } = this.#input;
    const number = this.#base + vma;
    const slot = this.#mm.vmas.slot(vma);
    this.#out.room();
    const { window, at } = this.#out;
    const record = vmaRecordOf(this.#mm, slot, anonIds?.[number] ?? 0, tallies.stored(number));
    tallies.setRecord(number, this.#offset, this.#crcs.countInUnit);
    this.#crcs.add(encodeVma(window.words, at >> 2, record));
    this.#advance(VMA_IMAGE.SIZE);
    const file = this.#mm.vmas.file(slot);
    if (file === 0) return;
    this.raw(names.words, names.at(file), names.bytes(file));
    this.#crcs.add(names.crc(file));
  }

  run(_vma: number, start: number, count: number, word: number, source: number): void {
    if (classOf(word) === UNSUPPORTED) return; // left out, and named in the report
    if (!this.#input.blockPerPage) {
      this.#block(start, count, word, source);
      return;
    }
    for (let page = 0; page < count; page++) this.#block(start + page, 1, word, source + page);
  }

  #block(start: number, count: number, word: number, source: number): void {
    const pageClass = classOf(word);
    const from = addressOf(start);
    const to = addressOf(start + count);
    if (pageClass === CLONE) {
      // This may wait, so it comes before `room`.
      const donor = this.#input.offsetOfMm(donorOf(word));
      this.#out.room();
      const { window, at } = this.#out;
      this.#crcs.add(encodeCopyPages(window.words, at >> 2, from, to, donor));
      this.#advance(COPYPAGES_RECORD.SIZE);
      return;
    }
    this.#out.room();
    const hasData = pageClass === COPY;
    if (hasData && this.#packed !== undefined) {
      this.#packedBlock(this.#packed, from, to, flagsOf(word));
      this.copied += count;
      return;
    }
    const { window, at } = this.#out;
    const { words } = window;
    putPages(words, at >> 2, from, to, hasData, flagsOf(word));
    if (hasData) {
      this.#pages(source, count);
      this.#input.parent?.stored(start, count, this.#mover, window, at + PAGES_BYTES);
      this.copied += count;
    } else if (pageClass === PARENT) {
      const digests = this.#input.parent!;
      digests.block(start, count);
      putDigest(words, at >> 2, digests.low, digests.high);
    }
    this.#crcs.add(signPages(words, at >> 2));
    this.#advance(PAGES_BYTES + (hasData ? count * PAGE_SIZE : 0));
  }

  /** Writes a block that was packed before. Only its payload may be a frame or the pages. */
  #packedBlock(packed: PackedUnit, from: number, to: number, flags: number): void {
    packed.next();
    const { payload, low, high } = packed;
    const { window, at } = this.#out;
    const { words, bytes } = window;
    const room = packedRoom(payload.length);
    const pad = room - payload.length;
    const isFrame = payload.length < to - from;
    const packing = isFrame ? ZSTD | (pad << PAGES_PAD_SHIFT) : 0;
    putPages(words, at >> 2, from, to, true, flags | packing, room);
    const end = at + PAGES_BYTES + payload.length;
    bytes.set(payload, at + PAGES_BYTES);
    bytes.fill(0, end, end + pad);
    if (this.#mover.hasDigest) putDigest(words, at >> 2, low, high);
    this.#crcs.add(signPages(words, at >> 2));
    this.#advance(PAGES_BYTES + room);
  }

  /** Copies the pages after a record, and enters the digest of the copied bytes if there is one. */
  #pages(source: number, count: number): void {
    const { window, at } = this.#out;
    const mover = this.#mover;
    mover.move(source, count, window, at + PAGES_BYTES);
    if (mover.hasDigest) putDigest(window.words, at >> 2, mover.low, mover.high);
  }

  #advance(bytes: number): void {
    this.#offset += bytes;
    this.#out.advance(bytes);
  }
}

/** PAGES_FLAG bits of a block, except that of the digest, from its class word. */
function flagsOf(word: number): number {
  const filePages = (word & FILE_PAGES_BIT) !== 0 ? FILE_PAGES : 0;
  switch (classOf(word)) {
    case GUARD:
      return GUARD_FLAG;
    case PARENT:
      return IN_PARENT | filePages;
    default:
      return filePages;
  }
}
