/**
 * The digest of pages that lie in the parent image: XXH3-64 of the XXH3-64 digests of the pages, 8
 * bytes each (little-endian), in order of address. It does not depend on where the ancestors end
 * their blocks, and whoever knows the digests of the pages computes it without reading the pages.
 */
import type { WasmModule } from '../wasm.ts';
import { BytesDigest } from './bytes-digest.ts';
import { DIGEST, type Digest } from './digest-kind.ts';

/** The digest of one list at a time. */
export class PageListDigest implements Digest {
  /** The halves of the digest that the last `finish` computed. */
  low = 0;
  high = 0;
  readonly digest: typeof DIGEST.XXH3 = DIGEST.XXH3;
  readonly #module: () => WasmModule;
  #list = new Int32Array(1024);
  #words = 0;
  #xxh3: BytesDigest | undefined;

  /** `module` gives the module xxh3-inside. It is asked for when the first list is finished. */
  constructor(module: () => WasmModule) {
    this.#module = module;
  }

  /** Begins a list. */
  begin(): void {
    this.#words = 0;
  }

  /** Adds the digest of the next page, as two halves. */
  add(low: number, high: number): void {
    if (this.#words === this.#list.length) {
      const longer = new Int32Array(this.#words * 2);
      longer.set(this.#list);
      this.#list = longer;
    }
    this.#list[this.#words++] = low;
    this.#list[this.#words++] = high;
  }

  /** Computes the digest of the list. */
  finish(): void {
    this.#xxh3 ??= new BytesDigest(this.#module());
    this.#xxh3.begin();
    this.#xxh3.update(new Uint8Array(this.#list.buffer, 0, this.#words * 4));
    this.#xxh3.finish();
    this.low = this.#xxh3.low;
    this.high = this.#xxh3.high;
  }
}
