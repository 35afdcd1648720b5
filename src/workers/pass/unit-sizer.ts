/**
 * The first walk over a classified unit. It computes the length of the unit's part of the image,
 * counts what its VMAs hold, and notes what cannot be stored. It writes nothing to the image.
 */
import type { Mm } from '../../mmu/mm/mm.ts';
import type { NameTable } from '../../shared/dump/name-table.ts';
import { PAGE_CLASS } from '../../shared/dump/page-class.ts';
import { classOf, donorOf, ruleOf } from '../../shared/dump/run-table.ts';
import { RAW_PIECE, SegmentCut } from '../../shared/dump/segment-cut.ts';
import type { UnsupportedRun } from '../../shared/dump/tasks/pass-task.ts';
import type { VmaTallies } from '../../shared/dump/vma-tally.ts';
import { PAGES_RECORD, VMA_IMAGE } from '../../shared/formats/cpt/records.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { BlockPacker } from './block-packer.ts';
import type { Sizer } from './sizer.ts';

const { COPY, CLONE, UNSUPPORTED } = PAGE_CLASS;
const VMA_BYTES = VMA_IMAGE.SIZE;
/** Bytes of the record of a block. PAGES and COPYPAGES have the same length. */
const BLOCK_BYTES = PAGES_RECORD.SIZE;

/** What the sizer needs to know of the dump. */
export interface SizerInput {
  readonly mms: readonly Mm[];
  /** For each mm the number of its first VMA, counted over all mms. */
  readonly vmaBases: readonly number[];
  readonly tallies: VmaTallies;
  readonly names: NameTable;
  readonly blockPerPage: boolean;
  /** What compresses the blocks of this pass. Undefined if it compresses none. */
  readonly packer: BlockPacker | undefined;
}

/** Sizes one unit after the other. */
export class UnitSizer implements Sizer {
  /** Bytes of the unit's part of the image so far, and segments that they fill. */
  bytes = 0;
  segments = 0;
  /** Pages of the unit that are stored with their bytes. */
  copied = 0;
  /** Pages of all units that cannot be stored, in the order in which the units were claimed. */
  readonly unsupported: UnsupportedRun[] = [];
  /** Pairs of VMAs that share pages through clones, in all units, counted over all mms. */
  readonly joins: number[] = [];
  readonly #input: SizerInput;
  readonly #cut = new SegmentCut();
  #ordinal = 0;
  #mm: Mm;
  #base = 0;
  #lastJoin = -1;
  #lastDonor = -1;

  constructor(input: SizerInput) {
    this.#input = input;
    this.#mm = input.mms[0]!;
  }

  /** Begins a unit of mm `ordinal`. Its first `lead` bytes are records of the coordinator. */
  begin(ordinal: number, lead: number): void {
    this.#ordinal = ordinal;
    this.#mm = this.#input.mms[ordinal]!;
    this.#base = this.#input.vmaBases[ordinal]!;
    this.bytes = 0;
    this.segments = 0;
    this.copied = 0;
    this.#input.packer?.begin();
    this.#raw(lead);
  }

  /** Ends the unit. Its last `trail` bytes are records of the coordinator. */
  end(trail: number): void {
    this.#raw(trail);
    if (this.#cut.end()) this.segments++;
  }

  vma(vma: number): void {
    this.#place(VMA_BYTES);
    const { vmas } = this.#mm;
    const file = vmas.file(vmas.slot(vma));
    if (file !== 0) this.#raw(this.#input.names.bytes(file));
  }

  run(vma: number, start: number, count: number, word: number, source: number): void {
    const pageClass = classOf(word);
    this.#input.tallies.add(this.#base + vma, pageClass, count);
    if (pageClass === UNSUPPORTED) {
      this.unsupported.push({ mm: this.#ordinal, start, pages: count, rule: ruleOf(word) });
      return;
    }
    if (pageClass === CLONE) this.#join(vma, donorOf(word), start, start + count);
    const hasData = pageClass === COPY;
    if (hasData) this.copied += count;
    const pages = this.#input.blockPerPage ? 1 : count;
    for (let page = 0; page < count; page += pages) {
      this.#place(BLOCK_BYTES + (hasData ? this.#payload(start + page, pages, source + page) : 0));
    }
  }

  /** Length of the payload of a block of `count` pages from page `start` on. */
  #payload(start: number, count: number, source: number): number {
    return this.#input.packer?.add(start, count, source) ?? PAGE_SIZE * count;
  }

  #place(bytes: number): void {
    this.bytes += bytes;
    if (this.#cut.place(bytes)) this.segments++;
  }

  #raw(bytes: number): void {
    for (let left = bytes; left > 0; left -= RAW_PIECE) this.#place(Math.min(left, RAW_PIECE));
  }

  /** Joins a VMA with each VMA of the donor that has some of pages [from, to). */
  #join(vma: number, donor: number, from: number, to: number): void {
    const { vmas } = this.#input.mms[donor]!;
    const taker = this.#base + vma;
    for (let given = vmas.find(from); given < vmas.count; given++) {
      if (vmas.start(vmas.slot(given)) >= to) break;
      const giver = this.#input.vmaBases[donor]! + given;
      if (taker === this.#lastJoin && giver === this.#lastDonor) continue;
      this.#lastJoin = taker;
      this.#lastDonor = giver;
      this.joins.push(taker, giver);
    }
  }
}
