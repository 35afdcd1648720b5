/** What the kinds of backings have in common. */

/** A backing as its reader sees it. */
export interface OpenBacking {
  /** Descriptor of an open file of this process, or -1. */
  readonly fd: number;
  /** The process concerned, or 0. */
  readonly pid: number;
  /** A name that no other backing has or had, in this process. */
  readonly key: string;
  /** Whether the backing is not released yet. */
  readonly isOpen: () => boolean;
}

/** Reads the pages of one backing, on one thread. There is one class for each kind. */
export interface BackingReader {
  /**
   * Reads `pages` neighbouring pages from `place` on to byte `at` of `into`, or throws. A reader
   * looks whether the backing is open once it has read: the backing is released before its file is
   * closed, so until then no other file had the descriptor.
   */
  read(place: number, pages: number, into: Uint8Array, at: number): void;
}
