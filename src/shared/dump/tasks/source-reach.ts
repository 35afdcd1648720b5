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
  | { readonly kind: 'memory'; readonly name: string; readonly image: SharedBytes }
  | {
      /**
       * An image and its ancestors, one behind the other: byte `starts[n]` is the first of
       * `images[n]`, and each of them begins where the one before it ends.
       */
      readonly kind: 'chain';
      readonly name: string;
      readonly images: readonly SourceReach[];
      readonly starts: readonly number[];
    };

/** Ordinal of the image of a chain that holds byte `offset`. `starts` is that of its reach. */
export function imageOfChain(starts: readonly number[], offset: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (starts[middle]! <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}

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
