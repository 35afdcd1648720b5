/**
 * The anonvmaid of VMAs. VMAs that share pages through COPYPAGES objects have one id, in whichever
 * mms they are. They form a forest (union-find), built from the pairs that the workers have found.
 */
export class AnonIds {
  /** The parent of each VMA. The root of a tree is its own parent. */
  readonly #parents: Int32Array;
  /** 1 for each VMA that gives or takes clones. */
  readonly #isJoined: Uint8Array;

  /** `vmas` is the number of VMAs, which are numbered over all mms. */
  constructor(vmas: number) {
    this.#parents = new Int32Array(vmas);
    for (let vma = 0; vma < vmas; vma++) this.#parents[vma] = vma;
    this.#isJoined = new Uint8Array(vmas);
  }

  /** Joins pairs of VMAs. Two elements of `pairs` make one pair. */
  joinAll(pairs: readonly number[]): void {
    for (let at = 0; at < pairs.length; at += 2) this.#join(pairs[at]!, pairs[at + 1]!);
  }

  /**
   * Writes the id of each VMA to `into`. Ids ascend from 1 in the order of the image. A VMA that
   * neither gives nor takes clones has id 0.
   */
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
      parents[at] = parents[parent]!; // path halving: later walks are shorter
    }
  }
}
