/**
 * Copies frames, one behind the other, into a window. There are three ways, which depend on what
 * Node supports and on how the frames lie (docs/PERFORMANCE.md has the costs):
 *
 *   direct   A kernel reaches the window, because the window lies in the memory of the frames, or
 *            because Node supports several memories per module. Long runs are copied by
 *            memory.copy, all others four pages at a time.
 *   staged   No kernel reaches the window. Short runs are gathered, four pages at a time, in a
 *            stage in the memory of the frames, which stays in the cache. One `set` copies them on.
 *   set      No kernel reaches the window, and the run is long, or nothing can be staged. It is
 *            copied by Uint8Array.set.
 */
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { BANK_MASK, BANK_SHIFT } from '../../mmu/physical/physical-memory.ts';
import type { StagingReservations } from '../../shared/dump/staging-reservations.ts';
import type { KernelModules } from '../../shared/kernels.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import { type FrameKernels, frameKernels } from './frame-kernels.ts';
import { copyFourAt, endOfBank, gather, LONG_RUN_STAGED, runAt } from './frame-runs.ts';
import type { ImageWindow } from './image-window.ts';
import { shortRunsStage } from './staging.ts';

/** From this many neighbouring frames on, memory.copy is as fast as copies of four pages. */
const LONG_RUN = 8;

// Local copies of what the loops use: see docs/decisions/hot-loops.md.
const SHIFT = BANK_SHIFT;
const MASK = BANK_MASK;
const PAGE_SHIFT = 12;

/** Where short runs of one bank are gathered, and the kernels that gather them. */
interface Stage {
  readonly kernels: FrameKernels;
  readonly window: ImageWindow;
}

/** Copies the frames of one machine. Every worker has one object of its own. */
export class FrameMover {
  readonly #machine: MachineParts;
  readonly #banks: readonly Uint8Array[];
  readonly #sources: Int32Array;
  readonly #modules: KernelModules | undefined;
  readonly #reservations: StagingReservations | undefined;
  /** The stage of each bank, or null if nothing can be staged there. */
  readonly #stages: (Stage | null | undefined)[] = [];

  /**
   * `sources`: frame numbers, in the order of the image. If `modules` is undefined, there are no
   * kernels. If `reservations` is undefined, nothing is staged.
   */
  constructor(
    machine: MachineParts,
    sources: Int32Array,
    modules: KernelModules | undefined,
    reservations: StagingReservations | undefined,
  ) {
    this.#machine = machine;
    this.#banks = machine.memory.bytes;
    this.#sources = sources;
    this.#modules = modules;
    this.#reservations = reservations;
  }

  /** Copies the frames sources[first] to sources[first + count - 1] to byte `at` of `into`. */
  move(first: number, count: number, into: ImageWindow, at: number): void {
    const last = first + count;
    for (let index = first; index < last; ) {
      const bank = this.#sources[index]! >>> SHIFT;
      const end = this.#banks.length === 1 ? last : endOfBank(this.#sources, index, last);
      const kernels = this.#kernelsTo(into, bank);
      if (kernels !== null) this.#moveDirect(kernels, bank, index, end, into.at + at);
      else this.#moveStaged(bank, index, end, into.bytes, at);
      at += (end - index) * PAGE_SIZE;
      index = end;
    }
  }

  /**
   * The bytes of the frames sources[first] to sources[first + count - 1] where they lie. Undefined
   * unless they are neighbours in one bank.
   */
  whole(first: number, count: number): Uint8Array | undefined {
    const pfn = this.#sources[first]!;
    const isWhole = endOfBank(this.#sources, first, first + count) === first + count;
    if (!isWhole || runAt(this.#sources, first, first + count) < count) return undefined;
    const from = (pfn & MASK) * PAGE_SIZE;
    return this.#banks[pfn >>> SHIFT]!.subarray(from, from + count * PAGE_SIZE);
  }

  #moveDirect(kernels: FrameKernels, bank: number, index: number, end: number, at: number): void {
    const sources = this.#sources;
    const base = this.#machine.memory.offsets[bank]! | 0;
    let to = at | 0; // to a kernel, an address beyond 2 GiB is an i32 with the same bits
    while (index < end) {
      const run = runAt(sources, index, end);
      let pages = run;
      if (run >= LONG_RUN || end - index < 4) {
        const from = (((sources[index]! & MASK) << PAGE_SHIFT) + base) | 0;
        kernels.copyRun(to, from, run << PAGE_SHIFT);
      } else {
        pages = 4;
        copyFourAt(kernels, sources, index, to, base);
      }
      to = (to + (pages << PAGE_SHIFT)) | 0;
      index += pages;
    }
  }

  #moveStaged(bank: number, index: number, end: number, into: Uint8Array, at: number): void {
    const frames = this.#banks[bank]!;
    const sources = this.#sources;
    const stage = this.#stageOf(bank);
    while (index < end) {
      let pages = runAt(sources, index, end);
      if (pages >= LONG_RUN_STAGED || end - index < 4 || stage === null) {
        const from = (sources[index]! & MASK) * PAGE_SIZE;
        into.set(frames.subarray(from, from + pages * PAGE_SIZE), at);
      } else {
        pages = gather(stage.kernels, sources, index, end, stage.window.at);
        into.set(stage.window.bytes.subarray(0, pages * PAGE_SIZE), at);
      }
      at += pages * PAGE_SIZE;
      index += pages;
    }
  }

  #kernelsTo(into: ImageWindow, bank: number): FrameKernels | null {
    const known = into.kernels[bank];
    if (known !== undefined) return known;
    const found = this.#newKernelsTo(into, bank);
    into.kernels[bank] = found;
    return found;
  }

  #newKernelsTo({ memory }: ImageWindow, bank: number): FrameKernels | null {
    const modules = this.#modules;
    if (modules === undefined || memory === undefined) return null;
    const frames = this.#machine.memory.memories[bank];
    if (frames === undefined) return null;
    if (memory === frames) return frameKernels(modules.inside, frames, frames);
    if (modules.between === undefined) return null;
    return frameKernels(modules.between, frames, memory);
  }

  #stageOf(bank: number): Stage | null {
    const known = this.#stages[bank];
    if (known !== undefined) return known;
    const modules = this.#modules;
    const window = shortRunsStage(this.#machine, bank, this.#reservations);
    const memory = window?.memory;
    const stage =
      modules && window && memory
        ? { kernels: frameKernels(modules.inside, memory, memory), window }
        : null;
    this.#stages[bank] = stage;
    return stage;
  }
}
