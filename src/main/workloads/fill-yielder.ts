/** Filling gigabytes takes seconds, so a fill yields now and then, and can be stopped. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { throwIfAborted } from '../../shared/sync/wait.ts';

/** Pages between two yields; filling them takes a few milliseconds. */
const PAGES_PER_YIELD = 2048;

export class FillYielder {
  readonly #signal: AbortSignal | undefined;
  #pages = 0;

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
  }

  /** Call after `pages` more pages. Rejects with AbortError once the signal has fired. */
  async step(pages: number): Promise<void> {
    this.#pages += pages;
    if (this.#pages < PAGES_PER_YIELD) return;
    this.#pages = 0;
    await nextTurn();
    throwIfAborted(this.#signal);
  }
}
