/**
 * The first walk over a classified unit of a dump that becomes an ELF core file. The unit's part of
 * the file is its pages and nothing else: those with content and those of zeros, in the order of
 * addresses. The program headers are made by the coordinator, from the runs that workers report.
 */
import { PAGE_CLASS } from '../../shared/dump/page-class.ts';
import { classOf, ruleOf } from '../../shared/dump/run-table.ts';
import { RAW_PIECE, SegmentCut } from '../../shared/dump/segment-cut.ts';
import type { UnsupportedRun } from '../../shared/dump/tasks/pass-task.ts';
import { isInCore } from '../../shared/formats/elf/core-pages.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { Sizer } from './sizer.ts';
import type { SizerInput } from './unit-sizer.ts';

const { COPY, UNSUPPORTED } = PAGE_CLASS;

/** Sizes one unit after the other. */
export class CoreSizer implements Sizer {
  bytes = 0;
  segments = 0;
  copied = 0;
  readonly unsupported: UnsupportedRun[] = [];
  /** A core holds one mm, so no page of it is a clone. */
  readonly joins: number[] = [];
  readonly #input: SizerInput;
  readonly #cut = new SegmentCut();

  constructor(input: SizerInput) {
    this.#input = input;
  }

  begin(_ordinal: number, lead: number): void {
    this.bytes = 0;
    this.segments = 0;
    this.copied = 0;
    this.#raw(lead);
  }

  end(trail: number): void {
    this.#raw(trail);
    if (this.#cut.end()) this.segments++;
  }

  vma(): void {}

  run(vma: number, start: number, count: number, word: number): void {
    const pageClass = classOf(word);
    this.#input.tallies.add(vma, pageClass, count);
    if (pageClass === UNSUPPORTED) {
      this.unsupported.push({ mm: 0, start, pages: count, rule: ruleOf(word) });
    }
    if (pageClass === COPY) this.copied += count;
    if (isInCore(word)) this.#place(count * PAGE_SIZE);
  }

  #place(bytes: number): void {
    this.bytes += bytes;
    if (this.#cut.place(bytes)) this.segments++;
  }

  #raw(bytes: number): void {
    for (let left = bytes; left > 0; left -= RAW_PIECE) this.#place(Math.min(left, RAW_PIECE));
  }
}
