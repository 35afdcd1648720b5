/**
 * Physical memory consists of banks of frames. Each bank is the buffer of a shared
 * WebAssembly.Memory.
 *
 * Such a buffer is an ordinary SharedArrayBuffer of fixed size. The operating system commits it
 * page by page as it is touched, so memory that a machine does not use costs nothing. A wasm kernel
 * can work on it in place. A bank holds at most 2 GiB of frames, because longer views are slow in
 * V8.
 *
 * Memory of the caller that the machine has adopted follows in banks of its own (`adopted.ts`):
 *
 *   own frames │ hole │ adopted part │ adopted part │ hole │ … │ swap slots
 *   bank 0 … n        │ bank n + 1   │ bank n + 2          │ … │ one bank per 2 GiB
 *
 * The bytes of an adopted part that is not shared (`unshared.ts`) are reached through `bytesOf` and
 * `wordsOf` only, and in one thread only. The lists have an empty array in its place.
 *
 * A hole lies where a bank is not full. Its numbers are below `frames`, but no frame has them, and
 * their page structs are zero. `has` tells.
 */
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import type { AdoptedPart } from '../../shared/machine-handle.ts';
import { adviseHugeIfLarge } from '../../shared/native/huge-pages.ts';
import { MiB, PAGE_SIZE } from '../../shared/page.ts';
import { Memory, WASM_PAGE, WASM_PAGES_MAX, type WasmMemory } from '../../shared/wasm.ts';
import { PageMover } from './page-kernel.ts';
import { notOwned, UnsharedBank, type UnsharedMemory } from './unshared.ts';

/** Shift, mask and number of frames of a full bank: 2^19 frames × 4 KiB = 2 GiB. */
export const BANK_SHIFT = 19;
export const BANK_MASK = 0x7ffff;
export const BANK_FRAMES = 0x80000;
/** The word index of a frame in its bank is (pfn & BANK_MASK) << WORD_SHIFT. */
export const WORD_SHIFT = 10;

/**
 * Reserves the banks for `frames` frames or swap slots. Throws MACHINE_TOO_LARGE when the operating
 * system refuses the address space.
 */
export function createBanks(frames: number): WasmMemory[] {
  const banks: WasmMemory[] = [];
  try {
    for (let left = frames; left > 0; left -= BANK_FRAMES) {
      const pages = (Math.min(left, BANK_FRAMES) * PAGE_SIZE) / WASM_PAGE;
      // A larger maximum costs nothing: the same address space is reserved for every maximum.
      banks.push(new Memory({ initial: pages, maximum: WASM_PAGES_MAX, shared: true }));
    }
  } catch (error) {
    const megabytes = (frames * PAGE_SIZE) / MiB;
    throw new MmdumpError(
      'MACHINE_TOO_LARGE',
      `the system refused ${megabytes} MiB of address space for the simulated memory ` +
        `(${reasonOf(error)}): ask for less, or raise the limit (ulimit -v)`,
      { errno: errnoOf(error) ?? 'ENOMEM' },
      error,
    );
  }
  return banks;
}

/**
 * Asks the system for huge pages under the first `pages` frames or swap slots of fresh banks. The
 * allocator fills one block of 2 MiB before it cuts another, and slots are taken in order. So a
 * machine that uses little of its memory stays small.
 */
export function adviseHugeBanks(banks: readonly WasmMemory[], pages: number): void {
  for (const [bank, { buffer }] of banks.entries()) {
    const bytes = Math.max(0, bytesOfBank(pages, bank));
    adviseHugeIfLarge(new Uint8Array(buffer, 0, bytes));
  }
}

/** Bytes that `pages` frames or swap slots in all take in bank number `bank`. */
export function bytesOfBank(pages: number, bank: number): number {
  return Math.min(pages - bank * BANK_FRAMES, BANK_FRAMES) * PAGE_SIZE;
}

function partOf(memory: WasmMemory, pages: number, bank: number): AdoptedPart {
  return { memory, at: 0, pages: bytesOfBank(pages, bank) / PAGE_SIZE };
}

/** The part of a MachineHandle that describes its memory. */
export interface MemoryBanks {
  readonly banks: readonly WasmMemory[];
  readonly frames: number;
  readonly adopted: readonly AdoptedPart[];
  readonly swapBanks: readonly WasmMemory[];
  readonly slots: number;
  /** For each adopted part its memory if it is not shared, in the thread that owns the memory. */
  readonly unshared?: readonly (UnsharedMemory | null)[] | undefined;
}

/** The number after the last frame, adopted ones included. */
export function frameLimit(memory: Pick<MemoryBanks, 'banks' | 'frames' | 'adopted'>): number {
  const { banks, frames, adopted } = memory;
  const last = adopted.at(-1);
  if (last === undefined) return frames;
  return (banks.length + adopted.length - 1) * BANK_FRAMES + last.pages;
}

/**
 * Views of the banks: one Int32Array and one Uint8Array per bank. Code that indexes them directly
 * shifts the pfn itself.
 *
 * The slots of the swap area follow in banks of their own: slot n has the number swapBase + n. So
 * code that reads pages by pfn (a dump, a comparison) reads swapped pages in the same way. Such a
 * number never stands in a page-table entry, and it has no page struct.
 */
export class PhysicalMemory {
  /**
   * The number after the last frame. A pfn in a page-table entry is valid if it is below this and
   * lies in no hole: see `has`.
   */
  readonly frames: number;
  /** Number of the machine's own frames, which come first. */
  readonly ownFrames: number;
  /** The first frame in memory that is not shared; `frames` if there is none. */
  readonly firstUnshared: number;
  /** The number of swap slot 0: the first one after the banks of the frames. */
  readonly swapBase: number;
  /**
   * The memory of each bank. In the machine's own banks the frames come first, and reservations
   * (`reservation.ts`) follow. Undefined for adopted memory that no kernel reaches: it is not
   * shared, or no memory of WebAssembly.
   */
  readonly memories: readonly (WasmMemory | undefined)[];
  /** For each bank, the byte of its memory at which the first frame begins. */
  readonly offsets: number[];
  /** The words of each bank. */
  readonly words: readonly Int32Array[];
  /** The bytes of each bank. */
  readonly bytes: readonly Uint8Array[];
  /** Number of frames or slots in each bank. */
  readonly #pages: number[];
  /** The adopted parts, of which the first is bank number #firstAdopted. */
  readonly #parts: readonly AdoptedPart[];
  readonly #firstAdopted: number;
  /** For each adopted part its bank, if it is not shared and this thread owns the memory. */
  readonly #unshared: (UnsharedBank | undefined)[];
  readonly #mover: PageMover = new PageMover(this);
  /**
   * The lists of memories, bytes and words. They are emptied in place, since hot loops keep
   * references to them.
   */
  readonly #lists: readonly [(WasmMemory | undefined)[], Uint8Array[], Int32Array[]];

  constructor({ banks, frames, adopted, swapBanks, slots, unshared }: MemoryBanks) {
    this.frames = frameLimit({ banks, frames, adopted });
    this.ownFrames = frames;
    this.swapBase = (banks.length + adopted.length) * BANK_FRAMES;
    const parts: AdoptedPart[] = [
      ...banks.map((memory, bank) => partOf(memory, frames, bank)),
      ...adopted,
      ...swapBanks.map((memory, bank) => partOf(memory, slots, bank)),
    ];
    this.#parts = adopted;
    this.#firstAdopted = banks.length;
    this.#unshared = adopted.map(({ at, pages }, part) => {
      const memory = unshared?.[part] ?? null;
      return memory === null ? undefined : new UnsharedBank(memory, at, pages);
    });
    const first = adopted.findIndex(({ memory }) => memory === null);
    this.firstUnshared = first < 0 ? this.frames : (banks.length + first) * BANK_FRAMES;
    const memories = parts.map(({ memory }) => {
      return memory !== null && 'buffer' in memory ? memory : undefined;
    });
    this.memories = memories;
    this.offsets = parts.map(({ at }) => at);
    this.#pages = parts.map(({ pages }) => pages);
    const bytes = parts.map(({ memory, at, pages }) => {
      if (memory === null) return new Uint8Array();
      const buffer = 'buffer' in memory ? memory.buffer : memory;
      return new Uint8Array(buffer, at, pages * PAGE_SIZE);
    });
    const words = bytes.map(({ buffer, byteOffset, byteLength }) => {
      return new Int32Array(buffer, byteOffset, byteLength / 4);
    });
    this.bytes = bytes;
    this.words = words;
    this.#lists = [memories, bytes, words];
  }

  /**
   * Adds a bank that only this view has: the first `bytes` bytes of `memory`, behind the banks of
   * swap slots. Returns the number of its first page.
   */
  addBank(memory: WasmMemory, bytes: number): number {
    const [memories, bytesOf, wordsOf] = this.#lists;
    const first = memories.length * BANK_FRAMES;
    memories.push(memory);
    bytesOf.push(new Uint8Array(memory.buffer, 0, bytes));
    wordsOf.push(new Int32Array(memory.buffer, 0, bytes / 4));
    this.offsets.push(0);
    this.#pages.push(bytes / PAGE_SIZE);
    return first;
  }

  /** Drops all views once the machine is closed. No method may be called afterwards. */
  dropViews(): void {
    for (const list of this.#lists) list.length = 0;
    this.#unshared.length = 0;
    this.#mover.dropKernels();
  }

  /** Whether there is a frame with this number. */
  has(pfn: number): boolean {
    return pfn < this.frames && (pfn & BANK_MASK) < this.#pages[pfn >>> BANK_SHIFT]!;
  }

  /** Whether the number is that of a frame in memory that is not shared. */
  isUnshared(pfn: number): boolean {
    if (pfn < this.firstUnshared || pfn >= this.frames) return false;
    return this.#parts[(pfn >>> BANK_SHIFT) - this.#firstAdopted]?.memory === null;
  }

  /**
   * Throws BANK_UNREACHABLE if the frame lies in memory that is not shared, and this thread does
   * not own that memory, or the memory is gone.
   */
  assertReachable(pfn: number): void {
    this.bytesOf(pfn);
  }

  /**
   * Throws BANK_UNREACHABLE if the machine has unshared memory that this thread does not own, or
   * that is gone. Does nothing once the machine is closed.
   */
  assertReachesAll(): void {
    if (this.bytes.length === 0) return;
    for (const [part, { memory }] of this.#parts.entries()) {
      if (memory === null) this.assertReachable((this.#firstAdopted + part) * BANK_FRAMES);
    }
  }

  /** How many frames follow each other from frame `pfn` on, in one bank. */
  framesFrom(pfn: number): number {
    return this.#pages[pfn >>> BANK_SHIFT]! - (pfn & BANK_MASK);
  }

  /**
   * The words of the bank that holds the frame, which begins at `wordAt(pfn)`. Throws
   * BANK_UNREACHABLE as `assertReachable` does.
   */
  wordsOf(pfn: number): Int32Array {
    const words = this.words[pfn >>> BANK_SHIFT]!;
    return words.length > 0 ? words : this.#unsharedBank(pfn).words(this.#bankOf(pfn));
  }

  /** Index of the first word of the frame in `wordsOf(pfn)`. */
  wordAt(pfn: number): number {
    return (pfn & BANK_MASK) << WORD_SHIFT;
  }

  /**
   * The bytes of the bank that holds the frame, which begins at `byteAt(pfn)`. Throws
   * BANK_UNREACHABLE as `assertReachable` does.
   */
  bytesOf(pfn: number): Uint8Array {
    const bytes = this.bytes[pfn >>> BANK_SHIFT]!;
    return bytes.length > 0 ? bytes : this.#unsharedBank(pfn).bytes(this.#bankOf(pfn));
  }

  #unsharedBank(pfn: number): UnsharedBank {
    const bank = this.#unshared[(pfn >>> BANK_SHIFT) - this.#firstAdopted];
    if (bank === undefined) throw notOwned(this.#bankOf(pfn));
    return bank;
  }

  /** Which of the caller's `banks` holds an adopted frame. */
  #bankOf(pfn: number): number {
    const parts = this.#parts.slice(0, (pfn >>> BANK_SHIFT) - this.#firstAdopted + 1);
    return parts.filter(({ at }) => at === 0).length - 1;
  }

  /** Index of the first byte of the frame in `bytesOf(pfn)`. */
  byteAt(pfn: number): number {
    return (pfn & BANK_MASK) * PAGE_SIZE;
  }

  /**
   * A view of the 4096 bytes of one frame. It is a new object, so loops over pages do not use it.
   */
  page(pfn: number): Uint8Array {
    const at = this.byteAt(pfn);
    return this.bytesOf(pfn).subarray(at, at + PAGE_SIZE);
  }

  /** Zeroes `count` frames from `pfn` on. */
  zero(pfn: number, count = 1): void {
    for (let page = pfn; page < pfn + count; page++) this.#mover.zero(page);
  }

  /** Copies the bytes of frame `from` to frame `to` (copy_highpage). */
  copy(to: number, from: number): void {
    this.#mover.copy(to, from);
  }
}
