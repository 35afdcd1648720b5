/**
 * The uses of something that can be closed: a close waits for those that have begun, and nothing
 * begins afterwards. So a file's descriptor is never closed under somebody who reads from it, who
 * would go on with whatever file has that number next.
 */
export class Uses {
  readonly #refuse: () => Error;
  #count = 0;
  #closed: Promise<void> | undefined;
  #idle: () => void = () => {};

  /** `refuse` makes the error of a use after the close. */
  constructor(refuse: () => Error) {
    this.#refuse = refuse;
  }

  /** Throws once it was closed. */
  assertOpen(): void {
    if (this.#closed !== undefined) throw this.#refuse();
  }

  /** Runs a job that keeps it open. */
  async during<T>(job: () => Promise<T>): Promise<T> {
    this.assertOpen();
    this.#count++;
    try {
      return await job();
    } finally {
      this.#count--;
      if (this.#count === 0) this.#idle();
    }
  }

  /** Ends it with `end`, after the jobs that have begun. Once only: a second close waits for the first. */
  close(end: () => Promise<void>): Promise<void> {
    this.#closed ??= this.#close(end);
    return this.#closed;
  }

  async #close(end: () => Promise<void>): Promise<void> {
    if (this.#count > 0) {
      await new Promise<void>((idle) => {
        this.#idle = idle;
      });
    }
    await end();
  }
}
