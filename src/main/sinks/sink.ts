/**
 * The protocol of sinks, which `fileSink`, `splitSink`, `memorySink` and `streamSink` make and which
 * a program may implement itself. docs/SINKS.md says what holds between the calls:
 *
 *   open ──▶ reserve ──▶ the bytes are written ──▶ commit
 *
 * `abort` follows if the dump is stopped, or if a step after `open` fails. A sink serves one dump
 * at a time; `one-dump.ts` refuses a second one.
 */
import type { PhaseControl } from '../../shared/dump/phase-control.ts';
import type { FileTarget, MemoryTarget } from '../../shared/dump/tasks/copy-target.ts';

/** The length of the image, as far as it is known, and how it will be written. */
export interface ImageExtent {
  /** Length of the image in bytes, or an upper bound of it. */
  readonly bytes: number;
  /** `bytes` is the length itself. This is always so for a sink of kind 'split' or 'stream'. */
  readonly isExact: boolean;
  /** @internal Number of segments of a stream; 0 if the length is not known. */
  readonly segments: number;
  /** Most bytes of one call of `CallsTarget.write` that has no `pieceBytes`. */
  readonly maxSegmentBytes: number;
  /** @internal Work units, and the byte at which each begins. Valid only if `isExact`. */
  readonly units: { readonly count: number; readonly offset: (unit: number) => number };
  /** Number of workers that will write. */
  readonly workers: number;
}

/** The length of a finished image. */
export interface ImageLength {
  /** The length, in bytes. */
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
 * A function that takes the image. It is called in the thread of the dump: first with the bytes from
 * offset 0 on, then with those that follow, without gaps, until the image is complete.
 */
export interface CallsTarget {
  /** The kind of the target: calls. */
  readonly kind: 'calls';
  /**
   * Takes `bytes`, which begin at byte `offset` of the image, and resolves when it has done with
   * them what it does. The bytes are the sink's: nothing else reads or changes them. If it rejects,
   * the dump rejects with the same error. `signal` fires when the dump fails or is stopped: whatever
   * is under way is in vain then.
   */
  write(bytes: Uint8Array<ArrayBuffer>, offset: number, signal: AbortSignal): Promise<void>;
  /**
   * Most calls that are under way at one time, 1 to 1024. They begin in the order of their offsets,
   * and may end in any order. Default 1.
   */
  readonly concurrency?: number | undefined;
  /**
   * Bytes of every call but the last, 1 to 1 GiB. Default: the segments of the image as they come,
   * of about 1 MiB.
   */
  readonly pieceBytes?: number | undefined;
}

/** What `splitSink` and `streamSink` resolve with. Only these two can be asked for it. */
export interface BuiltInTarget {
  /** The kind of the target: the parts of `splitSink`, or the slots of `streamSink`. */
  readonly kind: 'parts' | 'stream';
}

/** Where the bytes of an image go. */
export type SinkTarget = FileTarget | MemoryTarget | CallsTarget | BuiltInTarget;

/**
 * The destination of an image. `fileSink`, `splitSink`, `memorySink` and `streamSink` make one, and
 * a program may write its own: docs/SINKS.md. It serves one dump at a time, and can be used again
 * afterwards: a second dump that begins meanwhile is OUTPUT_FAILED.
 *
 * A dump rejects with the error with which one of its functions throws or rejects.
 */
export interface Sink {
  /**
   * The kind of the output, which says what `reserve` resolves with: 'file' a FileTarget, 'memory' a
   * MemoryTarget, 'stream' a CallsTarget; 'split' is that of `splitSink` alone.
   */
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
  /**
   * Begins a dump, before an address space is touched. What can fail early has to fail here. If it
   * rejects, it leaves nothing behind, and no other function is called.
   */
  open(): Promise<void>;
  /** Runs before the first byte is written. Resolves with where the bytes go. */
  reserve(extent: ImageExtent): Promise<SinkTarget>;
  /** @internal Runs beside the pass of the workers. Rejects if the output fails. */
  drain?(context: DrainContext): Promise<void>;
  /**
   * Completes the output, when every byte of an image of this length is written. Once it resolves,
   * the image is where it belongs, and the dump has succeeded.
   */
  commit(image: ImageLength): Promise<void>;
  /**
   * Removes what there is of the image. It is called instead of `commit`, or when `open` has
   * resolved too late, or while `reserve`, `write` or `commit` is still under way or after it has
   * failed: a dump that is stopped waits for none of these.
   */
  abort(): Promise<void>;
}
