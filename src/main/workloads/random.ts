/** Seeded random numbers (xorshift128). A seed gives the same workload on every computer. */
export class Random {
  readonly #state = new Int32Array(4);

  constructor(seed: number) {
    // Neighbouring seeds must not give neighbouring states, so splitmix32 spreads them.
    let mixed = seed | 0;
    for (let index = 0; index < 4; index++) {
      mixed = (mixed + 0x9e3779b9) | 0;
      let word = mixed ^ (mixed >>> 16);
      word = Math.imul(word, 0x21f0aaad);
      word ^= word >>> 15;
      word = Math.imul(word, 0x735a2d97);
      this.#state[index] = word ^ (word >>> 15);
    }
  }

  /** 32 random bits. */
  next(): number {
    const state = this.#state;
    let word = state[3]!;
    word ^= word << 11;
    word ^= word >>> 8;
    state[3] = state[2]!;
    state[2] = state[1]!;
    const first = state[0]!;
    state[1] = first;
    word ^= first ^ (first >>> 19);
    state[0] = word;
    return word | 0;
  }

  /** A whole number from 0 to limit - 1; limit at most 2^53. */
  below(limit: number): number {
    const value = (this.next() >>> 0) * 0x20_0000 + (this.next() >>> 11);
    return value % limit;
  }

  /** Fills words with random bits, none of them zero. */
  fill(words: Int32Array): void {
    for (let at = 0; at < words.length; at++) words[at] = this.next() | 1;
  }
}
