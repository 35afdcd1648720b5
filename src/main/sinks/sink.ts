/**
 * Where an image goes: `fileSink`, `splitSink`, `memorySink`, `streamSink`. Used for one dump at a time;
 * `one-dump.ts` refuses the second.
 */
import type { PhaseControl } from '../../shared/dump/phase-control.ts';
import type { CopyTarget } from '../../shared/dump/tasks.ts';

/** How long the image is, as far as it is known, and how it will be written. */
export interface ImageExtent {
  /** Length of the image, or what it is at most. */
  readonly bytes: number;
  /** The image has this length. Always so for a sink of kind 'split' or 'stream'. */
  readonly isExact: boolean;
  /** Segments of a stream; 0 where the length is not known. */
  readonly segments: number;
  /** No segment is longer, in bytes. */
  readonly maxSegmentBytes: number;
  /** Units that are written in one go, and where each begins; known where the length is. */
  readonly units: { readonly count: number; readonly offset: (unit: number) => number };
  /** Workers that will write. */
  readonly workers: number;
}

/** The length of a finished image, in bytes. */
export interface ImageLength {
  readonly bytes: number;
}

/** What a sink that takes bytes out while they are written knows of the phase. */
export interface DrainContext {
  readonly phase: PhaseControl;
  /** Fires when every worker is done, or lost. */
  readonly over: AbortSignal;
  /** Stops the dump: drain has to end then. */
  readonly signal: AbortSignal | undefined;
}

/**
 * Where an image goes. `fileSink`, `splitSink`, `memorySink` and `streamSink` make one; it is used
 * for one dump at a time, and again afterwards.
 */
export interface Sink {
  /** What it writes to. */
  readonly kind: 'file' | 'split' | 'memory' | 'stream';
  /** Where the image will lie, or null. */
  readonly path: string | null;
  /** Files that the image is cut into, where that is so and once it is known. */
  readonly parts?: number | undefined;
  /**
   * What is written in the end, where several sinks may have the same: a stream. One dump at a time may
   * write to it. Default: the sink itself.
   */
  readonly target?: object | undefined;
  /** @internal Before the mm is touched: whatever can fail early fails here. */
  open(): Promise<void>;
  /** @internal Before the first byte; returns where the workers write. */
  reserve(extent: ImageExtent): Promise<CopyTarget>;
  /** @internal Runs beside the workers' pass, if there is something to do. Rejects when the output fails. */
  drain?(context: DrainContext): Promise<void>;
  /** @internal Every byte is written, and the image has this length: makes it appear. */
  commit(image: ImageLength): Promise<void>;
  /**
   * Leaves nothing behind. Called instead of commit, or when open has resolved too late, reserve or
   * commit is still under way or has failed: a dump that is stopped waits for none of these.
   *
   * @internal
   */
  abort(): Promise<void>;
}
