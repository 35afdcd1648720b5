/**
 * Instances of the kernels in src/workers/kernels/xxh3.wat.mjs. They compute XXH3-64 (seed 0,
 * default secret) of bytes in a wasm memory. All addresses are byte offsets in that memory. A
 * digest is returned in two halves of 32 bits, because one number of 64 bits would be a BigInt per
 * digest.
 *
 *   in one piece  digest(at, bytes), then high()
 *   in parts      begin(), then `update` and the copies that update, in the order of the input. The
 *                 last part, at least one byte, goes to finish(at, bytes); then high()
 */
import { Global, Instance, type WasmGlobal, type WasmMemory, type WasmModule } from '../wasm.ts';

/** All parts of an input except the last one are multiples of this many bytes. */
export const DIGEST_BLOCK = 1024;
/** An input in parts must have more bytes than this. */
export const DIGEST_SHORT = 240;

/** The exports of a module of kernels. */
export interface DigestKernels {
  /** The low half of the digest of an input in one piece. */
  digest(at: number, bytes: number): number;
  /** Begins an input in parts. */
  begin(): void;
  /** Takes whole blocks, at least one. The last bytes of the input must not be among them. */
  update(at: number, bytes: number): void;
  /** Copies bytes from `at` in the frames to `to`, and takes them as `update` does. */
  copyAndUpdate(to: number, at: number, bytes: number): void;
  /**
   * Copies four pages to `to`. Meanwhile it takes the 16 KiB before `to` as `update` does: the
   * pages that the previous call copied.
   */
  copyFourAndUpdate(to: number, a: number, b: number, c: number, d: number): void;
  /**
   * Takes the last bytes of an input of more than DIGEST_SHORT bytes, and returns the low half of
   * its digest. Precondition: the last 64 bytes of the input lie in one piece, which ends at
   * `at + bytes`.
   */
  finish(at: number, bytes: number): number;
  /** The high half of the digest that the last `digest` or `finish` returned. */
  high(): number;
}

const LANES = ['lane0', 'lane1', 'lane2', 'lane3', 'lane4', 'lane5', 'lane6', 'lane7'] as const;

/**
 * The state of a digest in parts, between two calls. Instances that share a state continue each
 * other's digest, which is needed if the parts lie in several memories. Only one thread may use a
 * state.
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

/**
 * Instantiates kernels. What is digested lies in `image`; `frames` is what the copies read. For the
 * module "inside" both must be the same memory.
 */
export function digestKernels(
  module: WasmModule,
  frames: WasmMemory,
  image: WasmMemory,
  state: DigestState,
): DigestKernels {
  const imports = { mmdump: { frames, image, ...state.globals } };
  return new Instance(module, imports).exports as DigestKernels;
}
