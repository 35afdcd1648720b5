/** Computes the id of an image (docs/IMAGE_FORMAT.md, "The id of an image"). */
import { createHash } from 'node:crypto';

/** sha256 over record crcs. It gathers 1024 of them for one call of the hash. */
export class IdHash {
  readonly #hash = createHash('sha256');
  readonly #crcs = new Uint32Array(1024);
  #count = 0;

  constructor(headCrc: number) {
    this.add(headCrc);
  }

  add(recordCrc: number): void {
    this.#crcs[this.#count++] = recordCrc;
    if (this.#count === this.#crcs.length) this.#flush();
  }

  digest(): string {
    this.#flush();
    return this.#hash.digest('hex').slice(0, 32);
  }

  #flush(): void {
    this.#hash.update(new Uint8Array(this.#crcs.buffer, 0, this.#count * 4));
    this.#count = 0;
  }
}
