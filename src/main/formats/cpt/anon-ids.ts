/**
 * The anonvmaid of VMAs: mappings that COPYPAGES join, of whatever mm, have one number. A forest of
 * VMAs (union-find), filled from the runs of clones before the first record is encoded.
 */
import type { Mm } from '../../../mmu/mm.ts';
import { PAGE_CLASS } from '../../../shared/dump/page-class.ts';
import { donorOf } from '../../../shared/dump/run-table.ts';
import { RunCursor } from '../../dump/run-cursor.ts';
import type { LayoutInput } from '../layout.ts';

const { CLONE } = PAGE_CLASS;

export async function findAnonIds(input: LayoutInput): Promise<AnonIds> {
  const ids = new AnonIds(input);
  await ids.fill(input);
  return ids;
}

export class AnonIds {
  /** Number of an mm's first VMA, counted over all mms. */
  readonly #firstVma: number[] = [];
  /** A VMA's parent; its own number: the root of a tree. */
  readonly #parents: Int32Array;
  /** Whether the VMA gives or takes clones. */
  readonly #isJoined: Uint8Array;
  /** Ids by root, in the order in which they were asked for. */
  readonly #ids = new Map<number, number>();

  constructor({ mms }: LayoutInput) {
    let count = 0;
    for (const { mm } of mms) {
      this.#firstVma.push(count);
      count += mm.vmas.count;
    }
    this.#parents = new Int32Array(count);
    for (let vma = 0; vma < count; vma++) this.#parents[vma] = vma;
    this.#isJoined = new Uint8Array(count);
  }

  /** Joins the mappings of every run of clones. */
  async fill({ mms, units, runs, turns }: LayoutInput): Promise<void> {
    for (const [ordinal, { mm, tally, units: range }] of mms.entries()) {
      if (tally.clone.every((pages) => pages === 0)) continue;
      const cursor = new RunCursor(units, runs, range.first, range.last);
      for (; cursor.start !== Number.POSITIVE_INFINITY; cursor.next()) {
        if (turns.isDue()) await turns.next();
        if (cursor.pageClass !== CLONE) continue;
        const taker = this.#firstVma[ordinal]! + mm.vmas.find(cursor.start);
        const donor = donorOf(cursor.word);
        this.#joinDonors(taker, donor, mms[donor]!.mm, cursor.start, cursor.start + cursor.count);
      }
    }
  }

  /** Id of a VMA, 0 if no COPYPAGES has to do with it. To be asked in the order of the stream. */
  of(mm: number, vma: number): number {
    const number = this.#firstVma[mm]! + vma;
    if (this.#isJoined[number] === 0) return 0;
    const root = this.#rootOf(number);
    const known = this.#ids.get(root);
    if (known !== undefined) return known;
    const id = this.#ids.size + 1;
    this.#ids.set(root, id);
    return id;
  }

  /** Pages [from, to) of one VMA may lie in several of the donor's. */
  #joinDonors(taker: number, donor: number, { vmas }: Mm, from: number, to: number): void {
    for (let vma = vmas.find(from); vma < vmas.count; vma++) {
      if (vmas.start(vmas.slot(vma)) >= to) break;
      this.#join(taker, this.#firstVma[donor]! + vma);
    }
  }

  #join(a: number, b: number): void {
    this.#isJoined[a] = 1;
    this.#isJoined[b] = 1;
    this.#parents[this.#rootOf(a)] = this.#rootOf(b);
  }

  #rootOf(vma: number): number {
    const parents = this.#parents;
    for (let at = vma; ; at = parents[at]!) {
      const parent = parents[at]!;
      if (parent === at) return at;
      parents[at] = parents[parent]!; // halves the way for whoever comes next
    }
  }
}
