/**
 * Files that a new image replaces. They get temporary names until the new image is safe. They keep
 * their bytes, their order and their numbers (`.mmdump-….old.003.tmp` was `OUT.003`), so they can
 * be put back after any failure: by the sink, at the end of the process, or by hand after a crash.
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
  /** Files that are set aside, in that order, until each is put back or removed. */
  readonly #moved: Set<Moved> = new Set();

  /** The path of every file that is set aside begins with `image`. */
  constructor(image: string, calls: FileCalls) {
    this.#image = image;
    this.#stem = `${temporaryStem(image)}.old`;
    this.#calls = calls;
  }

  get isEmpty(): boolean {
    return this.#moved.size === 0;
  }

  /** Sets a file aside. */
  async move(path: string): Promise<void> {
    const aside = `${this.#stem}${path.slice(this.#image.length)}.tmp`;
    const moved = { path, aside };
    this.#moved.add(moved); // before the rename, since the process may end in between
    try {
      await this.#calls.rename(path, aside);
    } catch (error) {
      this.#moved.delete(moved);
      throw outputFailed(path, 'cannot be set aside', error);
    }
  }

  /** Gives all files their names back. Rejects if one of them keeps its temporary name. */
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

  /** Removes the files, when the new image is safe. Rejects if one of them is left behind. */
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

  /** Puts the files back synchronously, at the end of the process. */
  putBackNow(): void {
    for (const { path, aside } of [...this.#moved].reverse()) {
      try {
        renameSync(aside, path);
      } catch {
        // The file was not set aside yet, or it cannot be put back at all.
      }
    }
  }

  /** Removes the files synchronously, at the end of the process. */
  discardNow(): void {
    for (const { aside } of this.#moved) removeNow(aside);
  }
}
