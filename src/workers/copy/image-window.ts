/** A stretch of memory that takes parts of an image: a chunk of a memory sink, or staging. */
import type { WasmMemory } from '../../shared/wasm.ts';
import type { FrameKernels } from './frame-kernels.ts';

export class ImageWindow {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  /** The memory that it lies in, from byte `at` of it on; undefined: no kernel reaches it. */
  readonly memory: WasmMemory | undefined;
  readonly at: number;
  /** By bank: what copies from there to here. null: nothing does; undefined: not asked yet. */
  readonly kernels: (FrameKernels | null | undefined)[] = [];

  /** `at` is a multiple of 4. */
  constructor(
    buffer: SharedArrayBuffer,
    at: number,
    bytes: number,
    memory: WasmMemory | undefined,
  ) {
    this.bytes = new Uint8Array(buffer, at, bytes);
    this.words = new Int32Array(buffer, at, bytes >> 2);
    this.memory = memory;
    this.at = at;
  }
}
