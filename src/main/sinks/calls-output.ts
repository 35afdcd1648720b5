/**
 * Hands an image to the `write` of a sink. Workers fill the slots of a ring with segments; this
 * thread copies them out, in order, and makes the calls. A call gets memory of its own, so a slot is
 * empty again at once, and the sink may keep the bytes. Memory is bounded by the slots and by the
 * pieces of the calls that are under way.
 */
import { assert } from '../../shared/assert.ts';
import { createRing, type RingBuffers, SegmentRing } from '../../shared/dump/segment-ring.ts';
import type { RingTarget } from '../../shared/dump/tasks/copy-target.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { abortable } from '../job/stop.ts';
import type { CallsTarget, DrainContext, ImageExtent } from './sink.ts';

/** Slots per worker: one segment is copied out while another one is filled. */
const SLOTS_PER_WORKER = 2;

export class CallsOutput {
  /** Where the workers write. */
  readonly target: RingTarget;
  readonly #calls: CallsTarget;
  readonly #extent: ImageExtent;
  readonly #buffers: RingBuffers;

  /** OUTPUT_FAILED if there is no memory for the slots. */
  constructor(calls: CallsTarget, extent: ImageExtent) {
    const { workers, maxSegmentBytes, isExact } = extent;
    assert(isExact, 'a sink that takes calls gets a counting pass');
    this.#calls = calls;
    this.#extent = extent;
    const slots = workers * SLOTS_PER_WORKER;
    try {
      this.#buffers = createRing(slots, maxSegmentBytes);
    } catch (error) {
      const message = `no memory for ${slots} slots of ${maxSegmentBytes} bytes`;
      throw new MmdumpError('OUTPUT_FAILED', message, {}, error);
    }
    this.target = { kind: 'stream', ring: this.#buffers };
  }

  /**
   * Resolves when every call has resolved. Rejects with the first error of a call; the phase is
   * stopped by then. If the dump is stopped or workers are lost it resolves: they say what happened.
   */
  async drain({ phase, over, signal }: DrainContext): Promise<void> {
    const ring = new SegmentRing(this.#buffers);
    const { bytes, segments } = this.#extent;
    const pieces = new Pieces(this.#calls, bytes, () => {
      phase.stop();
      ring.wake(); // a worker that waits for a slot sees the stop word
    });
    const stop = (): void => pieces.stop();
    signal?.addEventListener('abort', stop, { once: true });
    let segment = 0;
    try {
      while (segment < segments && (await ring.waitForSegment(segment, over))) {
        const slot = this.#buffers.slots[ring.slotOf(segment)]!;
        await pieces.add(new Uint8Array(slot, 0, ring.bytes(segment)));
        ring.consume(segment++);
      }
      if (segment === segments) await pieces.end();
      else pieces.stop();
    } catch (error) {
      pieces.stop();
      if (!pieces.hasFailed && signal?.aborted !== true) throw error;
    } finally {
      signal?.removeEventListener('abort', stop);
    }
    pieces.assertWhole();
  }
}

/** Cuts the image into the pieces of the calls, and makes the calls. */
class Pieces {
  readonly #calls: CallsTarget;
  readonly #bytes: number;
  readonly #onStop: () => void;
  readonly #stopped = new AbortController();
  /** Calls that are under way. None of these promises rejects. */
  readonly #pending = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;
  /** The piece that is being filled, and where it begins in the image. */
  #piece: Uint8Array<ArrayBuffer> | undefined;
  #filled = 0;
  #offset = 0;

  /** `bytes` is the length of the image. `onStop` is called once, when no more bytes are wanted. */
  constructor(calls: CallsTarget, bytes: number, onStop: () => void) {
    this.#calls = calls;
    this.#bytes = bytes;
    this.#onStop = onStop;
  }

  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  /** Throws the error of the first call that has failed. */
  assertWhole(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Tells the calls that are under way, and makes no more. */
  stop(): void {
    if (this.#stopped.signal.aborted) return;
    this.#stopped.abort();
    this.#onStop();
  }

  /** Takes the next bytes of the image, and makes a call for each piece that they fill. */
  async add(segment: Uint8Array): Promise<void> {
    for (let done = 0; done < segment.length; ) {
      this.#piece ??= this.#newPiece(segment.length);
      const count = Math.min(segment.length - done, this.#piece.length - this.#filled);
      this.#piece.set(segment.subarray(done, done + count), this.#filled);
      this.#filled += count;
      done += count;
      if (this.#filled === this.#piece.length) await this.#leave(this.#piece);
    }
  }

  /** The last piece of the image is shorter than the others. */
  #newPiece(segmentBytes: number): Uint8Array<ArrayBuffer> {
    const { pieceBytes = segmentBytes } = this.#calls;
    return new Uint8Array(Math.min(pieceBytes, this.#bytes - this.#offset));
  }

  async #leave(piece: Uint8Array<ArrayBuffer>): Promise<void> {
    const { concurrency = 1 } = this.#calls;
    const { signal } = this.#stopped;
    const offset = this.#offset;
    this.#offset += piece.length;
    this.#piece = undefined;
    this.#filled = 0;
    while (this.#pending.size >= concurrency) {
      await abortable(Promise.race(this.#pending), signal);
    }
    if (signal.aborted) return;
    const call: Promise<void> = this.#call(piece, offset).finally(() => this.#pending.delete(call));
    this.#pending.add(call);
  }

  async #call(piece: Uint8Array<ArrayBuffer>, offset: number): Promise<void> {
    try {
      await this.#calls.write(piece, offset, this.#stopped.signal);
    } catch (error) {
      if (this.#stopped.signal.aborted) return; // it was told to give up
      this.#failure = { error };
      this.stop();
    }
  }

  /** Waits for the calls that are under way. */
  async end(): Promise<void> {
    assert(this.#offset === this.#bytes, 'the pieces of an image are as long as the image');
    await abortable(Promise.all(this.#pending), this.#stopped.signal);
  }
}
