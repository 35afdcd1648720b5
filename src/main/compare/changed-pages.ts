/**
 * Finds the pages that have changed. The records tell what need not be read; all workers read and
 * compare the rest, in rounds, so that the tables of a comparison do not grow with the images.
 */
import { PagePairs, type PairPlace, pagePairBytes } from '../../shared/dump/page-pairs.ts';
import { GiB, MiB, PAGE_SIZE } from '../../shared/page.ts';
import type { WorkerPool } from '../crew/pool.ts';
import { cutIntoUnits } from '../crew/units.ts';
import { whileIntact } from '../image/source/byte-source.ts';
import { ProgressPace } from '../job/progress.ts';
import { Yielder } from '../job/stop.ts';
import type { ChangedPage, ClassChange, DiffOptions } from './diff-report.ts';
import { PAGES_MAX } from './diff-report.ts';
import { type ImageSide, isTold, type Piece, ZERO_PLACE } from './image-side.ts';
import type { MappingPair } from './mapping-pairs.ts';

/** Pages that are compared in one phase. Their results take 4 bytes per page. */
const PAGES_AT_ONCE = GiB / PAGE_SIZE;
/** Bytes per unit of a phase. */
const UNIT_BYTES = 2 * MiB;

/** Pages that wait for the next round. */
interface Waiting {
  readonly mm: number;
  readonly left: number; //  address
  readonly right: number; // address
  readonly leftAt: PairPlace;
  readonly rightAt: PairPlace;
  readonly pages: number;
}

/** What was counted in one mm. */
export interface PageTally {
  pages: number;
  changed: number;
  reclassified: number;
}

export class PageChanges {
  readonly changedPages: ChangedPage[] = [];
  readonly classChanges: ClassChange[] = [];
  /** By mm. */
  readonly tallies: Map<number, PageTally> = new Map();
  unlisted = 0;
  bytesRead = 0;
  readonly #pool: WorkerPool;
  readonly #left: ImageSide;
  readonly #right: ImageSide;
  readonly #options: DiffOptions;
  readonly #most: number;
  readonly #totalPages: number;
  readonly #pace = new ProgressPace();
  readonly #yielder: Yielder;
  #waiting: Waiting[] = [];
  #waitingPages = 0;
  /** Pages that need no further look. */
  #pagesDone = 0;
  /** The run of pages with another class that may go on. */
  #run: ClassChange | null = null;

  constructor(
    pool: WorkerPool,
    left: ImageSide,
    right: ImageSide,
    totalPages: number,
    options: DiffOptions,
  ) {
    this.#pool = pool;
    this.#left = left;
    this.#right = right;
    this.#totalPages = totalPages;
    this.#options = options;
    this.#most = options.maxPages ?? PAGES_MAX;
    this.#yielder = new Yielder(options.signal);
  }

  /** Compares the pages of two mappings of the mm with this ordinal. */
  async compare(ordinal: number, pair: MappingPair): Promise<void> {
    const leftMm = this.#left.contents.mm(ordinal);
    const rightMm = this.#right.contents.mm(ordinal);
    let a: Piece | undefined;
    let b: Piece | undefined;
    for (let done = 0; done < pair.bytes; ) {
      if (this.#yielder.isDue()) await this.#yielder.yield();
      const rest = (pair.bytes - done) / PAGE_SIZE;
      a ??= this.#left.look(leftMm, pair.left + done, rest);
      b ??= this.#right.look(rightMm, pair.right + done, rest);
      const pages = Math.min(a.pages, b.pages);
      this.#add(ordinal, pair.left + done, pair.right + done, pages, a, b);
      a = restOf(a, pages);
      b = restOf(b, pages);
      if (this.#waitingPages >= PAGES_AT_ONCE) await this.#compareWaiting();
      done += pages * PAGE_SIZE;
    }
    this.#endRun();
  }

  /** Compares what still waits. */
  async finish(): Promise<void> {
    await this.#compareWaiting();
    this.#options.onProgress?.({ pages: this.#totalPages, totalPages: this.#totalPages });
  }

  /** What was counted in the mm with this ordinal. */
  tally(mm: number): PageTally {
    const tally = this.tallies.get(mm) ?? { pages: 0, changed: 0, reclassified: 0 };
    this.tallies.set(mm, tally);
    return tally;
  }

  #add(mm: number, left: number, right: number, pages: number, a: Piece, b: Piece): void {
    const isKnown = a.content !== 'unknown' && b.content !== 'unknown';
    const tally = this.tally(mm);
    tally.pages += pages;
    if (a.state !== b.state || (!isKnown && a.content !== b.content)) {
      tally.reclassified += pages;
      this.#reclassify({ mm, left, right, pages, from: a.state, to: b.state, known: isKnown });
    }
    const isSame = a.content === 'zeros' && b.content === 'zeros';
    if (!isKnown || isSame || isTold(a, b)) {
      this.#pagesDone += pages;
      return;
    }
    const leftAt = a.content === 'zeros' ? ZERO_PLACE : a.at;
    const rightAt = b.content === 'zeros' ? ZERO_PLACE : b.at;
    this.#waiting.push({ mm, left, right, leftAt, rightAt, pages });
    this.#waitingPages += pages;
  }

  /** Adds a run of pages with another class, which may continue the last one. */
  #reclassify(change: ClassChange): void {
    const run = this.#run;
    const bytes = (run?.pages ?? 0) * PAGE_SIZE;
    const continues =
      run !== null &&
      run.mm === change.mm &&
      run.left + bytes === change.left &&
      run.right + bytes === change.right &&
      run.from === change.from &&
      run.to === change.to &&
      run.known === change.known;
    if (continues) {
      this.#run = { ...run, pages: run.pages + change.pages };
      return;
    }
    this.#endRun();
    this.#run = change;
  }

  #endRun(): void {
    if (this.#run === null) return;
    if (this.classChanges.length < this.#most) this.classChanges.push(this.#run);
    else this.unlisted++;
    this.#run = null;
  }

  async #compareWaiting(): Promise<void> {
    const waiting = this.#waiting;
    if (waiting.length === 0) return;
    const stretches = new SharedArrayBuffer(pagePairBytes(waiting.length));
    const results = new SharedArrayBuffer(this.#waitingPages * 4);
    const pairs = new PagePairs(stretches, results);
    let first = 0;
    let bytes = 0;
    waiting.forEach(({ leftAt, rightAt, pages }, index) => {
      pairs.set(index, leftAt, rightAt, pages, first);
      first += pages;
      bytes += pairs.bytes(index);
    });
    const units = cutIntoUnits(waiting.length, (index) => pairs.bytes(index), UNIT_BYTES);
    const crew = this.#pool.crew({ units: units.unitCount, bytes, mayRunHere: true });
    const left = this.#left.contents;
    const right = this.#right.contents;
    const task = { ...units, left: left.reach, right: right.reach, stretches, results };
    const { signal, onProgress } = this.#options;
    const tell =
      onProgress &&
      (({ pages }: { pages: number }) =>
        onProgress({ pages: this.#pagesDone + pages, totalPages: this.#totalPages }));
    await whileIntact(left, () =>
      whileIntact(right, () =>
        this.#pool
          .phase('diff', crew)
          .run(() => task, { signal, onProgress: tell, pace: this.#pace }),
      ),
    );
    this.bytesRead += bytes;
    this.#pagesDone += this.#waitingPages;
    for (const [index, one] of waiting.entries()) await this.#takeResults(one, pairs, index);
    this.#waiting = [];
    this.#waitingPages = 0;
  }

  async #takeResults(
    { mm, left, right, pages }: Waiting,
    pairs: PagePairs,
    index: number,
  ): Promise<void> {
    if (this.#yielder.isDue()) await this.#yielder.yield();
    const tally = this.tally(mm);
    const first = pairs.first(index);
    for (let page = 0; page < pages; page++) {
      if (!pairs.isDifferent(first + page)) continue;
      tally.changed++;
      if (this.changedPages.length >= this.#most) {
        this.unlisted++;
        continue;
      }
      const bytes = page * PAGE_SIZE;
      const firstByte = pairs.offset(first + page);
      const differentBytes = pairs.differentBytes(first + page);
      const place = { mm, left: left + bytes, right: right + bytes };
      this.changedPages.push({ ...place, firstByte, differentBytes });
    }
  }
}

/** What is left of a piece behind its first `pages` pages; undefined if there is nothing. */
function restOf(piece: Piece, pages: number): Piece | undefined {
  if (piece.pages === pages) return undefined;
  const { at, offset } = piece;
  const bytes = pages * PAGE_SIZE;
  const rest = { ...piece, pages: piece.pages - pages, block: null };
  if (at.packed > 0) return { ...rest, at: { ...at, skip: at.skip + bytes } };
  return { ...rest, at: { ...at, place: at.place + bytes }, offset: offset + bytes };
}
