/** A small seeded generator (mulberry32): the same seed gives the same choices on every thread. */
export class Random {
  #state;

  constructor(seed) {
    this.#state = seed | 0;
  }

  /** A whole number in [0, limit). */
  below(limit) {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let word = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    word = (word + Math.imul(word ^ (word >>> 7), 61 | word)) ^ word;
    return Math.floor((((word ^ (word >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  pick(choices) {
    return choices[this.below(choices.length)];
  }

  /** Picks from [weight, value] pairs. */
  weighted(choices) {
    let left = this.below(choices.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, value] of choices) {
      if (left < weight) return value;
      left -= weight;
    }
    return choices[0][1];
  }

  /** A range of pages inside [0, pages): mostly short, sometimes all of them. */
  range(pages) {
    const from = this.below(pages);
    const longest = this.below(6) === 0 ? pages : 8;
    return [from, Math.min(pages, from + 1 + this.below(longest))];
  }
}
