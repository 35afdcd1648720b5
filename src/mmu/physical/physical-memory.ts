/**
 * Physical memory: banks of frames, each the buffer of a shared WebAssembly.Memory.
 *
 * Such a buffer is an ordinary SharedArrayBuffer of fixed size that the system commits page by
 * page as it is touched, so a large machine costs nothing until it is used; and a wasm kernel can
 * work on it in place. A bank holds at most 2 GiB of frames: views longer than that are slow.
 */
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { MiB, PAGE_SIZE, WORDS_PER_PAGE } from '../../shared/page.ts';
import { Memory, WASM_PAGE, WASM_PAGES_MAX, type WasmMemory } from '../../shared/wasm.ts';

export const BANK_SHIFT = 19; //       frames: 2^19 × 4 KiB = 2 GiB
export const BANK_MASK = 0x7ffff;
export const BANK_FRAMES = 0x80000;
/** Word index of a frame in its bank is (pfn & BANK_MASK) << WORD_SHIFT. */
export const WORD_SHIFT = 10;

const ZEROS = new Int32Array(WORDS_PER_PAGE);

/** Reserves banks for `frames` frames or slots. MACHINE_TOO_LARGE when the system refuses. */
export function createBanks(frames: number): WasmMemory[] {
  const banks: WasmMemory[] = [];
  try {
    for (let left = frames; left > 0; left -= BANK_FRAMES) {
      const pages = (Math.min(left, BANK_FRAMES) * PAGE_SIZE) / WASM_PAGE;
      // The system reserves as much address space for any maximum.
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

/** Bytes of one of the banks that hold `pages` frames or slots. */
export function bytesOfBank(pages: number, bank: number): number {
  return Math.min(pages - bank * BANK_FRAMES, BANK_FRAMES) * PAGE_SIZE;
}

/** What a machine's handle says of its memory: see there. */
export interface MemoryBanks {
  readonly banks: readonly WasmMemory[];
  readonly frames: number;
  readonly swapBanks: readonly WasmMemory[];
  readonly slots: number;
}

/**
 * Views of the banks, one pair a bank. Whoever indexes them shifts the pfn by hand.
 *
 * The slots of the swap area follow as banks of their own: slot n is "frame" swapBase + n. So
 * whoever reads pages by pfn (a dump, a comparison) reads swapped pages in the same way. Such a
 * number never stands in a page-table entry, and has no page struct.
 */
export class PhysicalMemory {
  /** Frames of physical memory. A pfn in an entry is valid below this. */
  readonly frames: number;
  /** "pfn" of swap slot 0: the first of its bank. */
  readonly swapBase: number;
  /** The memories of the banks. Their frames come first; what follows is no frame. */
  readonly memories: readonly WasmMemory[];
  readonly words: readonly Int32Array[];
  readonly bytes: readonly Uint8Array[];
  /** The same lists, to be emptied in place: loops have copies of the references to them. */
  readonly #lists: readonly unknown[][];

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

  /** The machine was closed: drops the views of its banks. Nobody looks at them any more. */
  letGo(): void {
    for (const list of this.#lists) list.length = 0;
  }

  /** The bank's words, to be indexed from `wordAt(pfn)`. */
  wordsOf(pfn: number): Int32Array {
    return this.words[pfn >>> BANK_SHIFT]!;
  }

  wordAt(pfn: number): number {
    return (pfn & BANK_MASK) << WORD_SHIFT;
  }

  bytesOf(pfn: number): Uint8Array {
    return this.bytes[pfn >>> BANK_SHIFT]!;
  }

  byteAt(pfn: number): number {
    return (pfn & BANK_MASK) * PAGE_SIZE;
  }

  /** A view of one frame. Allocates: not for loops over pages. */
  page(pfn: number): Uint8Array {
    const at = this.byteAt(pfn);
    return this.bytesOf(pfn).subarray(at, at + PAGE_SIZE);
  }

  zero(pfn: number, count = 1): void {
    // Not fill(): on shared memory V8 stores byte by byte, four times as slow.
    for (let page = pfn; page < pfn + count; page++)
      this.wordsOf(page).set(ZEROS, this.wordAt(page));
  }

  copy(to: number, from: number): void {
    const source = this.wordAt(from);
    const words = this.wordsOf(from).subarray(source, source + WORDS_PER_PAGE);
    this.wordsOf(to).set(words, this.wordAt(to));
  }
}
