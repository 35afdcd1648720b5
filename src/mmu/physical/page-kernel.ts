/**
 * Copying and zeroing one page inside a memory of WebAssembly. TypedArray.set takes four times as
 * long for a page of shared memory, and makes a view for it. A kernel is an instance of:
 *
 *   (module
 *     (import "mmdump" "memory" (memory 0 65536 shared))
 *     (func (export "copy") (param i32 i32)
 *       (memory.copy (local.get 0) (local.get 1) (i32.const 4096)))
 *     (func (export "zero") (param i32)
 *       (memory.fill (local.get 0) (i32.const 0) (i32.const 4096))))
 */
import { WORDS_PER_PAGE } from '../../shared/page.ts';
import { Instance, Module, type WasmMemory, type WasmModule } from '../../shared/wasm.ts';
import type { PhysicalMemory } from './physical-memory.ts';

/** As in `physical-memory.ts`. */
const BANK_SHIFT = 19;
const ZEROS = new Int32Array(WORDS_PER_PAGE);

/** The bytes of the module above. A test compiles the text and compares. */
export const PAGE_KERNEL: Uint8Array = Uint8Array.from(
  Buffer.from(
    '0061736d01000000010a0260027f7f0060017f00021501066d6d64756d70066d656d6f727902' +
      '03008080040303020001070f0204636f70790000047a65726f00010a1c020d00200020014180' +
      '20fc0a00000b0c0020004100418020fc0b000b',
    'hex',
  ),
);

/** Works on whole pages; addresses are bytes of the memory. */
interface PageKernel {
  copy(to: number, from: number): void;
  zero(at: number): void;
}

let compiled: WasmModule | undefined;

/** Makes the kernel of a memory. The module is compiled once per thread. */
function makeKernel(memory: WasmMemory): PageKernel {
  compiled ??= new Module(PAGE_KERNEL);
  return new Instance(compiled, { mmdump: { memory } }).exports as PageKernel;
}

/** Copies and zeroes frames: by a kernel where one reaches them, and by TypedArray.set elsewhere. */
export class PageMover {
  readonly #memory: PhysicalMemory;
  /** For each bank its kernel, once it was used. */
  readonly #kernels: (PageKernel | undefined)[] = [];

  constructor(memory: PhysicalMemory) {
    this.#memory = memory;
  }

  zero(pfn: number): void {
    const memory = this.#memory;
    const kernel = this.#kernelOf(pfn >>> BANK_SHIFT);
    // Not fill(): V8 stores byte by byte in shared memory, which takes four times as long as set().
    if (kernel === undefined) memory.wordsOf(pfn).set(ZEROS, memory.wordAt(pfn));
    else kernel.zero(this.#byteAt(pfn));
  }

  copy(to: number, from: number): void {
    const memory = this.#memory;
    const bank = to >>> BANK_SHIFT;
    const kernel = bank === from >>> BANK_SHIFT ? this.#kernelOf(bank) : undefined;
    if (kernel !== undefined) {
      kernel.copy(this.#byteAt(to), this.#byteAt(from));
      return;
    }
    const source = memory.wordAt(from);
    const words = memory.wordsOf(from).subarray(source, source + WORDS_PER_PAGE);
    memory.wordsOf(to).set(words, memory.wordAt(to));
  }

  /** Lets go of the memories. Neither method may be called afterwards. */
  dropKernels(): void {
    this.#kernels.length = 0;
  }

  /** The kernel of a bank; none if its memory is none of WebAssembly, or not shared. */
  #kernelOf(bank: number): PageKernel | undefined {
    const known = this.#kernels[bank];
    if (known !== undefined) return known;
    const memory = this.#memory.memories[bank];
    if (memory === undefined) return undefined;
    const made = makeKernel(memory);
    this.#kernels[bank] = made;
    return made;
  }

  /** Where a frame begins in the memory of its bank. */
  #byteAt(pfn: number): number {
    return this.#memory.offsets[pfn >>> BANK_SHIFT]! + this.#memory.byteAt(pfn);
  }
}
