/**
 * The compare phase: compares what two address spaces show at the same addresses. Both are frozen
 * and have the same VMAs. Units ascend, so the lowest difference that any worker finds is the first
 * difference of all.
 */

import { CONTENT_OF, contentName, contentOf, readBacked } from '../mmu/files/content.ts';
import { readBacking } from '../mmu/files/filemap.ts';
import { MachineParts } from '../mmu/mm/machine-parts.ts';
import { type Mm, mmOf } from '../mmu/mm/mm.ts';
import { isZeroPage } from '../mmu/tables/classify.ts';
import type {
  ComparedMm,
  CompareReport,
  CompareTask,
  PageDifference,
} from '../shared/dump/tasks/compare-task.ts';
import { WorkUnits } from '../shared/dump/work-unit.ts';
import { MmdumpError, type Outcome } from '../shared/errors.ts';
import { addressOf, GRANULE_PAGES, PAGE_SIZE } from '../shared/page.ts';
import { NO_THREAD } from '../shared/sync/thread-layout.ts';
import { FerriedPages } from './ferry/ferried-pages.ts';
import { runUnits } from './task/run-units.ts';

const ZEROS = new Uint8Array(PAGE_SIZE);

/** Compares the units that this worker claims. Reports the lowest page that differs in them. */
export function compare(task: CompareTask): Outcome<CompareReport> {
  const left = new Side(task.left, 0);
  const right = new Side(task.right, 1);
  const units = new WorkUnits(task.units);
  let difference: PageDifference | null = null;
  const outcome = runUnits(task, task.unitCount, (unit, phase) => {
    const start = units.start(unit);
    const pages = units.pages(unit);
    const next = unit + phase.workers; // the one that this worker will probably claim next
    const nextStart = next < task.unitCount ? units.start(next) : -1;
    left.begin(start, pages, nextStart);
    right.begin(start, pages, nextStart);
    const found = compareRange(left, right, start, start + pages);
    if (found !== null && (difference === null || found.vpn < difference.vpn)) {
      difference = found;
      phase.stop(); // workers that have claimed lower units still finish them
    }
    return { pages, bytes: 0 };
  });
  left.close();
  right.close();
  if (!outcome.ok) return outcome;
  return { ok: true, value: { ...outcome.value, difference } };
}

function compareRange(left: Side, right: Side, from: number, to: number): PageDifference | null {
  const { vmas } = left.mm;
  for (let ordinal = vmas.find(from); ordinal < vmas.count; ordinal++) {
    const slot = vmas.slot(ordinal);
    const start = vmas.start(slot);
    if (start >= to) break;
    const rightSlot = right.mm.vmas.slot(ordinal);
    const end = Math.min(to, vmas.end(slot));
    for (let vpn = Math.max(from, start); vpn < end; vpn++) {
      const found = comparePage(left, slot, right, rightSlot, vpn);
      if (found !== null) return found;
    }
  }
  return null;
}

function comparePage(
  left: Side,
  leftSlot: number,
  right: Side,
  rightSlot: number,
  vpn: number,
): PageDifference | null {
  const a = contentOf(left.mm, leftSlot, vpn);
  const b = contentOf(right.mm, rightSlot, vpn);
  if (a <= 0 && a === b && a !== CONTENT_OF.BACKED) return null;
  if (a === CONTENT_OF.ZEROS && b > 0 && right.isZero(vpn, b)) return null;
  if (b === CONTENT_OF.ZEROS && a > 0 && left.isZero(vpn, a)) return null;
  const leftBytes = left.bytes(leftSlot, vpn, a);
  const rightBytes = right.bytes(rightSlot, vpn, b);
  const names = { vpn, left: contentName(a), right: contentName(b) };
  if (leftBytes === null || rightBytes === null) return { ...names, offset: 0 };
  if (Buffer.compare(leftBytes, rightBytes) === 0) return null;
  const offset = leftBytes.findIndex((byte, index) => byte !== rightBytes[index]);
  return { ...names, offset };
}

/** One of the two address spaces, as this worker sees it. */
class Side {
  readonly mm: Mm;
  readonly #machine: MachineParts;
  readonly #ferried: FerriedPages | undefined;
  readonly #scratch = new Uint8Array(PAGE_SIZE);

  constructor({ machine, slot, ferry }: ComparedMm, side: number) {
    this.#machine = new MachineParts(machine, { thread: NO_THREAD });
    this.mm = mmOf(this.#machine, slot, NO_THREAD);
    this.#ferried = FerriedPages.of(this.#machine, ferry, GRANULE_PAGES, side);
  }

  /** Begins a unit: fetches its unshared pages, and asks for those of another one, or -1. */
  begin(start: number, pages: number, nextStart: number): void {
    const ferried = this.#ferried;
    if (ferried === undefined) return;
    ferried.begin(this.mm, start);
    ferried.fetchUnit(this.mm, pages);
    if (nextStart >= 0) ferried.askAhead(this.mm, nextStart, GRANULE_PAGES);
  }

  isZero(vpn: number, content: number): boolean {
    const pfn = this.#number(vpn, content);
    return isZeroPage(this.mm.memory.wordsOf(pfn), this.mm.memory.wordAt(pfn));
  }

  /** The number of the page in this thread's view of memory that has the bytes of a frame. */
  #number(vpn: number, pfn: number): number {
    const ferried = this.#ferried;
    return ferried?.owns(pfn) === true ? ferried.numberOf(vpn, pfn) : pfn;
  }

  /**
   * The 4096 bytes of a page, or null if it has none that can be read. `content` is what contentOf
   * has returned for the page. The bytes are valid until the next call.
   */
  bytes(slot: number, vpn: number, content: number): Uint8Array | null {
    if (content > 0) return this.mm.memory.page(this.#number(vpn, content));
    if (content === CONTENT_OF.ZEROS) return ZEROS;
    if (content === CONTENT_OF.BACKED) {
      readBacked(this.mm, slot, vpn, this.#scratch);
      return this.#scratch;
    }
    if (content !== CONTENT_OF.FILE) return null;
    const file = this.mm.vmas.file(slot);
    const index = this.mm.vmas.fileIndex(slot, vpn);
    this.#scratch.fill(0);
    if (addressOf(index) >= this.mm.files.size(file)) return null;
    try {
      readBacking(this.mm, file, index, this.#scratch, addressOf(vpn));
    } catch (error) {
      if (error instanceof MmdumpError && error.code === 'SIGBUS') return null;
      throw error;
    }
    return this.#scratch;
  }

  close(): void {
    this.#machine.hostFiles.close();
  }
}
