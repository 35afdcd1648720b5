/**
 * What the records of an image may take in memory while somebody reads it. An image is a file that
 * anybody can have made, and its index grows with its records, so it is counted before it is kept.
 */
import { type Check, wholeNumber } from '../../../shared/arguments/checks.ts';
import { MmdumpError } from '../../../shared/errors.ts';
import { GiB } from '../../../shared/page.ts';

/** The index of some 40 million blocks; one of the dumps in docs/ needs a thousandth of that. */
export const MAX_INDEX_BYTES: number = GiB;

/** The option `maxIndexBytes`. */
export const MAX_INDEX: Check<number> = wholeNumber(1);

/** Generous: an object of V8 with its numbers, and its entries in the tables that lead to it. */
export const INDEX_COST = {
  MM: 4096, //   with its first, empty table of blocks
  VMA: 1024,
  FILE: 1024, // and the path, three times: raw, as text, as what both were decoded from
  FILE_GRANULE: 512, // 512 pages of a file, some of which the image stores
  FILE_RUN: 128, //     pages of them that one mm stores side by side
  PAYLOAD: 40, //       an entry of the verification's table, and its unit
} as const;

export class IndexBudget {
  readonly #limit: number;
  readonly #name: string;
  #used = 0;

  /** `name` is that of the image, for the message. */
  constructor(name: string, limit: number = MAX_INDEX_BYTES) {
    this.#name = name;
    this.#limit = limit;
  }

  /** Bytes so far. */
  get used(): number {
    return this.#used;
  }

  /** Before `bytes` more are kept. IMAGE_TOO_LARGE beyond the limit. */
  take(bytes: number): void {
    this.#used += bytes;
    if (this.#used <= this.#limit) return;
    throw new MmdumpError(
      'IMAGE_TOO_LARGE',
      `${this.#name}: its records need more than ${this.#limit} bytes of memory; ` +
        "to read it all the same, raise 'maxIndexBytes'",
    );
  }
}
