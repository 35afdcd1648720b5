/**
 * How long to wait for something that should have happened long ago. Only time during which the waiter
 * really looks counts: one look takes `mostPerLook` milliseconds at most, and where the clock says
 * more, this thread did not run in between. The program was stopped in a debugger, or the computer
 * slept, and so did what it waits for.
 */
export class Patience {
  #left: number;
  #before: number = performance.now();
  readonly #mostPerLook: number;

  /** Both in milliseconds. */
  constructor(limit: number, mostPerLook: number) {
    this.#left = limit;
    this.#mostPerLook = mostPerLook;
  }

  /** Call once per look: whether it is time to give up. */
  isOver(): boolean {
    const now = performance.now();
    this.#left -= Math.max(0, Math.min(now - this.#before, this.#mostPerLook));
    this.#before = now;
    return this.#left < 0;
  }
}
