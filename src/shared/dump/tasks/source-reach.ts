/** How workers reach the bytes of an image, or of a process. */
/**
 * How a worker reaches the bytes that it reads: an open file of this process, the parts of an
 * image, the memory of another process (/proc/PID/mem, read by address), or shared memory. `name`
 * is for messages.
 */
export type SourceReach =
  | { readonly kind: 'file'; readonly name: string; readonly fd: number }
  | {
      readonly kind: 'parts';
      readonly name: string;
      readonly fds: readonly number[];
      readonly partBytes: number;
    }
  | { readonly kind: 'process'; readonly name: string; readonly fd: number; readonly pid: number }
  | { readonly kind: 'memory'; readonly name: string; readonly image: SharedBytes };

/** An image in shared memory. Every chunk except the last one holds `chunkBytes` of it. */
export interface SharedBytes {
  readonly bytes: number;
  /** Views of shared memory. */
  readonly chunks: readonly Uint8Array[];
  readonly chunkBytes: number;
  /** Tells whether the chunks still hold this image. Undefined if they are never written again. */
  readonly lease?: ImageLease | undefined;
}

/**
 * A lease on the memory that an image lies in. The owner of the memory increments the word before
 * it writes another image there. A reader looks at the word after it has read, and discards what it
 * read if the word has changed.
 */
export interface ImageLease {
  /** One word; Atomics only. */
  readonly word: Int32Array;
  /** The value of the word as long as the image is there. */
  readonly value: number;
}
