/**
 * Instances of kernels/xxh3.wat.mjs: XXH3-64 (seed 0, default secret) of bytes in a wasm memory. All
 * addresses are bytes of their memory. A digest comes as two halves of 32 bits, since 64 would be a
 * BigInt for each.
 *
 *   whole      digest(at, bytes), high()
 *   in parts   begin(), then update and the copies that update, in the order of the input; the last
 *              part goes to finish(at, bytes), which takes at least one byte; then high()
 */
import { Global, Instance, type WasmGlobal, type WasmMemory, type WasmModule } from '../wasm.ts';

/** Parts of an input but for the last one are multiples of this many bytes. */
export const DIGEST_BLOCK = 1024;
/** An input in parts has more bytes than this. */
export const DIGEST_SHORT = 240;

export interface DigestKernels {
  /** The low half of the digest of bytes in one piece. */
  digest(at: number, bytes: number): number;
  begin(): void;
  /** Whole blocks, at least one, and never the last bytes of the input. */
  update(at: number, bytes: number): void;
  /** Copies from `at` of the frames to `to` and takes the bytes as `update` does. */
  copyAndUpdate(to: number, at: number, bytes: number): void;
  /**
   * Copies four pages to `to` and takes the 16 KiB before `to` as `update` does: those that the call
   * before has copied.
   */
  copyFourAndUpdate(to: number, a: number, b: number, c: number, d: number): void;
  /**
   * Takes the last bytes of an input of more than DIGEST_SHORT and returns the low half of its digest.
   * Precondition: the last 64 bytes of the input lie in one piece, before `at + bytes`.
   */
  finish(at: number, bytes: number): number;
  /** The high half of what `digest` or `finish` has returned last. */
  high(): number;
}

const LANES = ['lane0', 'lane1', 'lane2', 'lane3', 'lane4', 'lane5', 'lane6', 'lane7'] as const;

/**
 * A digest in parts between two calls. Instances that share a state continue each other's digest, as
 * is needed where the parts lie in several memories. Of one thread.
 */
export class DigestState {
  readonly globals: { readonly [name: string]: WasmGlobal };

  constructor() {
    const names = [...LANES, 'total'];
    this.globals = Object.fromEntries(
      names.map((name) => [name, new Global({ value: 'i64', mutable: true }, 0n)]),
    );
  }
}

/** `module` "inside": `image` is the same memory. What is digested lies in `image`. */
export function digestKernels(
  module: WasmModule,
  frames: WasmMemory,
  image: WasmMemory,
  state: DigestState,
): DigestKernels {
  const imports = { mmdump: { frames, image, ...state.globals } };
  return new Instance(module, imports).exports as DigestKernels;
}
