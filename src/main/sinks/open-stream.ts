/**
 * A stream during one dump. It is written with back-pressure. Its first failure is kept, in
 * whatever way the stream reports it: by an 'error' event, by the callback of a write, by closing
 * too early, or while it ends.
 */
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { abortable } from '../job/stop.ts';

export class OpenStream {
  readonly #stream: Writable;
  readonly #name: string;
  readonly #failed = new AbortController();
  #failure: unknown;
  /** An 'error' event has come. A stream emits no second one. */
  #hasEmitted = false;
  /** Settles when the stream has called back for the last write, and so for all writes. */
  #written: Promise<void> = Promise.resolve();

  /** `name` names the stream in messages. */
  constructor(stream: Writable, name: string) {
    this.#stream = stream;
    this.#name = name;
    stream.on('error', this.#onError);
    stream.on('close', this.#onClose);
  }

  readonly #onError = (error: unknown): void => {
    this.#hasEmitted = true;
    this.fail(error);
  };

  readonly #onClose = (): void => this.fail(new Error('it was closed'));

  /** Fires when something goes wrong with the stream. */
  get failed(): AbortSignal {
    return this.#failed.signal;
  }

  /** Keeps the first failure. */
  fail(error: unknown): void {
    if (this.failed.aborted) return;
    this.#failure = error;
    this.#failed.abort();
  }

  /** Throws OUTPUT_FAILED with the first failure, if there was one. */
  assertWhole(): void {
    if (!this.failed.aborted) return;
    if (this.#failure instanceof MmdumpError) throw this.#failure;
    const reason = `cannot be written: ${reasonOf(this.#failure)}`;
    throw streamFailed(this.#name, reason, this.#failure);
  }

  /** Hands a copy of the bytes to the stream, and waits until the stream takes more. */
  async write(segment: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    this.assertWhole();
    const bytes = Buffer.allocUnsafe(segment.length);
    bytes.set(segment);
    let takesMore = true;
    this.#written = new Promise((resolve) => {
      takesMore = this.#stream.write(bytes, (error) => {
        if (error) this.fail(error);
        resolve();
      });
    });
    if (!takesMore) await this.#drained(signal);
  }

  async #drained(signal: AbortSignal | undefined): Promise<void> {
    const over = new AbortController();
    const giveUp = (): void => over.abort();
    this.failed.addEventListener('abort', giveUp, { once: true });
    signal?.addEventListener('abort', giveUp, { once: true });
    try {
      throwIfAborted(signal);
      this.assertWhole();
      await once(this.#stream, 'drain', { signal: over.signal });
    } catch (error) {
      this.assertWhole();
      throw error;
    } finally {
      this.failed.removeEventListener('abort', giveUp);
      signal?.removeEventListener('abort', giveUp);
    }
  }

  /**
   * Resolves when the stream has taken everything that was written. With `end` it ends the stream,
   * and also waits for what the stream does at its end and when it closes.
   */
  async finish(end: boolean): Promise<void> {
    this.assertWhole();
    try {
      if (end) await this.#end();
      else await abortable(this.#written, this.failed);
    } catch (error) {
      this.fail(error);
    }
    this.assertWhole();
  }

  async #end(): Promise<void> {
    this.#stream.off('close', this.#onClose); // a stream closes after its end
    this.#stream.end();
    try {
      await finished(this.#stream, { readable: false, cleanup: true });
    } catch (error) {
      if (errnoOf(error) === 'ERR_STREAM_PREMATURE_CLOSE') this.#onClose();
      throw error;
    }
    // `finished` also resolves for a stream that was destroyed after its last write.
    if (this.#stream.writableFinished === false) this.#onClose();
  }

  /** Stops listening to the stream: the dump is over, and the stream is its owner's alone. */
  release(): void {
    // The callback of a write reports a failure before the 'error' event does. The dump has
    // reported it, so the event that still comes must not end a process which does not listen for
    // it.
    if (this.failed.aborted && !this.#hasEmitted) this.#stream.once('error', () => {});
    this.#stream.off('error', this.#onError);
    this.#stream.off('close', this.#onClose);
  }
}

/** The error with which a stream sink rejects. */
export function streamFailed(name: string, what: string, cause?: unknown): MmdumpError {
  const errno = errnoOf(cause);
  const fields = errno === undefined ? {} : { errno };
  return new MmdumpError('OUTPUT_FAILED', `${name} ${what}`, fields, cause);
}
