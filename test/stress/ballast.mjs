import { outcomeOf, PAGE, SHORT, uniform } from './outcome.mjs';

/**
 * Pages that only this thread writes and that stay mapped; they are what makes memory short. Forks
 * do not get them, because frames that a fork shares cannot be reclaimed.
 */
export class Ballast {
  #space;
  #base;
  #values;
  #bytes = new Uint8Array(PAGE);

  constructor(space, { base, count }) {
    this.#space = space;
    this.#base = base;
    this.#values = new Uint8Array(count);
  }

  load(random) {
    const length = this.#values.length * PAGE;
    const flags = ['private', 'anonymous', 'fixed'];
    this.#space.mmap({ address: this.#base, length, prot: 'rw', flags });
    this.#space.madvise(this.#base, length, 'dontfork');
    for (let page = 0; page < this.#values.length; page++) this.#store(page, random);
  }

  /** Writes or checks some neighbouring pages. Returns false where memory is short. */
  step(random) {
    const [from, to] = random.range(this.#values.length);
    const isStore = random.below(2) === 0;
    for (let page = from; page < Math.min(to, from + 64); page++) {
      const isDone = isStore ? this.#store(page, random) : this.#check(page);
      if (!isDone) return false;
    }
    return true;
  }

  #store(page, random) {
    const value = 1 + random.below(255);
    const outcome = this.#access(() => this.#space.fill(this.#base + page * PAGE, PAGE, value));
    if (outcome) this.#values[page] = value;
    return outcome;
  }

  #check(page) {
    if (!this.#access(() => this.#space.read(this.#base + page * PAGE, this.#bytes))) return false;
    const value = uniform(this.#bytes, `page ${page} of the ballast`);
    if (value === this.#values[page]) return true;
    throw new Error(`page ${page} of the ballast: ${value}, written ${this.#values[page]}`);
  }

  #access(access) {
    const outcome = outcomeOf(access);
    if (outcome !== 'nothing' && outcome !== SHORT) throw new Error(`the ballast: ${outcome}`);
    return outcome === 'nothing';
  }
}
