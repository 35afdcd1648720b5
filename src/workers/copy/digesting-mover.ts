/**
 * Copies frames, one behind the other, into a window, and computes the XXH3-64 of the bytes. How it
 * does so depends on how the frames lie. For each case this is the fastest way that was measured
 * (docs/PERFORMANCE.md, "Digests"):
 *
 *   long runs    one kernel copies a run and digests it while the bytes are in registers
 *   short runs   one kernel copies four pages and meanwhile digests the four pages before them,
 *                which are in the cache: the copy is 16 KiB ahead of the digest
 *   no kernel    if no kernel reaches the window, long runs are digested where they lie and copied
 *                by Uint8Array.set; short runs are gathered in a stage of the bank, digested there
 *                and copied from there
 *
 * A digest may cover frames of several banks, because all instances of the kernels share one state.
 *
 * The third way reads the bytes twice, once for the digest and once for the copy. So frames that
 * another thread may be writing, adopted ones above all, are only for windows that the kernels
 * reach (`reaches`). There the digest is always that of the bytes that arrive.
 */
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { BANK_MASK, BANK_SHIFT } from '../../mmu/physical/physical-memory.ts';
import { type DigestKernels, DigestState, digestKernels } from '../../shared/digest/xxh3.ts';
import type { StagingReservations } from '../../shared/dump/staging-reservations.ts';
import type { KernelModules } from '../../shared/kernels.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { WasmMemory } from '../../shared/wasm.ts';
import { type FrameKernels, frameKernels } from './frame-kernels.ts';
import { copyFourAt, endOfBank, gather, LONG_RUN_STAGED, runAt } from './frame-runs.ts';
import type { ImageWindow } from './image-window.ts';
import { shortRunsStage } from './staging.ts';

/** From this many neighbouring frames on, one fused copy is faster than copies of four pages. */
const LONG_RUN = 8;
const FOUR_PAGES = 4 * PAGE_SIZE;

// Local copies of what the loops use: see docs/decisions/hot-loops.md.
const SHIFT = BANK_SHIFT;
const MASK = BANK_MASK;
const PAGE_SHIFT = 12;

/** Kernels that read the frames of one bank and write to one memory. */
interface Reach {
  readonly copies: FrameKernels;
  readonly digests: DigestKernels;
  /** The byte of the memory at which the bank begins, as an i32. */
  readonly base: number;
}

/** Copies and digests the frames of one machine. Every worker has one object of its own. */
export class DigestingMover {
  /** The low and the high half of the digest that the last `move` has computed. */
  low = 0;
  high = 0;
  readonly #machine: MachineParts;
  readonly #copies: KernelModules;
  readonly #digests: KernelModules;
  readonly #reservations: StagingReservations | undefined;
  readonly #state = new DigestState();
  /** For the memory of a window, the kernels from each bank to it, or null if none reaches it. */
  readonly #reaches = new WeakMap<WasmMemory, (Reach | null | undefined)[]>();
  /** For each bank, the kernels that work inside it. */
  readonly #insides: (Reach | undefined)[] = [];
  /** The stage of each bank, or null if the bank has no reservation for one. */
  readonly #stages: (ImageWindow | null | undefined)[] = [];
  #sources: Int32Array = new Int32Array(0);
  /** Index in #sources after the last frame of the move. */
  #last = 0;
  /** Bytes directly before the place of the next page that are copied, but not digested yet. */
  #ahead = 0;

  /** If `reservations` is undefined, nothing is staged. */
  constructor(
    machine: MachineParts,
    copies: KernelModules,
    digests: KernelModules,
    reservations: StagingReservations | undefined,
  ) {
    this.#machine = machine;
    this.#copies = copies;
    this.#digests = digests;
    this.#reservations = reservations;
  }

  /** Whether kernels reach `into` from all frames sources[first] to sources[first + count - 1]. */
  reaches(sources: Int32Array, first: number, count: number, into: ImageWindow): boolean {
    const last = first + count;
    for (let index = first; index < last; index = endOfBank(sources, index, last)) {
      if (this.#reachOf(into.memory, sources[index]! >>> SHIFT) === null) return false;
    }
    return true;
  }

  /**
   * Copies the frames sources[first] to sources[first + count - 1] to byte `at` of `into`, and
   * leaves the digest of all their bytes in `low` and `high`.
   *
   * Preconditions: `count` is at least 1; `into` is reached from all frames that are adopted.
   */
  move(sources: Int32Array, first: number, count: number, into: ImageWindow, at: number): void {
    this.#sources = sources;
    this.#last = first + count;
    this.#ahead = 0;
    const last = this.#last;
    const banks = this.#machine.memory.bytes.length;
    let reach: Reach | null = null;
    for (let index = first; index < last; ) {
      const bank = sources[index]! >>> SHIFT;
      const end = banks === 1 ? last : endOfBank(sources, index, last);
      const next = this.#reachOf(into.memory, bank);
      if (index === first) (next ?? this.#insideOf(bank)).digests.begin();
      if (next === null) {
        if (reach !== null) this.#catchUp(reach.digests, into.at + at);
        this.#moveStaged(bank, index, end, into.bytes, at);
      } else {
        this.#moveDirect(next, index, end, into.at + at);
      }
      reach = next;
      at += (end - index) * PAGE_SIZE;
      index = end;
    }
    if (reach === null) return; // #moveStaged has finished the digest
    const ahead = this.#ahead;
    this.#finish(reach.digests, into.at + at - ahead, ahead);
  }

  #finish(digests: DigestKernels, at: number, bytes: number): void {
    this.low = digests.finish(at | 0, bytes);
    this.high = digests.high();
  }

  /** Digests the bytes before `to` that are copied, but not digested yet. */
  #catchUp(digests: DigestKernels, to: number): void {
    if (this.#ahead !== 0) digests.update((to - this.#ahead) | 0, this.#ahead);
    this.#ahead = 0;
  }

  /** Leaves at least one page for #finish to digest if the last frame of the move is included. */
  #moveDirect({ copies, digests, base }: Reach, index: number, end: number, at: number): void {
    const sources = this.#sources;
    let to = at | 0; // to a kernel, an address beyond 2 GiB is an i32 with the same bits
    while (index < end) {
      let pages = runAt(sources, index, end);
      const from = (((sources[index]! & MASK) << PAGE_SHIFT) + base) | 0;
      if (pages >= LONG_RUN) {
        this.#catchUp(digests, to);
        if (index + pages === this.#last) pages--; // the last page follows as a run of its own
        digests.copyAndUpdate(to, from, pages << PAGE_SHIFT);
      } else if (end - index < 4) {
        copies.copyRun(to, from, pages << PAGE_SHIFT);
        this.#ahead += pages << PAGE_SHIFT;
      } else {
        pages = 4;
        if (this.#ahead === FOUR_PAGES) {
          const two = (((sources[index + 1]! & MASK) << PAGE_SHIFT) + base) | 0;
          const three = (((sources[index + 2]! & MASK) << PAGE_SHIFT) + base) | 0;
          const four = (((sources[index + 3]! & MASK) << PAGE_SHIFT) + base) | 0;
          digests.copyFourAndUpdate(to, from, two, three, four);
        } else {
          this.#catchUp(digests, to);
          copyFourAt(copies, sources, index, to, base);
          this.#ahead = FOUR_PAGES;
        }
      }
      to = (to + (pages << PAGE_SHIFT)) | 0;
      index += pages;
    }
  }

  #moveStaged(bank: number, index: number, end: number, into: Uint8Array, at: number): void {
    const sources = this.#sources;
    const frames = this.#machine.memory.bytes[bank]!;
    const stage = this.#stageOf(bank);
    const { copies, digests } = this.#insideOf(bank);
    while (index < end) {
      let pages = runAt(sources, index, end);
      if (pages >= LONG_RUN_STAGED || end - index < 4 || stage === null) {
        const from = (sources[index]! & MASK) * PAGE_SIZE;
        this.#digest(digests, from, pages, index);
        into.set(frames.subarray(from, from + pages * PAGE_SIZE), at);
      } else {
        pages = gather(copies, sources, index, end, stage.at);
        this.#digest(digests, stage.at, pages, index);
        into.set(stage.bytes.subarray(0, pages * PAGE_SIZE), at);
      }
      at += pages * PAGE_SIZE;
      index += pages;
    }
  }

  /**
   * Digests pages that lie at byte `at` of the bank's memory. `index`: index of the first page in
   * #sources. Finishes the digest with the last page of the move.
   */
  #digest(digests: DigestKernels, at: number, pages: number, index: number): void {
    const bytes = pages * PAGE_SIZE;
    if (index + pages === this.#last) this.#finish(digests, at, bytes);
    else digests.update(at | 0, bytes);
  }

  #reachOf(memory: WasmMemory | undefined, bank: number): Reach | null {
    if (memory === undefined) return null;
    let reaches = this.#reaches.get(memory);
    if (reaches === undefined) {
      reaches = [];
      this.#reaches.set(memory, reaches);
    }
    const known = reaches[bank];
    if (known !== undefined) return known;
    const found = this.#newReach(memory, bank);
    reaches[bank] = found;
    return found;
  }

  #newReach(memory: WasmMemory, bank: number): Reach | null {
    const { memories, offsets } = this.#machine.memory;
    const frames = memories[bank];
    if (frames === undefined) return null;
    if (memory === frames) return this.#insideOf(bank);
    const { between: copies } = this.#copies;
    const { between: digests } = this.#digests;
    if (copies === undefined || digests === undefined) return null;
    return {
      copies: frameKernels(copies, frames, memory),
      digests: digestKernels(digests, frames, memory, this.#state),
      base: offsets[bank]! | 0,
    };
  }

  #insideOf(bank: number): Reach {
    const known = this.#insides[bank];
    if (known !== undefined) return known;
    const frames = this.#machine.memory.memories[bank]!;
    const inside: Reach = {
      copies: frameKernels(this.#copies.inside, frames, frames),
      digests: digestKernels(this.#digests.inside, frames, frames, this.#state),
      base: this.#machine.memory.offsets[bank]! | 0,
    };
    this.#insides[bank] = inside;
    return inside;
  }

  #stageOf(bank: number): ImageWindow | null {
    const known = this.#stages[bank];
    if (known !== undefined) return known;
    const stage = shortRunsStage(this.#machine, bank, this.#reservations);
    this.#stages[bank] = stage;
    return stage;
  }
}
