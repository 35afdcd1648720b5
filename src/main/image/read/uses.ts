/**
 * Counts the uses of an object that can be closed. A close waits for the uses that have begun, and
 * no use begins afterwards. So a descriptor is never closed during a read, which would go on with
 * the file that gets this number next.
 */
export class Uses {
  readonly #refuse: () => Error;
  #count = 0;
  #closed: Promise<void> | undefined;
  #idle: () => void = () => {};

  /** `refuse` makes the error for a use after the close. */
  constructor(refuse: () => Error) {
    this.#refuse = refuse;
  }

  /** Throws if the object was closed. */
  assertOpen(): void {
    if (this.#closed !== undefined) throw this.#refuse();
  }

  /** Runs a job, during which the object stays open. */
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

  /**
   * Closes the object with `end`, after the jobs that have begun. A second close joins the first.
   */
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
