/**
 * Files that a new image replaces, out of the way until it is safe. They keep their bytes, their
 * order and their numbers (`.mmdump-….old.003.tmp` was `OUT.003`), so that whatever fails they can be
 * put back: by the sink, at the end of the process, or by hand after a crash.
 */
import { renameSync } from 'node:fs';
import { errnoOf } from '../../shared/errors.ts';
import { inTurn } from '../job/settle.ts';
import type { FileCalls } from './file-calls.ts';
import { outputFailed } from './output-error.ts';
import { removeNow, temporaryStem } from './output-file.ts';

interface Moved {
  readonly path: string;
  readonly aside: string;
}

export class SetAside {
  readonly #image: string;
  readonly #stem: string;
  readonly #calls: FileCalls;
  /** In the order in which they went; each until it is back, or gone. */
  readonly #moved: Set<Moved> = new Set();

  /** `image`: what the names of all files that are set aside begin with. */
  constructor(image: string, calls: FileCalls) {
    this.#image = image;
    this.#stem = `${temporaryStem(image)}.old`;
    this.#calls = calls;
  }

  get isEmpty(): boolean {
    return this.#moved.size === 0;
  }

  async move(path: string): Promise<void> {
    const aside = `${this.#stem}${path.slice(this.#image.length)}.tmp`;
    const moved = { path, aside };
    this.#moved.add(moved); // before it is so: the end of the process may come between
    try {
      await this.#calls.rename(path, aside);
    } catch (error) {
      this.#moved.delete(moved);
      throw outputFailed(path, 'cannot be set aside', error);
    }
  }

  /** All of them have their names again; fails if one keeps the other. */
  async putBack(): Promise<void> {
    await inTurn([...this.#moved].reverse().map((one) => () => this.#putBack(one)));
  }

  async #putBack(moved: Moved): Promise<void> {
    const { path, aside } = moved;
    try {
      await this.#calls.rename(aside, path);
      this.#moved.delete(moved);
    } catch (error) {
      throw outputFailed(path, `was set aside and is ${aside} now`, error);
    }
  }

  /** The new image is safe: they are not needed any more. Fails if one is left. */
  async discard(): Promise<void> {
    await inTurn([...this.#moved].map((one) => () => this.#discard(one)));
  }

  async #discard(moved: Moved): Promise<void> {
    const { path, aside } = moved;
    try {
      await this.#calls.remove(aside);
      this.#moved.delete(moved);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return;
      throw outputFailed(path, `was replaced, but ${aside} is left behind`, error);
    }
  }

  /** For the end of the process. */
  putBackNow(): void {
    for (const { path, aside } of [...this.#moved].reverse()) {
      try {
        renameSync(aside, path);
      } catch {
        // It never went, or cannot come back at all.
      }
    }
  }

  discardNow(): void {
    for (const { aside } of this.#moved) removeNow(aside);
  }
}
