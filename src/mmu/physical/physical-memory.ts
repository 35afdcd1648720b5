/**
 * Physical memory consists of banks of frames. Each bank is the buffer of a shared
 * WebAssembly.Memory.
 *
 * Such a buffer is an ordinary SharedArrayBuffer of fixed size. The operating system commits it
 * page by page as it is touched, so memory that a machine does not use costs nothing. A wasm kernel
 * can work on it in place. A bank holds at most 2 GiB of frames, because longer views are slow in
 * V8.
 */
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { adviseHugeIfLarge } from '../../shared/native/huge-pages.ts';
import { MiB, PAGE_SIZE, WORDS_PER_PAGE } from '../../shared/page.ts';
import { Memory, WASM_PAGE, WASM_PAGES_MAX, type WasmMemory } from '../../shared/wasm.ts';

/** Shift, mask and number of frames of a full bank: 2^19 frames × 4 KiB = 2 GiB. */
export const BANK_SHIFT = 19;
export const BANK_MASK = 0x7ffff;
export const BANK_FRAMES = 0x80000;
/** The word index of a frame in its bank is (pfn & BANK_MASK) << WORD_SHIFT. */
export const WORD_SHIFT = 10;

const ZEROS = new Int32Array(WORDS_PER_PAGE);

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

/** The part of a MachineHandle that describes its memory. */
export interface MemoryBanks {
  readonly banks: readonly WasmMemory[];
  readonly frames: number;
  readonly swapBanks: readonly WasmMemory[];
  readonly slots: number;
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
  /** Number of frames. A pfn in a page-table entry is valid if it is below this. */
  readonly frames: number;
  /** The number of swap slot 0: the first one after the banks of the frames. */
  readonly swapBase: number;
  /** The memory of each bank. Its frames come first; reservations (`reservation.ts`) follow. */
  readonly memories: readonly WasmMemory[];
  /** The words of each bank. */
  readonly words: readonly Int32Array[];
  /** The bytes of each bank. */
  readonly bytes: readonly Uint8Array[];
  /** The three lists above. They are emptied in place, since hot loops keep references to them. */
  readonly #lists: readonly [WasmMemory[], Uint8Array[], Int32Array[]];

  constructor({ banks, frames, swapBanks, slots }: MemoryBanks) {
    this.frames = frames;
    this.swapBase = banks.length * BANK_FRAMES;
    const memories = [...banks, ...swapBanks];
    this.memories = memories;
    const lengths = [
      ...banks.map((_, bank) => bytesOfBank(frames, bank)),
      ...swapBanks.map((_, bank) => bytesOfBank(slots, bank)),
    ];
    const bytes = memories.map(({ buffer }, bank) => new Uint8Array(buffer, 0, lengths[bank]));
    const words = bytes.map(({ buffer, byteLength }) => {
      return new Int32Array(buffer, 0, byteLength / 4);
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
    return first;
  }

  /** Drops all views once the machine is closed. No method may be called afterwards. */
  dropViews(): void {
    for (const list of this.#lists) list.length = 0;
  }

  /** The words of the bank that holds the frame, which begins at `wordAt(pfn)`. */
  wordsOf(pfn: number): Int32Array {
    return this.words[pfn >>> BANK_SHIFT]!;
  }

  /** Index of the first word of the frame in `wordsOf(pfn)`. */
  wordAt(pfn: number): number {
    return (pfn & BANK_MASK) << WORD_SHIFT;
  }

  /** The bytes of the bank that holds the frame, which begins at `byteAt(pfn)`. */
  bytesOf(pfn: number): Uint8Array {
    return this.bytes[pfn >>> BANK_SHIFT]!;
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
    // Not fill(): V8 stores byte by byte in shared memory, which takes four times as long.
    for (let page = pfn; page < pfn + count; page++)
      this.wordsOf(page).set(ZEROS, this.wordAt(page));
  }

  /** Copies the bytes of frame `from` to frame `to` (copy_highpage). */
  copy(to: number, from: number): void {
    const source = this.wordAt(from);
    const words = this.wordsOf(from).subarray(source, source + WORDS_PER_PAGE);
    this.wordsOf(to).set(words, this.wordAt(to));
  }
}
