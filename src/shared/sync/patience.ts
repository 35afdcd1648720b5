/**
 * A time limit for something that should have happened long ago. Only time in which the waiter
 * really looks counts. One look takes at most `mostPerLook` milliseconds. If the clock says more,
 * this thread did not run in between: a debugger stopped the program, or the computer slept. The
 * thread that is waited for did not run either.
 */
export class Patience {
  #left: number;
  #before: number = performance.now();
  readonly #mostPerLook: number;

  /** Both parameters are in milliseconds. */
  constructor(limit: number, mostPerLook: number) {
    this.#left = limit;
    this.#mostPerLook = mostPerLook;
  }

  /** Must be called once per look. Returns whether the limit has passed. */
  isOver(): boolean {
    const now = performance.now();
    this.#left -= Math.max(0, Math.min(now - this.#before, this.#mostPerLook));
    this.#before = now;
    return this.#left < 0;
  }
}
