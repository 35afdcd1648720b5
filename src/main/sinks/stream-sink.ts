/**
 * An image into any Writable: standard output, a compressor, an upload. Segments come in order, with
 * back-pressure, through a few shared slots; the bytes are the same as in a file.
 *
 * Every segment is copied once more on its way out: whoever reads the stream may keep what it got,
 * and the slot is used again.
 */
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { flag, objectWith, optional, text } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { createRing, type RingBuffers, SegmentRing } from '../../shared/dump/segment-ring.ts';
import type { CopyTarget } from '../../shared/dump/tasks.ts';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import type { FaultPlan } from '../../shared/faults.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { FAULT_PLAN, failMemoryAt } from '../faults.ts';
import type { DrainContext, ImageExtent, Sink } from './sink.ts';

/** Options of `streamSink`. */
export interface StreamSinkOptions {
  /** Ends the stream after the image, and destroys it when the dump fails. Default true. */
  readonly end?: boolean | undefined;
  /** For messages. Default 'the stream'. */
  readonly name?: string | undefined;
  /**
   * For tests of failures: faults at named points (docs/RELIABILITY.md). Default: none.
   *
   * @internal
   */
  readonly faults?: FaultPlan | undefined;
}

/** Segments that may be in memory for each worker: one being written out, one being filled. */
const SLOTS_PER_WORKER = 2;

const WRITABLE = objectWith<Writable>(
  ['write', 'end', 'on', 'once', 'off', 'destroy'],
  'a Writable of node:stream (Writable.fromWeb makes one of a web stream)',
);
const STREAM_SINK_OPTIONS: Shape<StreamSinkOptions> = {
  end: optional(flag),
  name: optional(text),
  faults: optional(FAULT_PLAN),
};

/** A sink that writes the image into a stream, in order. */
export class StreamSink implements Sink {
  /** What it writes to. */
  readonly kind = 'stream';
  /** An image in a stream has none. */
  readonly path: null = null;
  readonly #stream: Writable;
  readonly #end: boolean;
  readonly #name: string;
  readonly #faults: FaultPlan | undefined;
  #failure: unknown;
  #isOpen = false;
  /** Counts dumps: one that was stopped must not meddle with the next. */
  #dumps = 0;
  #extent: ImageExtent | undefined;
  #ring: RingBuffers | undefined;
  /** Ends the phase; set while the image is written. */
  #stop: (() => void) | undefined;

  /** @internal */
  constructor(stream: Writable, options: StreamSinkOptions = {}) {
    const checked = optionsOf('streamSink', options, STREAM_SINK_OPTIONS);
    this.#stream = WRITABLE('stream', stream);
    this.#end = checked.end ?? true;
    this.#name = checked.name ?? 'the stream';
    this.#faults = checked.faults;
  }

  /** @internal */
  async open(): Promise<void> {
    if (this.#isOpen) throw this.#error('is being written by another dump');
    if (!this.#stream.writable) throw this.#error('cannot be written: it has ended');
    this.#isOpen = true;
    this.#dumps++;
    this.#failure = undefined;
    this.#stream.on('error', this.#onFailure);
    this.#stream.on('close', this.#onClose);
  }

  readonly #onFailure = (error: unknown): void => {
    this.#failure ??= error;
    this.#stop?.();
  };

  readonly #onClose = (): void => this.#onFailure(new Error('it was closed'));

  /** @internal */
  async reserve(extent: ImageExtent): Promise<CopyTarget> {
    const { workers, maxSegmentBytes } = extent;
    const slots = workers * SLOTS_PER_WORKER;
    try {
      failMemoryAt('buffer', this.#faults);
      this.#ring = createRing(slots, maxSegmentBytes);
    } catch (error) {
      throw this.#error(`cannot be given ${slots} slots of ${maxSegmentBytes} bytes`, error);
    }
    this.#extent = extent;
    return { kind: 'stream', ring: this.#ring };
  }

  /**
   * Writes the segments out while the workers fill the ring. Stops the phase where that fails.
   *
   * @internal
   */
  async drain({ phase, over, signal }: DrainContext): Promise<void> {
    const { segments, segmentCount } = this.#extent!;
    const buffers = this.#ring!;
    const ring = new SegmentRing(buffers);
    const stop = (): void => {
      phase.stop();
      ring.wake(); // whoever waits for a slot sees the stop word
    };
    this.#stop = stop;
    signal?.addEventListener('abort', stop, { once: true });
    try {
      for (let segment = 0; segment < segmentCount; segment++) {
        if (!(await ring.waitForSegment(segment, over))) break;
        const length = segments.bytes(segment);
        await this.#write(new Uint8Array(buffers.slots[ring.slotOf(segment)]!, 0, length), signal);
        ring.consume(segment);
      }
    } catch (error) {
      if (signal?.aborted !== true) this.#failure ??= error;
      stop();
    } finally {
      this.#stop = undefined;
      signal?.removeEventListener('abort', stop);
    }
    this.#assertWhole();
  }

  /** Hands a copy of the bytes to the stream and waits until it takes more. */
  async #write(segment: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    this.#assertWhole();
    const bytes = Buffer.allocUnsafe(segment.length);
    bytes.set(segment);
    if (this.#stream.write(bytes)) return;
    const over = new AbortController();
    const giveUp = (): void => over.abort();
    this.#stream.once('close', giveUp);
    signal?.addEventListener('abort', giveUp, { once: true });
    try {
      throwIfAborted(signal);
      await once(this.#stream, 'drain', { signal: over.signal });
    } catch (error) {
      throw this.#failure ?? error;
    } finally {
      this.#stream.off('close', giveUp);
      signal?.removeEventListener('abort', giveUp);
    }
  }

  /** @internal */
  async commit(): Promise<void> {
    this.#assertWhole();
    const dump = this.#dumps;
    const isOver = (): boolean => !this.#isOpen || this.#dumps !== dump;
    this.#stream.off('close', this.#onClose); // ending closes it
    try {
      await this.#flush();
    } catch (error) {
      if (!isOver()) this.#failure ??= error;
    }
    if (isOver()) return; // aborted while the stream did not take the rest
    this.#assertWhole();
    this.#release();
  }

  /** Resolves once everything has left the stream's own buffer. */
  async #flush(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const done = (error?: Error | null): void => (error ? reject(error) : resolve());
      if (!this.#end) {
        this.#stream.write('', done);
        return;
      }
      this.#stream.once('error', reject);
      this.#stream.end(() => resolve());
    });
  }

  /** @internal */
  async abort(): Promise<void> {
    if (!this.#isOpen) return;
    this.#release();
    if (!this.#end || this.#stream.destroyed) return;
    this.#stream.on('error', () => {}); // it is told below; whoever else listens hears of it
    this.#stream.destroy(new Error('the dump failed: the image is not whole'));
  }

  #release(): void {
    this.#stream.off('error', this.#onFailure);
    this.#stream.off('close', this.#onClose);
    this.#isOpen = false;
    this.#ring = undefined;
    this.#extent = undefined;
  }

  #assertWhole(): void {
    if (this.#failure === undefined) return;
    if (this.#failure instanceof MmdumpError) throw this.#failure;
    throw this.#error(`cannot be written: ${reasonOf(this.#failure)}`, this.#failure);
  }

  #error(what: string, cause?: unknown): MmdumpError {
    const errno = errnoOf(cause);
    const fields = errno === undefined ? {} : { errno };
    return new MmdumpError('OUTPUT_FAILED', `${this.#name} ${what}`, fields, cause);
  }
}

/** A sink that writes into `stream`, in order and with back-pressure. */
export function streamSink(stream: Writable, options: StreamSinkOptions = {}): StreamSink {
  return new StreamSink(stream, options);
}
