/**
 * The backings of a machine: places outside of it that hold pages which are in no frame. A backed
 * entry of a page table names a backing and the place of a page in it, as a swap entry names a bank
 * and a slot (`tables/pte.ts`). Backed pages need no reference: the backing holds all of its pages
 * until it is released.
 *
 *   FREE ──add──▶ OPEN ──release──▶ RELEASED
 *
 * A number is never used again, since entries may still name it.
 */
import { readSync } from 'node:fs';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import { fileFailure, filePosition } from './file-backing.ts';
import { processFailure, processPosition } from './process-backing.ts';

/** Words of a backing. */
export const BACKING = {
  STATE: 0, // BACKING_STATE; Atomics only
  KIND: 1, //  BACKING_KIND; by the thread that adds the backing, before STATE
  FD: 2, //    descriptor of an open file of this process; the same
  PID: 3, //   the process concerned, or 0; the same
  WINDOW: 4, // FILE: which part of the file (`file-backing.ts`), else 0; the same
  WORDS: 8,
} as const;

/** Values of BACKING.STATE. ADDING belongs to one thread, which writes the other words. */
export const BACKING_STATE = { FREE: 0, ADDING: 1, OPEN: 2, RELEASED: 3 } as const;

/** Values of BACKING.KIND. */
export const BACKING_KIND = {
  PROCESS: 1, // memory of a stopped process; the place of a page is its number in that process
  FILE: 2, //    a window of a file; `file-backing.ts` says what a place is
} as const;

/** The most backings that a machine can have in its life. An entry has 7 bits for their number. */
export const BACKINGS_MAX = 128;

const { STATE, KIND, FD, PID, WINDOW, WORDS } = BACKING;
const { FREE, ADDING, OPEN, RELEASED } = BACKING_STATE;

/** A backing, as the thread that adds it describes it. */
export interface BackingFields {
  /** BACKING_KIND. */
  readonly kind: number;
  /** Descriptor of a file that stays open until the backing is released. */
  readonly fd: number;
  /** The process concerned, or 0. */
  readonly pid: number;
  /** Of kind FILE: which part of the file. Default 0. */
  readonly window?: number | undefined;
}

/** The backings of a machine, in shared words. */
export class BackingTable {
  readonly #words: Int32Array;
  readonly #base: number;

  constructor(words: Int32Array, base: number) {
    this.#words = words;
    this.#base = base;
  }

  /** Adds a backing and returns its number. Throws EMFILE when all numbers were used. */
  add({ kind, fd, pid, window = 0 }: BackingFields): number {
    const words = this.#words;
    for (let backing = 0; backing < BACKINGS_MAX; backing++) {
      const at = this.#at(backing);
      if (Atomics.compareExchange(words, at + STATE, FREE, ADDING) !== FREE) continue;
      words[at + KIND] = kind;
      words[at + FD] = fd;
      words[at + PID] = pid;
      words[at + WINDOW] = window;
      Atomics.store(words, at + STATE, OPEN);
      return backing;
    }
    throw new MmdumpError('EMFILE', `the machine has used all of its ${BACKINGS_MAX} backings`);
  }

  /** Whether the machine has never had a backing. */
  get isEmpty(): boolean {
    return Atomics.load(this.#words, this.#at(0) + STATE) === FREE;
  }

  /** Ends the life of a backing. Nothing can be read from it afterwards. */
  release(backing: number): void {
    Atomics.store(this.#words, this.#at(backing) + STATE, RELEASED);
  }

  /** The process behind the backing, or 0. */
  pid(backing: number): number {
    return this.#words[this.#at(backing) + PID]!;
  }

  /**
   * Reads `pages` neighbouring pages from `place` on to byte `at` of `into`. If they cannot be read,
   * throws which page, and why: PROCESS_GONE, or INPUT_FAILED if they lie in a file.
   */
  read(backing: number, place: number, pages: number, into: Uint8Array, at: number): void {
    const length = pages * PAGE_SIZE;
    const position = this.#positionOf(backing, place);
    this.#assertOpen(backing, position);
    for (let done = 0; done < length; ) {
      const fd = this.#words[this.#at(backing) + FD]!;
      const count = this.#readSome(backing, fd, into, at + done, length - done, position + done);
      // The backing is released before its file is closed. So this is still open only if no other
      // file had the descriptor meanwhile.
      this.#assertOpen(backing, position + done);
      if (count === 0) throw this.#failure(backing, position + done, this.#endText(backing));
      done += count;
    }
  }

  #assertOpen(backing: number, position: number): void {
    if (Atomics.load(this.#words, this.#at(backing) + STATE) === OPEN) return;
    throw this.#failure(backing, position, 'it was released');
  }

  #readSome(
    backing: number,
    fd: number,
    into: Uint8Array,
    at: number,
    length: number,
    position: number,
  ): number {
    try {
      return readSync(fd, into, at, length, position);
    } catch (error) {
      throw this.#failure(backing, position, reasonOf(error), errnoOf(error) ?? 'EIO');
    }
  }

  /** The byte of the open file at which the page at a place begins. */
  #positionOf(backing: number, place: number): number {
    if (!this.#isFile(backing)) return processPosition(place);
    return filePosition(place, this.#words[this.#at(backing) + WINDOW]!);
  }

  #endText(backing: number): string {
    return this.#isFile(backing) ? 'it ends there' : 'it has no memory any more';
  }

  #failure(backing: number, position: number, reason: string, errno = 'EIO'): MmdumpError {
    if (this.#isFile(backing)) return fileFailure(position, reason, errno);
    return processFailure(this.pid(backing), position, reason, errno);
  }

  #isFile(backing: number): boolean {
    return this.#words[this.#at(backing) + KIND] === BACKING_KIND.FILE;
  }

  #at(backing: number): number {
    return this.#base + backing * WORDS;
  }
}
