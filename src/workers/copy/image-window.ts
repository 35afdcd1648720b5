/** Memory that takes a part of an image: a chunk of a memory sink, staging, or a stream's slot. */
import type { WasmMemory } from '../../shared/wasm.ts';
import type { FrameKernels } from './frame-kernels.ts';

/** A window, as bytes and as words. */
export class ImageWindow {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  /** The wasm memory in which the window begins at byte `at`. Undefined: no kernel reaches it. */
  readonly memory: WasmMemory | undefined;
  readonly at: number;
  /** For each bank, the kernels that copy from it to here. null: none; undefined: not known yet. */
  readonly kernels: (FrameKernels | null | undefined)[] = [];

  /** The window is bytes [at, at + bytes) of `buffer`. Precondition: `at` is a multiple of 4. */
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
