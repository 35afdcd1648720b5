/**
 * The anonvmaid of mappings: those that COPYPAGES join, of whatever mm, have one number. A forest of
 * mappings (union-find), filled from the pairs that the workers have found.
 */
export class AnonIds {
  /** A mapping's parent; its own number: the root of a tree. */
  readonly #parents: Int32Array;
  /** Whether the mapping gives or takes clones. */
  readonly #isJoined: Uint8Array;

  /** `vmas`: mappings of all mms, which are numbered through. */
  constructor(vmas: number) {
    this.#parents = new Int32Array(vmas);
    for (let vma = 0; vma < vmas; vma++) this.#parents[vma] = vma;
    this.#isJoined = new Uint8Array(vmas);
  }

  /** Pairs of mappings, one behind the other. */
  joinAll(pairs: readonly number[]): void {
    for (let at = 0; at < pairs.length; at += 2) this.#join(pairs[at]!, pairs[at + 1]!);
  }

  /** Ids by mapping, in the order of the image; 0: no COPYPAGES has to do with the mapping. */
  number(into: Int32Array): void {
    const ids = new Map<number, number>();
    for (let vma = 0; vma < this.#parents.length; vma++) {
      into[vma] = 0;
      if (this.#isJoined[vma] === 0) continue;
      const root = this.#rootOf(vma);
      if (!ids.has(root)) ids.set(root, ids.size + 1);
      into[vma] = ids.get(root)!;
    }
  }

  #join(a: number, b: number): void {
    this.#isJoined[a] = 1;
    this.#isJoined[b] = 1;
    this.#parents[this.#rootOf(a)] = this.#rootOf(b);
  }

  #rootOf(vma: number): number {
    const parents = this.#parents;
    for (let at = vma; ; at = parents[at]!) {
      const parent = parents[at]!;
      if (parent === at) return at;
      parents[at] = parents[parent]!; // halves the way for later looks
    }
  }
}
