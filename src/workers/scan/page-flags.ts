/**
 * Flags of physical pages of the real machine, from /proc/kpageflags, which has one u64 per page.
 * Only the low word is used.
 */
import { readSync } from 'node:fs';
import { procReadFailed } from '../../shared/proc-error.ts';

/** Entries that are read at once for neighbouring frames. The kernel takes time for each entry. */
const BATCH = 64;

/** Reads flags through a descriptor of /proc/kpageflags. */
export class PageFlags {
  readonly #fd: number;
  readonly #words = new Int32Array(BATCH * 2);
  readonly #bytes = new Uint8Array(this.#words.buffer);
  #first = 0;
  #count = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** KPF_* bits 0 to 31 of a frame of the real machine. Throws PROCESS_DENIED or INPUT_FAILED. */
  of(pfn: number): number {
    if (pfn < this.#first || pfn >= this.#first + this.#count) this.#load(pfn);
    return this.#words[(pfn - this.#first) * 2]!;
  }

  #load(pfn: number): void {
    // Read ahead only when frames come in order. For random frames it would read in vain.
    const isNext = pfn === this.#first + this.#count;
    const wanted = isNext ? BATCH : 1;
    const bytes = this.#read(wanted * 8, pfn * 8);
    this.#first = pfn;
    this.#count = Math.floor(bytes / 8);
    if (this.#count === 0) {
      this.#words.fill(0, 0, 2); // beyond the memory that the kernel describes
      this.#count = 1;
    }
  }

  /** Returns how many bytes were read. Throws PROCESS_DENIED or INPUT_FAILED. */
  #read(length: number, position: number): number {
    try {
      return readSync(this.#fd, this.#bytes, 0, length, position);
    } catch (error) {
      throw procReadFailed('/proc/kpageflags', position, error);
    }
  }
}
