/**
 * A worker's end of a ferry: its two berths, whose pages are one more bank of the worker's view of
 * physical memory. A page in a berth has a number like a frame's there, by which the zero test, the
 * digests, the copies and comparisons reach it. Such a number never stands in an entry, and it has
 * no page struct.
 *
 * A task that runs in the thread that owns the memory needs no ferry: it carries its loads itself.
 */
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { carryLoad } from '../../mmu/physical/carry.ts';
import { BANK_FRAMES, BANK_MASK, type PhysicalMemory } from '../../mmu/physical/physical-memory.ts';
import {
  BERTHS,
  type Berth,
  berthsOf,
  berthWords,
  type FerryReach,
} from '../../shared/dump/ferry.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import { Memory, WASM_PAGE, type WasmMemory } from '../../shared/wasm.ts';

/** Buffers of this thread for tasks without a ferry, one for each of the two sides of a compare. */
const kept: (WasmMemory | undefined)[] = [];

/** A memory of at least `bytes` bytes. */
function keptMemory(side: number, bytes: number): WasmMemory {
  const known = kept[side];
  if (known !== undefined && known.buffer.byteLength >= bytes) return known;
  const pages = Math.ceil(bytes / WASM_PAGE);
  const memory = new Memory({ initial: pages, maximum: pages, shared: true });
  kept[side] = memory;
  return memory;
}

/** The two berths of one worker and one machine. */
export class Passage {
  /** Pages of one berth. */
  readonly pages: number;
  /** The number of the first page of berth 0. Berth 1 follows. */
  readonly base: number;
  readonly #memory: PhysicalMemory;
  readonly #berths: readonly [Berth, Berth];
  readonly #bell: Int32Array | undefined;
  readonly #buffer: Uint8Array;
  /** Whether a load was asked for whose end was not awaited. */
  readonly #isUnderWay: [boolean, boolean] = [false, false];

  /**
   * `reach` is undefined in the thread that owns the memory. `side`: see `kept`. `pages`: pages of
   * one berth where there is no ferry.
   */
  constructor({ memory }: MachineParts, reach: FerryReach | undefined, pages: number, side = 0) {
    this.#memory = memory;
    this.pages = reach?.pages ?? pages;
    const bytes = this.pages * BERTHS * PAGE_SIZE;
    const buffer = reach?.memory ?? keptMemory(side, bytes);
    const words = new SharedArrayBuffer(reach ? 0 : berthWords(this.pages) * BERTHS * 4);
    this.#berths = berthsOf(reach?.berths ?? words, this.pages);
    this.#bell = reach && new Int32Array(reach.bell);
    this.base = memory.addBank(buffer, bytes);
    this.#buffer = memory.bytesOf(this.base);
  }

  /** Begins the list of a load. Waits for the load before. */
  begin(berth: number, kind: number): void {
    this.await(berth);
    this.#berths[berth]!.begin(kind);
  }

  /**
   * Adds `pages` frames from `pfn` on to the list, for pages `page`, … of the berth. Frames of two
   * banks become two runs.
   */
  add(berth: number, pfn: number, page: number, pages: number): void {
    for (let done = 0; done < pages; ) {
      const inBank = BANK_FRAMES - ((pfn + done) & BANK_MASK);
      const count = Math.min(inBank, pages - done);
      this.#berths[berth]!.add(pfn + done, berth * this.pages + page + done, count);
      done += count;
    }
  }

  /** Asks for the load whose list is complete. An empty one is not asked for. */
  ask(berth: number): void {
    const load = this.#berths[berth]!;
    if (load.count === 0) return;
    if (this.#bell === undefined) {
      load.ask(UNHEARD);
      carryLoad(this.#memory, load, this.#buffer);
      load.done(true);
    } else {
      load.ask(this.#bell);
    }
    this.#isUnderWay[berth] = true;
  }

  /** Waits until the load of the berth is carried. */
  await(berth: number): void {
    if (!this.#isUnderWay[berth]) return;
    const isCarried = this.#berths[berth]!.await();
    this.#isUnderWay[berth] = false;
    // The thread that owns the memory has failed, and its job rejects with the reason.
    if (!isCarried) throw new MmdumpError('BANK_UNREACHABLE', 'the pages of a bank did not arrive');
  }
}

/** The bell of a thread that carries its loads itself. */
const UNHEARD = new Int32Array(new SharedArrayBuffer(4));
