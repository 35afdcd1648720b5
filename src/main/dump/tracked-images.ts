/**
 * Images at whose instant the pages of their mms became clean (`track`), by id. They are remembered
 * by the dumper that has written them. Of an mm, only the last such image is of use.
 */

/** An mm at the instant at which its pages became clean. */
export interface TrackedMm {
  /** The id of its machine. */
  readonly machine: string;
  readonly slot: number;
  readonly generation: number;
  /** What `dirtyInstant` has returned. */
  readonly instant: number;
}

/** More images than mms that a program dumps in turn. */
const IMAGES_MAX = 1024;

/** The tracked images of one dumper. */
export class TrackedImages {
  /** In the order in which they were written. */
  readonly #images = new Map<string, readonly TrackedMm[]>();

  /** The mms of the image with this id, by ordinal. Undefined if it is not remembered. */
  get(id: string): readonly TrackedMm[] | undefined {
    return this.#images.get(id);
  }

  /** Remembers an image, and forgets the oldest one if there are too many. */
  remember(id: string, mms: readonly TrackedMm[]): void {
    this.#images.delete(id);
    this.#images.set(id, mms);
    for (const oldest of this.#images.keys()) {
      if (this.#images.size <= IMAGES_MAX) return;
      this.#images.delete(oldest);
    }
  }

  clear(): void {
    this.#images.clear();
  }
}
