/**
 * The protocol of sinks, which `fileSink`, `splitSink`, `memorySink` and `streamSink` make:
 *
 *   open ──▶ reserve ──▶ drain (if there is one, beside the pass) ──▶ commit
 *
 * `abort` follows if the dump is stopped, or if a step after `open` fails. A sink serves one dump
 * at a time; `one-dump.ts` refuses a second one.
 */
import type { PhaseControl } from '../../shared/dump/phase-control.ts';
import type { CopyTarget } from '../../shared/dump/tasks/copy-target.ts';

/** The length of the image, as far as it is known, and how it will be written. */
export interface ImageExtent {
  /** Length of the image, or an upper bound of it. */
  readonly bytes: number;
  /** `bytes` is the length itself. This is always so for a sink of kind 'split' or 'stream'. */
  readonly isExact: boolean;
  /** Number of segments of a stream; 0 if the length is not known. */
  readonly segments: number;
  /** Longest possible segment, in bytes. */
  readonly maxSegmentBytes: number;
  /** Work units, and the byte at which each begins. Valid only if `isExact`. */
  readonly units: { readonly count: number; readonly offset: (unit: number) => number };
  /** Number of workers that will write. */
  readonly workers: number;
}

/** The length of a finished image, in bytes. */
export interface ImageLength {
  readonly bytes: number;
}

/** What a sink knows of the pass beside which it drains. */
export interface DrainContext {
  readonly phase: PhaseControl;
  /** Fires when every worker is done or lost. */
  readonly over: AbortSignal;
  /** Fires when the dump is stopped. Then `drain` has to end. */
  readonly signal: AbortSignal | undefined;
}

/**
 * The destination of an image. `fileSink`, `splitSink`, `memorySink` and `streamSink` make one. It
 * serves one dump at a time, and can be used again afterwards: a second dump that begins meanwhile
 * is OUTPUT_FAILED.
 */
export interface Sink {
  /** The kind of the output. */
  readonly kind: 'file' | 'split' | 'memory' | 'stream';
  /** The path of the image; null for an output that has none. */
  readonly path: string | null;
  /** Number of files of an image in parts; undefined for other images, or while it is not known. */
  readonly parts?: number | undefined;
  /**
   * The object that is written in the end, if several sinks can have the same one, such as a
   * stream. Only one dump at a time may write to it. Default: the sink itself.
   */
  readonly target?: object | undefined;
  /** @internal Runs before the mm is touched. Failures that can be found early are found here. */
  open(): Promise<void>;
  /** @internal Runs before the first byte is written. Resolves with where the workers write. */
  reserve(extent: ImageExtent): Promise<CopyTarget>;
  /** @internal Runs beside the pass of the workers. Rejects if the output fails. */
  drain?(context: DrainContext): Promise<void>;
  /** @internal Completes the output, when every byte of an image of this length is written. */
  commit(image: ImageLength): Promise<void>;
  /**
   * Removes what there is of the image. It is called instead of `commit`, or when `open` has
   * resolved too late, or while `reserve` or `commit` is still under way or after it has failed: a
   * dump that is stopped waits for none of these.
   *
   * @internal
   */
  abort(): Promise<void>;
}
