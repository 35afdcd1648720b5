/** The problems that a verification finds. */
import type { Problem } from '../../../shared/formats/problem.ts';

/**
 * This many problems with their messages take a few MiB. An image that is all damage has millions.
 */
const MAX_PROBLEMS = 10_000;

/** Lists problems up to a limit, and counts the others. */
export class ProblemList {
  readonly listed: Problem[] = [];
  unlisted = 0;
  readonly #limit: number;

  constructor(limit: number = MAX_PROBLEMS) {
    this.#limit = limit;
  }

  /** All problems so far, listed or not. */
  get count(): number {
    return this.listed.length + this.unlisted;
  }

  add(problem: Problem): void {
    if (this.listed.length < this.#limit) this.listed.push(problem);
    else this.unlisted++;
  }
}
