/**
 * XXH3-64 of bytes that lie in no wasm memory, or come in pieces of any length: they pass through a
 * small memory of its own, 64 KiB at a time. That costs a copy into the second cache, and leaves the
 * digest at more than twice the speed of crc32 (docs/PERFORMANCE.md, "Digests").
 *
 *   byte 0            64                                  64 + 64 KiB
 *        │ the 64 bytes │ bytes that are not yet digested … │
 *        │ before them  │                                   │
 *
 * The last 64 bytes of an input are digested once more at its end, so those before the room stay.
 */
import { Memory, WASM_PAGE, type WasmModule } from '../wasm.ts';
import { type DigestKernels, DigestState, digestKernels } from './xxh3.ts';

const START = 64;
/** A multiple of DIGEST_BLOCK. */
const ROOM = 0x10000;

export class BytesDigest {
  /** The halves of the digest that `finish` has computed last. */
  low = 0;
  high = 0;
  readonly #bytes: Uint8Array;
  readonly #kernels: DigestKernels;
  /** Bytes in the room. */
  #filled = 0;
  /** Whether any bytes have left the room: then the input is long. */
  #hasMore = false;

  /** `module`: xxh3-inside. */
  constructor(module: WasmModule) {
    const pages = (ROOM + WASM_PAGE) / WASM_PAGE;
    const memory = new Memory({ initial: pages, maximum: pages, shared: true });
    this.#bytes = new Uint8Array(memory.buffer, 0, START + ROOM);
    this.#kernels = digestKernels(module, memory, memory, new DigestState());
  }

  begin(): void {
    this.#filled = 0;
    this.#hasMore = false;
  }

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
   * At least one byte of room for what comes next, to be read into without another copy; `took` says
   * how much of it was filled. Precondition: some bytes do come next.
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

  took(bytes: number): void {
    this.#filled += bytes;
  }

  /** The digest of what came since `begin`. */
  finish(): void {
    const kernels = this.#kernels;
    this.low = this.#hasMore
      ? kernels.finish(START, this.#filled)
      : kernels.digest(START, this.#filled);
    this.high = kernels.high();
  }
}
