import { outcomeOf, PAGE, SHORT } from './outcome.mjs';

/** Words of a thread on the board, which is plain shared memory outside the simulated machine. */
export const BEGUN = 0; // the count that is being stored; written before the first store
export const DONE = 1; // the count that is stored in every link; written after the last store
const PATIENCE = 10_000;

/**
 * The count of one thread. It is stored into a chain of pages in different granules, one link after
 * the other: at every instant the counts do not rise along the chain, and the first is at most 1
 * ahead of the last. A link's page holds nothing but the count, so that equal links can be merged.
 */
export class Counters {
  #space;
  #links;
  #board;
  #mine;
  #words = new Int32Array(PAGE / 4);
  #bytes = new Uint8Array(this.#words.buffer);

  constructor(space, { links, board, mine }) {
    this.#space = space;
    this.#links = links;
    this.#board = board;
    this.#mine = mine;
  }

  get count() {
    return this.#board[this.#mine.at + DONE];
  }

  /** Counts on by one. Before each store it checks that nobody has changed the link. */
  step(makeRoom) {
    const before = this.count;
    Atomics.store(this.#board, this.#mine.at + BEGUN, before + 1);
    for (const link of this.#mine.links) {
      const found = this.#load(this.#space, link, makeRoom);
      if (found !== before) throw new Error(`own link at ${link}: ${found}, stored ${before}`);
      this.#words.fill(before + 1);
      insist(() => this.#space.write(link, this.#bytes), makeRoom);
    }
    Atomics.store(this.#board, this.#mine.at + DONE, before + 1);
  }

  /** Reads another thread's chain from its end. In that order the counts never fall. */
  checkOther(random, makeRoom) {
    const { at, links } = random.pick(this.#links);
    let least = Atomics.load(this.#board, at + DONE);
    for (const link of links.toReversed()) {
      const found = this.#load(this.#space, link, makeRoom);
      if (found < least) throw new Error(`link at ${link}: ${found}, was ${least} before`);
      least = found;
    }
    const most = Atomics.load(this.#board, at + BEGUN);
    if (least > most) throw new Error(`first link ${least}, but only ${most} was begun`);
  }

  /**
   * Checks that a fork shows every chain as it was at one instant. In the chain of the thread that
   * forked, every link must hold `count`.
   */
  checkChild(child, privateLinks, count, makeRoom) {
    for (const chain of this.#links) {
      const found = [];
      for (const link of chain.links.slice(0, privateLinks)) {
        found.push(this.#load(child, link, makeRoom));
      }
      const isChain = found.every((value, at) => at === 0 || value <= found[at - 1]);
      const isMine = chain.at === this.#mine.at;
      const isFine = isMine
        ? found.every((value) => value === count)
        : isChain && found[0] - found.at(-1) <= 1;
      if (!isFine)
        throw new Error(`links in a child: ${found}${isMine ? `, expected ${count}` : ''}`);
    }
  }

  #load(space, link, makeRoom) {
    insist(() => space.read(link, this.#bytes), makeRoom);
    const [value] = this.#words;
    if (this.#words.some((word) => word !== value)) throw new Error(`the page at ${link} is torn`);
    return value;
  }
}

/** Repeats an access that must succeed. Where memory is short, some is freed sooner or later. */
function insist(access, makeRoom) {
  for (let tries = 0; tries < PATIENCE; tries++) {
    const outcome = outcomeOf(access);
    if (outcome === 'nothing') return;
    if (outcome !== SHORT) throw new Error(`access to a counter: ${outcome}`);
    makeRoom();
  }
  throw new Error('no frame for a counter');
}
