/**
 * XXH3-64 of bytes that do not lie in a wasm memory, or that come in pieces of any length. They are
 * copied into a small memory of the digest's own, 64 KiB at a time. The copy stays in the
 * second-level cache, and the digest is still more than twice as fast as crc32
 * (docs/PERFORMANCE.md, "Digests").
 *
 *   byte 0            64                                  64 + 64 KiB
 *        │ the 64 bytes │ bytes that are not yet digested … │
 *        │ before them  │                                   │
 *
 * The kernels digest the last 64 bytes of an input again at its end. So when the buffer is
 * digested, its last 64 bytes are moved in front of it.
 */
import { Memory, WASM_PAGE, type WasmModule } from '../wasm.ts';
import { type DigestKernels, DigestState, digestKernels } from './xxh3.ts';

const START = 64;
/** Bytes of the buffer, a multiple of DIGEST_BLOCK. */
const ROOM = 0x10000;

/** The digest of one input at a time, which may come in pieces. */
export class BytesDigest {
  /** The halves of the digest that the last `finish` computed. */
  low = 0;
  high = 0;
  readonly #bytes: Uint8Array;
  readonly #kernels: DigestKernels;
  /** Bytes in the buffer that are not digested yet. */
  #filled = 0;
  /** Whether the buffer was full and has been digested. The input is then a long one. */
  #hasMore = false;

  /** `module` is the module xxh3-inside. */
  constructor(module: WasmModule) {
    const pages = (ROOM + WASM_PAGE) / WASM_PAGE;
    const memory = new Memory({ initial: pages, maximum: pages, shared: true });
    this.#bytes = new Uint8Array(memory.buffer, 0, START + ROOM);
    this.#kernels = digestKernels(module, memory, memory, new DigestState());
  }

  /** Begins an input. */
  begin(): void {
    this.#filled = 0;
    this.#hasMore = false;
  }

  /** Takes the next bytes of the input. */
  update(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const room = this.room();
      const count = Math.min(room.length, bytes.length - done);
      room.set(bytes.subarray(done, done + count));
      this.took(count);
      done += count;
    }
  }

  /**
   * The free part of the buffer, at least one byte, into which the caller can read the next bytes
   * without another copy. `took` then says how many it has read. Precondition: the input has more
   * bytes.
   */
  room(): Uint8Array {
    if (this.#filled === ROOM) {
      if (!this.#hasMore) this.#kernels.begin();
      this.#hasMore = true;
      this.#kernels.update(START, ROOM);
      this.#bytes.copyWithin(0, ROOM, START + ROOM);
      this.#filled = 0;
    }
    return this.#bytes.subarray(START + this.#filled);
  }

  /** The caller has filled this many bytes of the part that `room` returned. */
  took(bytes: number): void {
    this.#filled += bytes;
  }

  /** Computes the digest of all bytes since `begin`. */
  finish(): void {
    const kernels = this.#kernels;
    this.low = this.#hasMore
      ? kernels.finish(START, this.#filled)
      : kernels.digest(START, this.#filled);
    this.high = kernels.high();
  }
}
