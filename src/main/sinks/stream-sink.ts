/**
 * An image into any Writable, such as standard output, a compressor or an upload. Segments come in
 * order and with back-pressure through a few shared slots. The bytes are the same as in a file.
 *
 * Every segment is copied once more on its way out, because the consumer of the stream may keep
 * what it got, and the slot is used again.
 */
import type { Writable } from 'node:stream';
import { flag, objectWith, optional, text } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { assert } from '../../shared/assert.ts';
import { createRing, type RingBuffers, SegmentRing } from '../../shared/dump/segment-ring.ts';
import type { RingTarget } from '../../shared/dump/tasks/copy-target.ts';
import type { FaultPlan } from '../../shared/faults.ts';
import { FAULT_PLAN, failMemoryAt } from '../job/faults.ts';
import { OpenStream, streamFailed } from './open-stream.ts';
import type { BuiltInTarget, DrainContext, ImageExtent, Sink } from './sink.ts';

/** Options of `streamSink`. */
export interface StreamSinkOptions {
  /**
   * Ends the stream after the image, and destroys it when the dump fails. With true, the default,
   * the dump resolves when the stream has closed without an error. With false it resolves when the
   * stream has taken the last byte, and a dump that fails leaves the stream open, with a part of
   * the image in it.
   */
  readonly end?: boolean | undefined;
  /** Names the stream in messages. Default 'the stream'. */
  readonly name?: string | undefined;
  /** @internal Faults at named points, for tests (docs/RELIABILITY.md). Default: none. */
  readonly faults?: FaultPlan | undefined;
}

/** Slots per worker: one segment is written out while another one is filled. */
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

/** A sink that writes the image into a stream, in order. `streamSink` makes it. */
export class StreamSink implements Sink {
  /** The kind of the output: a stream. */
  readonly kind = 'stream';
  /** Always null: an image in a stream has no path. */
  readonly path: null = null;
  readonly #stream: Writable;
  readonly #end: boolean;
  readonly #name: string;
  readonly #faults: FaultPlan | undefined;
  /** The stream of the current dump, from `open` until the image is committed or aborted. */
  #open: OpenStream | undefined;
  #extent: ImageExtent | undefined;
  #ring: RingBuffers | undefined;

  /** @internal */
  constructor(stream: Writable, options: StreamSinkOptions = {}) {
    const checked = optionsOf('streamSink', options, STREAM_SINK_OPTIONS);
    this.#stream = WRITABLE('stream', stream);
    this.#end = checked.end ?? true;
    this.#name = checked.name ?? 'the stream';
    this.#faults = checked.faults;
  }

  /** The stream. Two sinks for one stream must not write at the same time. */
  get target(): Writable {
    return this.#stream;
  }

  /** Step of a dump: see `Sink`. */
  async open(): Promise<void> {
    if (!this.#stream.writable) throw streamFailed(this.#name, 'cannot be written: it has ended');
    this.#open = new OpenStream(this.#stream, this.#name);
  }

  #opened(): OpenStream {
    assert(this.#open !== undefined, 'a stream sink is used before it is open');
    return this.#open;
  }

  /** Step of a dump: see `Sink`. */
  async reserve(extent: ImageExtent): Promise<BuiltInTarget> {
    const { workers, maxSegmentBytes } = extent;
    const slots = workers * SLOTS_PER_WORKER;
    try {
      failMemoryAt('buffer', this.#faults);
      this.#ring = createRing(slots, maxSegmentBytes);
    } catch (error) {
      const what = `cannot be given ${slots} slots of ${maxSegmentBytes} bytes`;
      throw streamFailed(this.#name, what, error);
    }
    this.#extent = extent;
    const target: RingTarget = { kind: 'stream', ring: this.#ring };
    return target;
  }

  /** @internal Writes segments out while workers fill the ring. Stops the phase if that fails. */
  async drain({ phase, over, signal }: DrainContext): Promise<void> {
    const { segments } = this.#extent!;
    const buffers = this.#ring!;
    const output = this.#opened();
    const ring = new SegmentRing(buffers);
    const stop = (): void => {
      phase.stop();
      ring.wake(); // a worker that waits for a slot sees the stop word
    };
    output.failed.addEventListener('abort', stop, { once: true });
    signal?.addEventListener('abort', stop, { once: true });
    try {
      for (let segment = 0; segment < segments; segment++) {
        if (!(await ring.waitForSegment(segment, over))) break;
        const length = ring.bytes(segment);
        const bytes = new Uint8Array(buffers.slots[ring.slotOf(segment)]!, 0, length);
        await output.write(bytes, signal);
        ring.consume(segment);
      }
    } catch (error) {
      if (signal?.aborted !== true) output.fail(error);
      stop();
    } finally {
      output.failed.removeEventListener('abort', stop);
      signal?.removeEventListener('abort', stop);
    }
    output.assertWhole();
  }

  /** Resolves when the stream has taken everything and, with `end`, has closed. */
  async commit(): Promise<void> {
    const output = this.#opened();
    await output.finish(this.#end);
    if (this.#open === output) this.#release(output); // otherwise it was aborted meanwhile
  }

  /** Step of a dump: see `Sink`. */
  async abort(): Promise<void> {
    const output = this.#open;
    if (output === undefined) return;
    this.#release(output);
    if (!this.#end) return;
    this.#stream.on('error', () => {}); // the dump reports it; other listeners hear it as well
    if (!this.#stream.destroyed) {
      this.#stream.destroy(new Error('the dump failed: the image is incomplete'));
    }
  }

  #release(output: OpenStream): void {
    output.release();
    this.#open = undefined;
    this.#ring = undefined;
    this.#extent = undefined;
  }
}

/**
 * Creates a sink that writes an image into `stream`, in order and with back-pressure. Memory is
 * bounded by two segments per worker, which are a few MiB each. Any failure of the stream, also at
 * its end, is OUTPUT_FAILED in the dump. OPTION_INVALID for a stream or options that are not valid.
 */
export function streamSink(stream: Writable, options: StreamSinkOptions = {}): StreamSink {
  return new StreamSink(stream, options);
}
