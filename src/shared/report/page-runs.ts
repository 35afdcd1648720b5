/**
 * The pages of the mappings of an mm as a stream of runs, which is short enough to stand in a page:
 * there may be millions. Numbers have seven bits per byte, the lowest first, and the eighth bit
 * says that more follow. For each run:
 *
 *   pages * 8 + kind
 *   COPY: how much further in the image it begins than behind the run before, as a signed number
 *   CLONE: ordinal of the donor
 *
 * The runs of a mapping cover all of its pages, so no run crosses its end.
 */
import { PAGE_SIZE } from '../page.ts';
import { PAGE_KIND } from './report-data.ts';

const KINDS = 8;

/** Writes runs. */
export class RunWriter {
  #bytes = new Uint8Array(1024);
  #length = 0;
  #count = 0;
  #expected = 0;

  /** Number of runs so far. */
  get count(): number {
    return this.#count;
  }

  /** The bytes so far. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** `where`: byte of the image for COPY, ordinal of the donor for CLONE, else without meaning. */
  add(kind: number, pages: number, where: number): void {
    this.#count++;
    this.#number(pages * KINDS + kind);
    if (kind === PAGE_KIND.CLONE) this.#number(where);
    if (kind !== PAGE_KIND.COPY) return;
    const ahead = where - this.#expected;
    this.#number(ahead < 0 ? -ahead * 2 - 1 : ahead * 2);
    this.#expected = where + pages * PAGE_SIZE;
  }

  #number(value: number): void {
    if (this.#length + 8 > this.#bytes.length) {
      const larger = new Uint8Array(this.#bytes.length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    let rest = value;
    for (; rest >= 128; rest = Math.floor(rest / 128)) {
      this.#bytes[this.#length++] = (rest % 128) + 128;
    }
    this.#bytes[this.#length++] = rest;
  }
}

/** Reads runs in order. The fields describe the run that `next` has read last. */
export class RunReader {
  kind = 0;
  pages = 0;
  /** COPY: byte of the image at which the run begins. CLONE: ordinal of the donor. Else 0. */
  where = 0;
  readonly #bytes: Uint8Array;
  #at = 0;
  #expected = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Reads the next run. Returns false at the end. */
  next(): boolean {
    if (this.#at === this.#bytes.length) return false;
    const head = this.#number();
    this.kind = head % KINDS;
    this.pages = Math.floor(head / KINDS);
    this.where = 0;
    if (this.kind === PAGE_KIND.CLONE) this.where = this.#number();
    if (this.kind === PAGE_KIND.COPY) {
      const coded = this.#number();
      this.where = this.#expected + (coded % 2 === 1 ? -(coded + 1) / 2 : coded / 2);
      this.#expected = this.where + this.pages * PAGE_SIZE;
    }
    return true;
  }

  #number(): number {
    let value = 0;
    for (let unit = 1; ; unit *= 128) {
      const byte = this.#bytes[this.#at++]!;
      if (byte < 128) return value + byte * unit;
      value += (byte - 128) * unit;
    }
  }
}
