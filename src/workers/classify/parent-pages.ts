/**
 * Finds the pages of a unit that the parent image holds unchanged. A page is *in the parent* if its
 * class is COPY and the parent stores it, or has it in its own parent, at the same address of the
 * mm with the same ordinal, with the same XXH3-64. Its class becomes PARENT.
 *
 * It runs after the classification of a unit and before its size is computed. On a running machine
 * a page can change afterwards: then the image shows it as it was when it was compared.
 */
import type { PhysicalMemory } from '../../mmu/physical/physical-memory.ts';
import { type DirtyRanges, firstRangeFrom } from '../../shared/dump/dirty-ranges.ts';
import { PAGE_CLASS } from '../../shared/dump/page-class.ts';
import { PageDigestTable } from '../../shared/dump/page-digests.ts';
import { RUN } from '../../shared/dump/run-table.ts';
import type { ParentTask } from '../../shared/dump/tasks/pass-task.ts';
import type { WasmModule } from '../../shared/wasm.ts';
import type { FerriedPages } from '../ferry/ferried-pages.ts';
import { FrameDigests } from './frame-digests.ts';
import type { RunWriter } from './run-writer.ts';

const { OFFSET, COUNT, CLASS, SOURCE, WORDS } = RUN;
const { COPY, PARENT } = PAGE_CLASS;
const CLASS_BITS = 0xff;

/** Marks the pages of one unit after the other. Every worker has one object of its own. */
export class ParentPages {
  readonly #table: PageDigestTable;
  readonly #dirty: readonly (DirtyRanges | undefined)[] | undefined;
  readonly #digests: FrameDigests;
  readonly #ferried: FerriedPages | undefined;
  /** The runs of a unit while they are divided. */
  readonly #divided: Int32Array;
  #count = 0;

  /**
   * `module` is the module xxh3-inside. `unitPages`: pages of the longest unit. `ferried` has the
   * bytes of memory that is not shared.
   */
  constructor(
    task: ParentTask,
    memory: PhysicalMemory,
    unitPages: number,
    module: WasmModule,
    ferried?: FerriedPages,
  ) {
    this.#table = new PageDigestTable(task.pages);
    this.#dirty = task.dirty;
    this.#digests = new FrameDigests(memory, module);
    this.#divided = new Int32Array(unitPages * WORDS);
    this.#ferried = ferried;
  }

  /** Divides the COPY runs of a unit, which are in `found` from record `first` on. */
  mark(mm: number, unitStart: number, found: RunWriter, first: number): void {
    const { runs, runEnd, sources } = found;
    this.#count = 0;
    for (let run = first; run < runEnd; run++) {
      const at = run * WORDS;
      const word = runs[at + CLASS]!;
      const offset = runs[at + OFFSET]!;
      const count = runs[at + COUNT]!;
      const source = runs[at + SOURCE]!;
      const number = this.#table.numberOf(mm, unitStart + offset);
      if ((word & CLASS_BITS) !== COPY || number < 0) this.#put(offset, count, word, source);
      else this.#divide(mm, unitStart, offset, count, word, source, number, sources);
    }
    runs.set(this.#divided.subarray(0, this.#count * WORDS), first * WORDS);
    found.runEnd = first + this.#count;
  }

  /** Divides one run. `number` is the number of the digest of its first page in the parent. */
  #divide(
    mm: number,
    unitStart: number,
    offset: number,
    count: number,
    word: number,
    source: number,
    number: number,
    sources: Int32Array,
  ): void {
    const dirty = this.#dirty?.[mm];
    const known = this.#table.words;
    let range = dirty === undefined ? 0 : firstRangeFrom(dirty, unitStart + offset);
    let from = 0;
    let isInParent = false;
    for (let page = 0; page < count; page++) {
      const vpn = unitStart + offset + page;
      const low = known[(number + page) * 2]!;
      const high = known[(number + page) * 2 + 1]!;
      let isSame = low !== 0 || high !== 0;
      if (dirty !== undefined && vpn >= dirty[range * 2 + 1]!) range++;
      // A page before the next range cannot have changed. Without ranges every page is compared.
      if (isSame && (dirty === undefined || vpn >= dirty[range * 2]!)) {
        this.#digests.digest(this.#placeOf(vpn, sources[source + page]!));
        isSame = this.#digests.low === low && this.#digests.high === high;
      }
      if (page > from && isSame !== isInParent) {
        this.#part(offset + from, page - from, word, source + from, isInParent);
        from = page;
      }
      isInParent = isSame;
    }
    this.#part(offset + from, count - from, word, source + from, isInParent);
  }

  /** The number of the page that has the bytes of a frame, which page `vpn` of the mm shows. */
  #placeOf(vpn: number, pfn: number): number {
    const ferried = this.#ferried;
    return ferried?.owns(pfn) === true ? ferried.numberOf(vpn, pfn) : pfn;
  }

  #part(offset: number, count: number, word: number, source: number, isInParent: boolean): void {
    this.#put(offset, count, isInParent ? (word & ~CLASS_BITS) | PARENT : word, source);
  }

  #put(offset: number, count: number, word: number, source: number): void {
    const divided = this.#divided;
    const at = this.#count++ * WORDS;
    divided[at + OFFSET] = offset;
    divided[at + COUNT] = count;
    divided[at + CLASS] = word;
    divided[at + SOURCE] = source;
  }
}
