import type { WasmMemory } from '../../wasm.ts';
import type { RingBuffers } from '../segment-ring.ts';

/**
 * An open file. Threads write into it at the same time, each with pwrite(2) at the offset that its
 * bytes have in the image.
 */
export interface FileTarget {
  /** The kind of the target: a file. */
  readonly kind: 'file';
  /** Descriptor of an empty file, open for writing, and not for appending. */
  readonly fd: number;
  /** The path that errors name. */
  readonly path: string;
  /**
   * true: blocks of zeros are not written and remain holes. `commit` then gives the file its length
   * with ftruncate(2), since the image may end in a hole.
   */
  readonly sparse: boolean;
}

/** Files that are byte ranges of one image. `splitSink` makes one. */
export interface PartsTarget {
  readonly kind: 'parts';
  /** Descriptors of the parts, in order: see ../../formats/parts.ts. */
  readonly fds: readonly number[];
  /** Path of the image. The name of a part is this path and a number. */
  readonly path: string;
  readonly partBytes: number;
  readonly sparse: boolean;
  /** The words of PartClaims. */
  readonly claims: SharedArrayBuffer;
  /** What `firstOfParts` returned. */
  readonly firstUnits: readonly number[];
}

/** Shared memory. Threads write into it at the same time. */
export interface MemoryTarget {
  /** The kind of the target: memory. */
  readonly kind: 'memory';
  /** The memory, in the order of the image: together at least as long as `ImageExtent.bytes`. */
  readonly chunks: readonly ImageChunk[];
  /**
   * Bytes of the image that each chunk holds, a multiple of 4096; the last chunk holds the rest. A
   * chunk before the last has at least so many bytes.
   */
  readonly chunkBytes: number;
}

/** Slots, through which the segments of an image reach a thread that writes them on. */
export interface RingTarget {
  readonly kind: 'stream';
  readonly ring: RingBuffers;
}

/** Where the bytes of an image go, as workers see it. */
export type CopyTarget = FileTarget | PartsTarget | MemoryTarget | RingTarget;

/** Memory for one chunk of an image. */
export interface ImageChunk {
  /** The memory. */
  readonly buffer: SharedArrayBuffer;
  /** Byte of `buffer` at which the chunk begins, a multiple of 4. */
  readonly at: number;
  /** Length of the chunk, in bytes. */
  readonly bytes: number;
  /** @internal The wasm memory that `buffer` belongs to, if any. Kernels can write into it. */
  readonly memory?: WasmMemory | undefined;
}
