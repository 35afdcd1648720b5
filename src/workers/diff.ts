/** The diff phase: reads pages of two images and compares them byte by byte. */

import { PagePairs, type PairPlace, ZEROS } from '../shared/dump/page-pairs.ts';
import type { DiffTask } from '../shared/dump/tasks/diff-task.ts';
import type { PhaseReport } from '../shared/dump/tasks/phase-task.ts';
import type { Outcome } from '../shared/errors.ts';
import { KiB, PAGE_SIZE, WORDS_PER_PAGE } from '../shared/page.ts';
import { PackedBlocks } from './task/packed-blocks.ts';
import { Reader } from './task/read-at.ts';
import { runUnits } from './task/run-units.ts';

/** Pages that are read at once, so that both sides stay in the core's own cache. */
const PAGES_AT_ONCE = (128 * KiB) / PAGE_SIZE;

/** Compares the stretches of the units that this worker claims, and writes the results. */
export function diff(task: DiffTask): Outcome<PhaseReport> {
  const pairs = new PagePairs(task.stretches, task.results);
  const unitStarts = new Int32Array(task.unitStarts);
  const left = new Side(task.left);
  const right = new Side(task.right);
  return runUnits(task, task.unitCount, (unit) => {
    let pages = 0;
    let bytes = 0;
    for (let index = unitStarts[unit]!; index < unitStarts[unit + 1]!; index++) {
      const count = pairs.pages(index);
      const first = pairs.first(index);
      left.begin(pairs.left(index));
      right.begin(pairs.right(index));
      for (let done = 0; done < count; done += PAGES_AT_ONCE) {
        const some = Math.min(PAGES_AT_ONCE, count - done);
        left.load(done, some);
        right.load(done, some);
        comparePages(left, right, some, pairs, first + done);
      }
      pages += count;
      bytes += pairs.bytes(index);
    }
    return { pages, bytes };
  });
}

/** Compares the first `pages` pages that both sides have loaded. */
function comparePages(
  left: Side,
  right: Side,
  pages: number,
  pairs: PagePairs,
  firstResult: number,
): void {
  const end = pages * PAGE_SIZE;
  if (left.buffer.compare(right.buffer, 0, end, 0, end) === 0) return;
  for (let page = 0; page < pages; page++) {
    const from = page * PAGE_SIZE;
    const to = from + PAGE_SIZE;
    if (left.buffer.compare(right.buffer, from, to, from, to) === 0) continue;
    comparePage(left, right, page, pairs, firstResult + page);
  }
}

/** Finds the bytes that differ. Words are compared first, since most of them are equal. */
function comparePage(
  left: Side,
  right: Side,
  page: number,
  pairs: PagePairs,
  result: number,
): void {
  const a = left.words;
  const b = right.words;
  const start = page * WORDS_PER_PAGE;
  let first = -1;
  let count = 0;
  for (let at = start; at < start + WORDS_PER_PAGE; at++) {
    const bits = a[at]! ^ b[at]!;
    if (bits === 0) continue;
    for (let byte = 0; byte < 4; byte++) {
      if (((bits >>> (byte * 8)) & 0xff) === 0) continue;
      count++;
      if (first < 0) first = (at - start) * 4 + byte;
    }
  }
  pairs.setDifferent(result, first, count);
}

const NOWHERE: PairPlace = { place: ZEROS, packed: 0, whole: 0, skip: 0 };

/** One of the two images, as this worker reads it. */
class Side {
  readonly #reader: Reader;
  readonly #read = Buffer.alloc(PAGES_AT_ONCE * PAGE_SIZE);
  readonly #zeros = Buffer.alloc(PAGES_AT_ONCE * PAGE_SIZE);
  readonly #readWords = wordsOf(this.#read);
  readonly #zeroWords = wordsOf(this.#zeros);
  readonly #blocks: PackedBlocks;
  #at: PairPlace = NOWHERE;

  constructor(source: DiffTask['left']) {
    this.#reader = new Reader(source);
    this.#blocks = new PackedBlocks(this.#reader);
  }

  /** The pages that were loaded last. */
  get buffer(): Buffer {
    return this.#at.place === ZEROS ? this.#zeros : this.#read;
  }

  /** The same as `buffer`, in words. */
  get words(): Int32Array {
    return this.#at.place === ZEROS ? this.#zeroWords : this.#readWords;
  }

  /** Begins a stretch. */
  begin(at: PairPlace): void {
    this.#at = at;
  }

  /** Loads `pages` pages from page `from` of the stretch on. */
  load(from: number, pages: number): void {
    const { place, packed, whole, skip } = this.#at;
    if (place === ZEROS) return;
    const start = from * PAGE_SIZE;
    const length = pages * PAGE_SIZE;
    if (packed === 0) this.#reader.read(this.#read, 0, length, place + start);
    else {
      const block = this.#blocks.pages(place, packed, whole);
      this.#read.set(block.subarray(skip + start, skip + start + length));
    }
  }
}

function wordsOf({ buffer, byteOffset, byteLength }: Buffer): Int32Array {
  return new Int32Array(buffer, byteOffset, byteLength / 4);
}
