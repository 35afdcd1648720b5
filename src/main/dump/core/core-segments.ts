/** The program headers of a core file that is written, from the runs that the workers report. */
import type { Mm } from '../../../mmu/mm/mm.ts';
import type { UnitRuns } from '../../../shared/dump/tasks/pass-task.ts';
import { CORE_PAGES_AT, isInCore } from '../../../shared/formats/elf/core-pages.ts';
import {
  headerBytes,
  putSegment,
  SEGMENT_FLAG,
  SEGMENT_TYPE,
} from '../../../shared/formats/elf/segments.ts';
import { viewOf } from '../../../shared/formats/elf/words.ts';
import { addressOf, PAGE_SIZE } from '../../../shared/page.ts';
import { VM } from '../../../shared/vm-flags.ts';

/** Numbers of a segment in the list: VMA, first page, pages, place in the file. */
const STRIDE = 4;
/** The place of a segment of which the file has nothing. */
const ABSENT = -1;

/** The segments of one mm, ascending, in one list of numbers. */
export class CoreSegments {
  readonly #mm: Mm;
  #list = new Float64Array(64 * STRIDE);
  #count = 0;
  #vma = 0;
  /** All pages below this are in a segment, or in no VMA. */
  #next = 0;

  constructor(mm: Mm) {
    this.#mm = mm;
  }

  get count(): number {
    return this.#count;
  }

  /** Adds the runs of a unit, whose pages begin at byte `offset`. Units are added in their order. */
  addUnit({ runs }: UnitRuns, offset: number): void {
    let place = offset;
    for (let run = 0; run < runs.length; run += 3) {
      if (!isInCore(runs[run + 2]!)) continue;
      const pages = runs[run + 1]!;
      this.#addStored(runs[run]!, pages, place);
      place += pages * PAGE_SIZE;
    }
  }

  /** Adds what is left of the VMAs, of which the file has nothing. */
  end(): void {
    this.#addAbsent(Number.POSITIVE_INFINITY);
  }

  /** Encodes the program headers, from byte `at` of `bytes` on. */
  encode(bytes: Uint8Array, at: number): void {
    const view = viewOf(bytes);
    const { vmas } = this.#mm;
    let place = CORE_PAGES_AT; // where the bytes of an absent segment would lie: elfutils looks at it
    for (let index = 0; index < this.#count; index++) {
      const item = index * STRIDE;
      const length = this.#list[item + 2]! * PAGE_SIZE;
      const isAbsent = this.#list[item + 3] === ABSENT;
      if (!isAbsent) place = this.#list[item + 3]!;
      putSegment(view, at + headerBytes(index), {
        type: SEGMENT_TYPE.LOAD,
        flags: segmentFlags(vmas.flags(vmas.slot(this.#list[item]!))),
        offset: place,
        address: addressOf(this.#list[item + 1]!),
        fileBytes: isAbsent ? 0 : length,
        bytes: length,
        align: PAGE_SIZE,
      });
      if (!isAbsent) place += length;
    }
  }

  #addStored(start: number, pages: number, place: number): void {
    this.#addAbsent(start);
    const last = (this.#count - 1) * STRIDE;
    const list = this.#list;
    const continues =
      last >= 0 &&
      list[last] === this.#vma &&
      list[last + 3] !== ABSENT &&
      list[last + 1]! + list[last + 2]! === start &&
      list[last + 3]! + list[last + 2]! * PAGE_SIZE === place;
    if (continues) list[last + 2]! += pages;
    else this.#push(start, pages, place);
    this.#next = start + pages;
  }

  /** Adds the pages of VMAs before page `to`, and goes on to the VMA that holds it. */
  #addAbsent(to: number): void {
    const { vmas } = this.#mm;
    for (; this.#vma < vmas.count; this.#vma++) {
      const slot = vmas.slot(this.#vma);
      const from = Math.max(this.#next, vmas.start(slot));
      const end = Math.min(to, vmas.end(slot));
      if (from < end) this.#push(from, end - from, ABSENT);
      if (to < vmas.end(slot)) return;
    }
  }

  #push(start: number, pages: number, place: number): void {
    const at = this.#count * STRIDE;
    if (at === this.#list.length) {
      const longer = new Float64Array(at * 2);
      longer.set(this.#list);
      this.#list = longer;
    }
    this.#list[at] = this.#vma;
    this.#list[at + 1] = start;
    this.#list[at + 2] = pages;
    this.#list[at + 3] = place;
    this.#count++;
  }
}

function segmentFlags(flags: number): number {
  return (
    ((flags & VM.READ) === 0 ? 0 : SEGMENT_FLAG.READ) |
    ((flags & VM.WRITE) === 0 ? 0 : SEGMENT_FLAG.WRITE) |
    ((flags & VM.EXEC) === 0 ? 0 : SEGMENT_FLAG.EXEC)
  );
}
