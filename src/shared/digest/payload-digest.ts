/** The digest of a payload that comes in pieces, of either kind. One object for all payloads of a thread. */
import { crc32 } from 'node:zlib';
import { assert } from '../assert.ts';
import type { WasmModule } from '../wasm.ts';
import { BytesDigest } from './bytes-digest.ts';
import { DIGEST, type DigestKind } from './digest-kind.ts';

export class PayloadDigest {
  /** The halves of the digest that `finish` has computed last. */
  low = 0;
  high = 0;
  digest: DigestKind = DIGEST.NONE;
  readonly #module: WasmModule;
  #xxh3: BytesDigest | undefined;

  /** `module`: xxh3-inside. */
  constructor(module: WasmModule) {
    this.#module = module;
  }

  begin(kind: DigestKind): void {
    this.digest = kind;
    this.low = 0;
    this.high = 0;
    if (kind === DIGEST.XXH3) this.#bytes().begin();
  }

  update(bytes: Uint8Array): void {
    if (this.digest === DIGEST.XXH3) this.#bytes().update(bytes);
    else this.low = crc32(bytes, this.low);
  }

  /**
   * Room for bytes of the payload that are still to be read, so that they need not be copied; `took`
   * says how many were. XXH3 only. At least one byte has to come.
   */
  room(): Uint8Array {
    assert(this.digest === DIGEST.XXH3, 'only XXH3 has room of its own');
    return this.#bytes().room();
  }

  took(bytes: number): void {
    this.#bytes().took(bytes);
  }

  finish(): void {
    if (this.digest !== DIGEST.XXH3) return;
    const xxh3 = this.#bytes();
    xxh3.finish();
    this.low = xxh3.low;
    this.high = xxh3.high;
  }

  /** Of a payload in one piece. */
  of(kind: DigestKind, bytes: Uint8Array): void {
    this.begin(kind);
    this.update(bytes);
    this.finish();
  }

  /** Whether it is what was stored. */
  is(low: number, high: number): boolean {
    return this.low >>> 0 === low >>> 0 && this.high >>> 0 === high >>> 0;
  }

  #bytes(): BytesDigest {
    this.#xxh3 ??= new BytesDigest(this.#module);
    return this.#xxh3;
  }
}
