/**
 * The digest of a payload that comes in pieces, of either kind. A thread needs one object for all
 * payloads.
 */
import { crc32 } from 'node:zlib';
import { assert } from '../assert.ts';
import type { WasmModule } from '../wasm.ts';
import { BytesDigest } from './bytes-digest.ts';
import { DIGEST, type Digest, type DigestKind } from './digest-kind.ts';

/** The digest of one payload at a time. A crc32 is the low half. */
export class PayloadDigest implements Digest {
  /** The halves of the digest that the last `finish` computed. */
  low = 0;
  high = 0;
  digest: DigestKind = DIGEST.NONE;
  readonly #module: () => WasmModule;
  #xxh3: BytesDigest | undefined;

  /** `module` gives the module xxh3-inside. It is asked for when the first XXH3 is computed. */
  constructor(module: () => WasmModule) {
    this.#module = module;
  }

  /** Begins a payload. */
  begin(kind: DigestKind): void {
    this.digest = kind;
    this.low = 0;
    this.high = 0;
    if (kind === DIGEST.XXH3) this.#bytes().begin();
  }

  /** Takes the next bytes of the payload. */
  update(bytes: Uint8Array): void {
    if (this.digest === DIGEST.XXH3) this.#bytes().update(bytes);
    else this.low = crc32(bytes, this.low);
  }

  /**
   * A buffer into which the caller can read the next bytes of the payload without another copy.
   * `took` then says how many it has read. Preconditions: the digest is XXH3, and the payload has
   * more bytes.
   */
  room(): Uint8Array {
    assert(this.digest === DIGEST.XXH3, 'only XXH3 has room of its own');
    return this.#bytes().room();
  }

  /** The caller has filled this many bytes of the buffer that `room` returned. */
  took(bytes: number): void {
    this.#bytes().took(bytes);
  }

  /** Completes the digest of all bytes since `begin`. */
  finish(): void {
    if (this.digest !== DIGEST.XXH3) return;
    const xxh3 = this.#bytes();
    xxh3.finish();
    this.low = xxh3.low;
    this.high = xxh3.high;
  }

  /** The digest of a payload in one piece. */
  of(kind: DigestKind, bytes: Uint8Array): void {
    this.begin(kind);
    this.update(bytes);
    this.finish();
  }

  #bytes(): BytesDigest {
    this.#xxh3 ??= new BytesDigest(this.#module());
    return this.#xxh3;
  }
}
