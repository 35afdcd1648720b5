/** The bytes of a unit of a search, as a worker reads them. */

/**
 * Parts of the buffer, each with its first byte and the byte after its last one, in turn. They
 * ascend, and are made anew for each unit.
 */
export class Spans {
  readonly #words: number[] = [];

  clear(): void {
    this.#words.length = 0;
  }

  /** Adds a part behind all others. One that begins where the last one ends continues it. */
  add(from: number, to: number): void {
    const words = this.#words;
    if (words.length > 0 && words[words.length - 1] === from) words[words.length - 1] = to;
    else words.push(from, to);
  }

  get count(): number {
    return this.#words.length / 2;
  }

  from(index: number): number {
    return this.#words[index * 2]!;
  }

  to(index: number): number {
    return this.#words[index * 2 + 1]!;
  }

  /** The first byte from `at` on that lies in a part; -1 if there is none. */
  firstFrom(at: number): number {
    const words = this.#words;
    let low = 0;
    let high = words.length / 2;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (words[middle * 2 + 1]! > at) high = middle;
      else low = middle + 1;
    }
    return low === words.length / 2 ? -1 : Math.max(at, words[low * 2]!);
  }
}

/** Reads one unit after the other. Its fields are those of the unit that was loaded last. */
export interface UnitBytes {
  readonly buffer: Buffer;
  /** Parts of the buffer whose bytes are known. No match leaves a part. */
  readonly known: Spans;
  /** Parts of the buffer with pages that are more than zeros that nothing stores. */
  readonly stored: Spans;
  /** Loads the unit whose words begin at units[at]. */
  load(units: Float64Array, at: number): void;
  /** Lets go of what it holds. */
  close(): void;
}
