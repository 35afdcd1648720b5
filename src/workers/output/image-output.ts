/**
 * Where a worker writes a unit's part of the image. A unit that lies in one chunk of a memory sink
 * is built in place. Any other unit is built segment by segment, in the staging memory of the
 * worker or in the slots of a stream. A segment leaves staging in one write, because many small
 * writes to one file would queue for its lock.
 */

import { assert } from '../../shared/assert.ts';
import type { PhaseControl } from '../../shared/dump/phase-control.ts';
import { SegmentCut } from '../../shared/dump/segment-cut.ts';
import { SegmentRing } from '../../shared/dump/segment-ring.ts';
import type { CopyTarget, ImageChunk } from '../../shared/dump/tasks/copy-target.ts';
import { ImageWindow } from '../copy/image-window.ts';
import type { WorkerFaults } from '../task/worker-faults.ts';
import { deliver } from './deliver.ts';

/**
 * The phase was stopped while a worker waited. Its task ends, but this is no failure of its own.
 */
export class PhaseStopped extends Error {}

/**
 * Takes one unit after the other: `begin`, then `room` and `advance` for each piece, then `end`.
 */
export class ImageOutput {
  /** Where the next piece goes: byte `at` of `window`. Valid between `room` and `advance`. */
  window: ImageWindow;
  at = 0;
  readonly #target: CopyTarget;
  readonly #phase: PhaseControl;
  readonly #faults: WorkerFaults | undefined;
  readonly #chunks: readonly ImageWindow[];
  /** Bytes of an image in memory that there is room for. */
  readonly #reserved: number;
  readonly #staging: ImageWindow;
  readonly #ring: SegmentRing | undefined;
  readonly #slots: readonly ImageWindow[];
  readonly #cut = new SegmentCut();
  /** Image offset at which the segment in staging begins. */
  #offset = 0;
  #isDirect = false;
  #segment = 0;
  #hasSlot = false;

  /** `staging` is a window of STAGING_BYTES bytes. */
  constructor(
    target: CopyTarget,
    staging: ImageWindow,
    phase: PhaseControl,
    faults: WorkerFaults | undefined,
  ) {
    this.#target = target;
    this.#phase = phase;
    this.#faults = faults;
    this.#staging = staging;
    this.window = staging;
    this.#chunks = target.kind === 'memory' ? target.chunks.map(windowOver) : [];
    this.#reserved = target.kind === 'memory' ? reservedBytes(target) : Number.POSITIVE_INFINITY;
    this.#ring = target.kind === 'stream' ? new SegmentRing(target.ring) : undefined;
    this.#slots =
      target.kind === 'stream'
        ? target.ring.slots.map((slot) => new ImageWindow(slot, 0, slot.byteLength, undefined))
        : [];
  }

  /**
   * Begins a unit, whose part of the image is [offset, offset + bytes). `segment` is the number of
   * its first segment in a stream.
   */
  begin(offset: number, bytes: number, segment: number): void {
    this.#offset = offset;
    this.#segment = segment;
    this.#hasSlot = false;
    this.window = this.#staging;
    this.at = 0;
    this.#isDirect = false;
    const target = this.#target;
    if (target.kind !== 'memory') return;
    // A write beyond a typed array is ignored without an error.
    assert(offset + bytes <= this.#reserved, 'a unit goes beyond the memory that was reserved');
    const at = offset % target.chunkBytes;
    if (at + bytes > target.chunkBytes) return;
    this.#isDirect = true;
    this.window = this.#chunks[Math.floor(offset / target.chunkBytes)]!;
    this.at = at;
  }

  /**
   * Call before each piece: makes `window` and `at` valid. Throws PhaseStopped if the phase is
   * stopped while this waits for a slot of a stream.
   */
  room(): void {
    if (this.#ring === undefined || this.#hasSlot) return;
    if (!this.#ring.waitForSlot(this.#segment, this.#phase)) throw new PhaseStopped();
    this.#hasSlot = true;
    this.window = this.#slots[this.#ring.slotOf(this.#segment)]!;
    this.at = 0;
  }

  /** Call after each piece, when `bytes` bytes were put at `at`. Throws OUTPUT_FAILED. */
  advance(bytes: number): void {
    this.at += bytes;
    if (!this.#isDirect && this.#cut.place(bytes)) this.#leave();
  }

  /** Whether `writeThrough` can be called: the image is a file. */
  get isFile(): boolean {
    return this.#target.kind === 'file';
  }

  /**
   * Writes a piece from where it lies, behind what is in staging, instead of `room` and `advance`.
   * It takes a call of its own, so it pays for long pieces only. Throws OUTPUT_FAILED.
   *
   * Preconditions: the image is a file, and `bytes` begins at a multiple of 4 in its buffer.
   */
  writeThrough(bytes: Uint8Array): void {
    const target = this.#target;
    assert(target.kind === 'file', 'only a file is written to without staging');
    if (this.#cut.end()) this.#leave();
    deliver(target, bytes, this.#offset, this.#faults);
    this.#offset += bytes.length;
  }

  /** Ends the unit. Throws OUTPUT_FAILED. */
  end(): void {
    if (!this.#isDirect && this.#cut.end()) this.#leave();
  }

  /** Moves the finished segment from staging to the image, or hands its slot to the coordinator. */
  #leave(): void {
    const target = this.#target;
    const bytes = this.at;
    this.at = 0;
    if (target.kind === 'stream') {
      this.#ring!.fill(this.#segment++, bytes);
      this.#hasSlot = false;
      return;
    }
    const built = this.#staging.bytes.subarray(0, bytes);
    if (target.kind === 'memory') scatter(target.chunkBytes, this.#chunks, built, this.#offset);
    else deliver(target, built, this.#offset, this.#faults);
    this.#offset += bytes;
  }
}

/** Only the last chunk may be shorter than `chunkBytes`; an only chunk may be longer. */
function reservedBytes({ chunks, chunkBytes }: CopyTarget & { readonly kind: 'memory' }): number {
  return (chunks.length - 1) * chunkBytes + (chunks.at(-1)?.bytes ?? 0);
}

function windowOver({ buffer, at, bytes, memory }: ImageChunk): ImageWindow {
  return new ImageWindow(buffer, at, bytes, memory);
}

/** Copies a finished segment from staging to the chunks of a memory sink that it straddles. */
function scatter(
  chunkBytes: number,
  chunks: readonly ImageWindow[],
  bytes: Uint8Array,
  offset: number,
): void {
  for (let done = 0; done < bytes.length; ) {
    const at = (offset + done) % chunkBytes;
    const count = Math.min(bytes.length - done, chunkBytes - at);
    const chunk = chunks[Math.floor((offset + done) / chunkBytes)]!;
    chunk.bytes.set(bytes.subarray(done, done + count), at);
    done += count;
  }
}
