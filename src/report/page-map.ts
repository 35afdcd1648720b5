/**
 * The pages of an mm, laid out on one line: its mappings in order, each as wide as the root of its
 * number of pages, so that small ones can be seen beside a terabyte, and narrow gaps between those
 * that do not touch. Inside a mapping all pages are equally wide.
 *
 * All pages are numbered from 0 on, without gaps ("number of a page"). There may be millions of
 * runs, so what lies between two places comes from sums that are kept for every 64th run.
 */
import { PAGE_SIZE } from '../shared/page.ts';
import { RunReader } from '../shared/report/page-runs.ts';
import { PAGE_KINDS, type ReportMm, type ReportVma } from '../shared/report/report-data.ts';
import { fromBase64 } from './bytes.ts';

const KINDS = PAGE_KINDS.length;
/** Runs from one kept sum to the next. */
const STRIDE = 64;
/** Width of a gap, where a mapping of one page has 1. */
const GAP = 2;

/** A page, as the map finds it. */
export interface FoundPage {
  readonly vma: number;
  readonly address: number;
  /** Index of PAGE_KINDS. */
  readonly kind: number;
  /** COPY: its byte in the image. CLONE: the donor. */
  readonly where: number;
}

export class PageMap {
  readonly vmas: readonly ReportVma[];
  /** Number of the first page of each mapping, and of the end. */
  readonly #firsts: Float64Array;
  /** Where each mapping begins on the line, and the end. */
  readonly #lefts: Float64Array;
  readonly #widths: Float64Array;
  readonly #starts: Float64Array; // number of the first page of each run
  readonly #kinds: Uint8Array;
  readonly #wheres: Float64Array;
  /** Pages of each kind before every STRIDEth run. */
  readonly #sums: Float64Array;
  /** Width of the pages of each kind in all mappings before each one. */
  readonly #widthSums: Float64Array;
  /** Pages of each kind in each mapping. */
  readonly #totals: Float64Array;
  readonly #here = new Float64Array(KINDS);
  readonly #there = new Float64Array(KINDS);

  constructor({ vmas, runs, runCount }: ReportMm) {
    this.vmas = vmas;
    this.#firsts = new Float64Array(vmas.length + 1);
    this.#lefts = new Float64Array(vmas.length + 1);
    this.#widths = new Float64Array(vmas.length);
    this.#starts = new Float64Array(runCount + 1);
    this.#kinds = new Uint8Array(runCount);
    this.#wheres = new Float64Array(runCount);
    this.#sums = new Float64Array((Math.floor(runCount / STRIDE) + 1) * KINDS);
    this.#widthSums = new Float64Array((vmas.length + 1) * KINDS);
    this.#totals = new Float64Array(vmas.length * KINDS);
    this.#placeMappings();
    this.#readRuns(new RunReader(fromBase64(runs)));
    this.#sumWidths();
  }

  /** Width of the whole line. */
  get width(): number {
    return this.#lefts[this.vmas.length]!;
  }

  /** Pages of all mappings. */
  get pages(): number {
    return this.#firsts[this.vmas.length]!;
  }

  /** Pages of a kind in a mapping. */
  total(vma: number, kind: number): number {
    return this.#totals[vma * KINDS + kind]!;
  }

  /** Bytes of a mapping in front of `address`, as a place on the line. */
  placeOf(vma: number, address: number): number {
    const { s, e } = this.vmas[vma]!;
    return this.#lefts[vma]! + ((address - s) / (e - s)) * this.#widths[vma]!;
  }

  /** Width of one page of a mapping. */
  pageWidth(vma: number): number {
    return this.#widths[vma]! / (this.#firsts[vma + 1]! - this.#firsts[vma]!);
  }

  /** Where a mapping ends on the line; behind it there may be a gap. */
  rightOf(vma: number): number {
    return this.#lefts[vma]! + this.#widths[vma]!;
  }

  leftOf(vma: number): number {
    return this.#lefts[vma]!;
  }

  /** The last mapping that begins at `place` or before it. */
  vmaAt(place: number): number {
    return Math.max(0, lastUpTo(this.#lefts, this.vmas.length, place));
  }

  /** The mapping that holds an address, or -1. */
  vmaOf(address: number): number {
    let low = 0;
    let high = this.vmas.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.vmas[middle]!.e > address) high = middle;
      else low = middle + 1;
    }
    const found = this.vmas[low];
    return found !== undefined && found.s <= address ? low : -1;
  }

  /** The page at a place; undefined in a gap. */
  pageAt(place: number): FoundPage | undefined {
    const vma = this.vmaAt(place);
    const inside = place - this.#lefts[vma]!;
    if (this.vmas.length === 0 || inside < 0 || inside >= this.#widths[vma]!) return undefined;
    const pages = this.#firsts[vma + 1]! - this.#firsts[vma]!;
    const page = Math.min(pages - 1, Math.floor((inside / this.#widths[vma]!) * pages));
    return this.page(vma, this.vmas[vma]!.s + page * PAGE_SIZE);
  }

  /** The page of a mapping that holds an address. */
  page(vma: number, address: number): FoundPage {
    const { s } = this.vmas[vma]!;
    const page = Math.floor((address - s) / PAGE_SIZE);
    const number = this.#firsts[vma]! + page;
    const run = lastUpTo(this.#starts, this.#kinds.length, number);
    const kind = this.#kinds[run]!;
    const ahead = PAGE_KINDS[kind] === 'copy' ? (number - this.#starts[run]!) * PAGE_SIZE : 0;
    return { vma, address: s + page * PAGE_SIZE, kind, where: this.#wheres[run]! + ahead };
  }

  /** Adds to `into` the widths that pages of each kind have between two places of the line. */
  addShares(from: number, to: number, into: Float64Array): void {
    into.fill(0);
    if (this.vmas.length === 0) return;
    const first = this.vmaAt(from);
    const last = this.vmaAt(to);
    if (first === last) {
      this.#addPart(first, from, to, into);
      return;
    }
    this.#addPart(first, from, this.rightOf(first), into);
    this.#addPart(last, this.#lefts[last]!, to, into);
    for (let kind = 0; kind < KINDS; kind++) {
      into[kind]! +=
        this.#widthSums[last * KINDS + kind]! - this.#widthSums[(first + 1) * KINDS + kind]!;
    }
  }

  /** Lengths of the runs of pages with bytes: how many runs have 1, 2 to 3, 4 to 7 … pages. */
  runLengths(): number[] {
    const counts: number[] = [];
    for (let run = 0; run < this.#kinds.length; run++) {
      if (PAGE_KINDS[this.#kinds[run]!] !== 'copy') continue;
      const bin = Math.floor(Math.log2(this.#starts[run + 1]! - this.#starts[run]!));
      while (counts.length <= bin) counts.push(0);
      counts[bin]!++;
    }
    return counts;
  }

  /** Pages of clones by their donors. */
  clonesByDonor(): Map<number, number> {
    const donors = new Map<number, number>();
    for (let run = 0; run < this.#kinds.length; run++) {
      if (PAGE_KINDS[this.#kinds[run]!] !== 'clone') continue;
      const donor = this.#wheres[run]!;
      const pages = this.#starts[run + 1]! - this.#starts[run]!;
      donors.set(donor, (donors.get(donor) ?? 0) + pages);
    }
    return donors;
  }

  #placeMappings(): void {
    let first = 0;
    let left = 0;
    this.vmas.forEach(({ s, e }, vma) => {
      const pages = (e - s) / PAGE_SIZE;
      this.#firsts[vma] = first;
      this.#lefts[vma] = left;
      this.#widths[vma] = Math.sqrt(pages);
      first += pages;
      left += this.#widths[vma]!;
      const next = this.vmas[vma + 1];
      if (next !== undefined && next.s > e) left += GAP;
    });
    this.#firsts[this.vmas.length] = first;
    this.#lefts[this.vmas.length] = left;
  }

  #readRuns(reader: RunReader): void {
    const before = new Float64Array(KINDS);
    let number = 0;
    let vma = 0;
    for (let run = 0; reader.next(); run++) {
      while (number >= this.#firsts[vma + 1]!) vma++;
      this.#totals[vma * KINDS + reader.kind]! += reader.pages;
      if (run % STRIDE === 0) this.#sums.set(before, (run / STRIDE) * KINDS);
      this.#starts[run] = number;
      this.#kinds[run] = reader.kind;
      this.#wheres[run] = reader.where;
      before[reader.kind]! += reader.pages;
      number += reader.pages;
    }
    this.#starts[this.#kinds.length] = number;
    if (this.#kinds.length % STRIDE === 0) {
      this.#sums.set(before, (this.#kinds.length / STRIDE) * KINDS);
    }
  }

  #sumWidths(): void {
    for (let vma = 0; vma < this.vmas.length; vma++) {
      const width = this.pageWidth(vma);
      for (let at = vma * KINDS; at < (vma + 1) * KINDS; at++) {
        this.#widthSums[at + KINDS] = this.#widthSums[at]! + this.#totals[at]! * width;
      }
    }
  }

  #addPart(vma: number, from: number, to: number, into: Float64Array): void {
    const left = this.#lefts[vma]!;
    const width = this.#widths[vma]!;
    const begin = Math.max(0, from - left);
    const end = Math.min(width, to - left);
    if (end <= begin) return;
    const first = this.#firsts[vma]!;
    const perPage = this.pageWidth(vma);
    this.#sumUpTo(first + begin / perPage, this.#here);
    this.#sumUpTo(first + end / perPage, this.#there);
    for (let kind = 0; kind < KINDS; kind++) {
      into[kind]! += (this.#there[kind]! - this.#here[kind]!) * perPage;
    }
  }

  /** Sets `into` to the pages of each kind before page `number`, which may be a fraction. */
  #sumUpTo(number: number, into: Float64Array): void {
    const count = this.#kinds.length;
    const run = Math.max(0, lastUpTo(this.#starts, count, number));
    const kept = Math.floor(run / STRIDE);
    for (let kind = 0; kind < KINDS; kind++) into[kind] = this.#sums[kept * KINDS + kind]!;
    for (let at = kept * STRIDE; at < run; at++) {
      into[this.#kinds[at]!]! += this.#starts[at + 1]! - this.#starts[at]!;
    }
    if (run < count) into[this.#kinds[run]!]! += number - this.#starts[run]!;
  }
}

/** Index of the last of the first `count` values, which ascend, that is at most `value`; or -1. */
function lastUpTo(values: Float64Array, count: number, value: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (values[middle]! <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
