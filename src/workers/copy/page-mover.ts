/**
 * Copies the pages of a block from their frames into the image, and digests them for its record.
 */
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { BANK_FRAMES } from '../../mmu/physical/physical-memory.ts';
import { DIGEST, type DigestKind } from '../../shared/digest/digest-kind.ts';
import { PayloadDigest } from '../../shared/digest/payload-digest.ts';
import { type DigestKernels, DigestState, digestKernels } from '../../shared/digest/xxh3.ts';
import type { PassTask } from '../../shared/dump/tasks/pass-task.ts';
import type { KernelModules } from '../../shared/kernels.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { WasmMemory } from '../../shared/wasm.ts';
import { DigestingMover } from './digesting-mover.ts';
import { FrameMover } from './frame-mover.ts';
import type { ImageWindow } from './image-window.ts';

/** Pages that are copied before they are digested, while they are in the second-level cache. */
const PAGES_BEHIND = 32;

/** What a mover needs to know of its pass. */
export type MoverTask = Pick<
  PassTask,
  'kernels' | 'digestKernels' | 'digest' | 'reservations' | 'running'
>;

/** Copies pages in one of two ways, with the digest that the dump asks for. */
export class PageMover {
  /** Whether `move` computes a digest. */
  readonly hasDigest: boolean;
  /** The low and the high half of the digest of the last `move`. A crc32 is the low half. */
  low = 0;
  high = 0;
  /** The halves of the digest that the last `digestPage` computed, as signed words. */
  pageLow = 0;
  pageHigh = 0;
  readonly #sources: Int32Array;
  readonly #plain: FrameMover;
  /** For XXH3: copies and digests at once. */
  readonly #digesting?: DigestingMover;
  /**
   * For crc32, and for XXH3 where frames may be written meanwhile: digests the bytes that have
   * arrived in the window.
   */
  readonly #behind: PayloadDigest;
  /** Kernels that digest the bytes that have arrived, by the memory of their window. */
  readonly #inWindow = new WeakMap<WasmMemory, DigestKernels>();
  readonly #digests: KernelModules;
  readonly #kind: DigestKind;
  readonly #isFrozen: boolean;
  /** The numbers of adopted frames: from the first to before the second. */
  readonly #adopted: readonly [number, number];

  /** `sources`: the list of frames to which RUN.SOURCE refers. */
  constructor(machine: MachineParts, sources: Int32Array, task: MoverTask) {
    const { kernels, digestKernels: digests, digest, reservations } = task;
    this.hasDigest = digest !== DIGEST.NONE;
    this.#kind = digest;
    this.#digests = digests;
    this.#adopted = [machine.handle.banks.length * BANK_FRAMES, machine.memory.swapBase];
    this.#isFrozen = task.running === undefined;
    this.#behind = new PayloadDigest(() => digests.inside);
    this.#sources = sources;
    this.#plain = new FrameMover(machine, sources, kernels, reservations);
    if (digest === DIGEST.XXH3) {
      this.#digesting = new DigestingMover(machine, kernels, digests, reservations);
    }
  }

  /**
   * Copies the frames sources[first] to sources[first + count - 1] to byte `at` of `into`, and
   * computes their digest if there is one.
   */
  move(first: number, count: number, into: ImageWindow, at: number): void {
    const mover = this.#digesting;
    const sources = this.#sources;
    if (
      mover !== undefined &&
      (this.#areStill(first, first + count) || mover.reaches(sources, first, count, into))
    ) {
      mover.move(sources, first, count, into, at);
      this.low = mover.low;
      this.high = mover.high;
    } else if (this.hasDigest) {
      this.#moveThenDigest(first, count, into, at);
    } else {
      this.#plain.move(first, count, into, at);
    }
  }

  /**
   * The bytes of the frames sources[first] to sources[first + count - 1] where they lie, for an
   * image that needs neither a copy nor a digest of them. Undefined unless they lie in one piece.
   */
  whole(first: number, count: number): Uint8Array | undefined {
    return this.#plain.whole(first, count);
  }

  /** Computes the XXH3-64 of the page that has arrived at byte `at` of `into`. */
  digestPage(into: ImageWindow, at: number): void {
    if (into.memory === undefined) {
      this.#behind.of(DIGEST.XXH3, into.bytes.subarray(at, at + PAGE_SIZE));
      this.pageLow = this.#behind.low | 0;
      this.pageHigh = this.#behind.high | 0;
      return;
    }
    const kernels = this.#kernelsIn(into.memory);
    this.pageLow = kernels.digest((into.at + at) | 0, PAGE_SIZE) | 0;
    this.pageHigh = kernels.high() | 0;
  }

  /**
   * Whether nobody writes the frames sources[first] to sources[last - 1]. A frozen machine stops
   * its own operations, but not the owner of adopted frames.
   */
  #areStill(first: number, last: number): boolean {
    if (!this.#isFrozen) return false;
    const [from, to] = this.#adopted;
    if (from === to) return true;
    for (let index = first; index < last; index++) {
      const pfn = this.#sources[index]!;
      if (pfn >= from && pfn < to) return false;
    }
    return true;
  }

  #moveThenDigest(first: number, count: number, into: ImageWindow, at: number): void {
    if (this.#kind === DIGEST.XXH3 && into.memory !== undefined) {
      this.#moveThenDigestThere(first, count, into, at, this.#kernelsIn(into.memory));
      return;
    }
    const digest = this.#behind;
    digest.begin(this.#kind);
    for (let done = 0; done < count; done += PAGES_BEHIND) {
      const pages = Math.min(PAGES_BEHIND, count - done);
      const from = at + done * PAGE_SIZE;
      this.#plain.move(first + done, pages, into, from);
      digest.update(into.bytes.subarray(from, from + pages * PAGE_SIZE));
    }
    digest.finish();
    this.low = digest.low;
    this.high = digest.high;
  }

  /** The same for a window in which kernels can digest the bytes where they have arrived. */
  #moveThenDigestThere(
    first: number,
    count: number,
    into: ImageWindow,
    at: number,
    digests: DigestKernels,
  ): void {
    digests.begin();
    for (let done = 0; done < count; done += PAGES_BEHIND) {
      const pages = Math.min(PAGES_BEHIND, count - done);
      const to = at + done * PAGE_SIZE;
      this.#plain.move(first + done, pages, into, to);
      const from = (into.at + to) | 0; // to a kernel, an address beyond 2 GiB is an i32
      if (done + pages < count) digests.update(from, pages * PAGE_SIZE);
      else this.low = digests.finish(from, pages * PAGE_SIZE);
    }
    this.high = digests.high();
  }

  #kernelsIn(memory: WasmMemory): DigestKernels {
    let kernels = this.#inWindow.get(memory);
    if (kernels === undefined) {
      kernels = digestKernels(this.#digests.inside, memory, memory, new DigestState());
      this.#inWindow.set(memory, kernels);
    }
    return kernels;
  }
}
