/**
 * Bounds the memory that the records of an image take while it is open. An image may come from
 * anyone, and its index grows with its records, so memory is counted before it is allocated.
 */
import { type Check, wholeNumber } from '../../../shared/arguments/checks.ts';
import { MmdumpError } from '../../../shared/errors.ts';
import { GiB } from '../../../shared/page.ts';

/** The index of some 33 million blocks. A dump such as docs/ measures needs a thousandth of it. */
export const MAX_INDEX_BYTES: number = GiB;

/** Checks the option `maxIndexBytes`. */
export const MAX_INDEX: Check<number> = wholeNumber(1);

/**
 * Costs per record, in bytes and generous: an object of V8 with its numbers, and its entries in the
 * tables that lead to it.
 */
export const INDEX_COST = {
  MM: 4096, //   with its first, empty table of blocks
  VMA: 1024,
  FILE: 1024, // and three times the path: as bytes, as text, and the payload that both come from
  FILE_GRANULE: 512, // 512 pages of a file, some of which the image stores
  FILE_RUN: 128, //     neighbouring pages of a granule that one mm stores
  PAYLOAD: 56, //       an entry in the table of the verification, and its unit
} as const;

export class IndexBudget {
  readonly #limit: number;
  readonly #name: string;
  #used = 0;

  /** `name` is the name of the image, for the message. `limit` is in bytes. */
  constructor(name: string, limit: number = MAX_INDEX_BYTES) {
    this.#name = name;
    this.#limit = limit;
  }

  /** Bytes that were taken so far. */
  get used(): number {
    return this.#used;
  }

  /** Counts `bytes` more bytes before they are allocated. IMAGE_TOO_LARGE beyond the limit. */
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
