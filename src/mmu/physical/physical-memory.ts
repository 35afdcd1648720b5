/**
 * Physical memory: banks of frames, each the buffer of a shared WebAssembly.Memory.
 *
 * Such a buffer is an ordinary SharedArrayBuffer of fixed size that the system commits page by
 * page as it is touched, so a large machine costs nothing until it is used; and a wasm kernel can
 * work on it in place. A bank holds at most 2 GiB of frames: views longer than that are slow.
 */
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import type { Bank } from '../../shared/machine-handle.ts';
import { MiB, PAGE_SIZE, WORDS_PER_PAGE } from '../../shared/page.ts';

interface WasmMemoryConstructor {
  new (descriptor: { initial: number; maximum: number; shared: true }): Bank;
}

const WASM_PAGE = 0x10000; // bytes

export const BANK_SHIFT = 19; //       frames: 2^19 × 4 KiB = 2 GiB
export const BANK_MASK = 0x7ffff;
export const BANK_FRAMES = 0x80000;
/** Word index of a frame in its bank is (pfn & BANK_MASK) << WORD_SHIFT. */
export const WORD_SHIFT = 10;

/** Reserves banks for `frames` frames. MACHINE_TOO_LARGE when the system refuses. */
export function createBanks(frames: number): Bank[] {
  const { Memory } = (globalThis as unknown as { WebAssembly: { Memory: WasmMemoryConstructor } })
    .WebAssembly;
  const banks: Bank[] = [];
  try {
    for (let left = frames; left > 0; left -= BANK_FRAMES) {
      const pages = (Math.min(left, BANK_FRAMES) * PAGE_SIZE) / WASM_PAGE;
      banks.push(new Memory({ initial: pages, maximum: pages, shared: true }));
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

/** Views of the banks, one pair a bank. Whoever indexes them shifts the pfn by hand. */
export class PhysicalMemory {
  readonly frames: number;
  readonly words: readonly Int32Array[];
  readonly bytes: readonly Uint8Array[];

  constructor(banks: readonly Bank[]) {
    this.words = banks.map((bank) => new Int32Array(bank.buffer));
    this.bytes = banks.map((bank) => new Uint8Array(bank.buffer));
    this.frames = this.bytes.reduce((sum, bytes) => sum + bytes.length / PAGE_SIZE, 0);
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
    const at = this.byteAt(pfn);
    this.bytesOf(pfn).fill(0, at, at + count * PAGE_SIZE);
  }

  copy(to: number, from: number): void {
    const source = this.wordAt(from);
    const words = this.wordsOf(from).subarray(source, source + WORDS_PER_PAGE);
    this.wordsOf(to).set(words, this.wordAt(to));
  }
}
