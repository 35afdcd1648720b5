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
import { MmdumpError } from '../../shared/errors.ts';
import type { Store } from '../files/store.ts';
import type { BackingReader, OpenBacking } from './backing-reader.ts';
import { FileBacking } from './file-backing.ts';
import { ImageBacking, releasedImage } from './image-backing.ts';
import { ImageTable } from './image-table.ts';
import { ProcessBacking } from './process-backing.ts';

/** Words of a backing. */
export const BACKING = {
  STATE: 0, // BACKING_STATE; Atomics only
  KIND: 1, //  BACKING_KIND; by the thread that adds the backing, before STATE
  FD: 2, //    descriptor of an open file of this process; the same
  PID: 3, //   the process concerned, or 0; the same
  TABLE: 4, // IMAGE: place of its ImageTable in the store; the same
  BYTES: 5, // IMAGE: length of the table; the same
  WINDOW: 6, // FILE: which part of the file (`file-backing.ts`); the same
  WORDS: 8,
} as const;

/** Values of BACKING.STATE. ADDING belongs to one thread, which writes the other words. */
export const BACKING_STATE = { FREE: 0, ADDING: 1, OPEN: 2, RELEASED: 3 } as const;

/** Values of BACKING.KIND. */
export const BACKING_KIND = {
  PROCESS: 1, // memory of a stopped process; the place of a page is its number in that process
  IMAGE: 2, //   an image; the place of a page is its number among the stored pages of the image
  FILE: 3, //    a window of a file; `file-backing.ts` says what a place is
} as const;

/** The most backings that a machine can have in its life. An entry has 7 bits for their number. */
export const BACKINGS_MAX = 128;

const { STATE, KIND, FD, PID, TABLE, BYTES, WINDOW, WORDS } = BACKING;
const { FREE, ADDING, OPEN, RELEASED } = BACKING_STATE;

/** A backing, as the thread that adds it describes it. */
export interface BackingFields {
  /** BACKING_KIND. */
  readonly kind: number;
  /** Descriptor of a file that stays open until the backing is released. */
  readonly fd: number;
  /** The process concerned, or 0. */
  readonly pid: number;
  /** IMAGE: place and length of its ImageTable in the store. */
  readonly table?: number;
  readonly bytes?: number;
  /** Of kind FILE: which part of the file. Default 0. */
  readonly window?: number | undefined;
}

/** The backings of a machine, in shared words. */
export class BackingTable {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #store: Store;
  /** A name that no other machine has. */
  readonly #machine: string;
  /** The readers of this thread, by number. A number has one reader in its life. */
  readonly #readers = new Map<number, BackingReader>();

  constructor(words: Int32Array, base: number, store: Store, machine: string) {
    this.#words = words;
    this.#base = base;
    this.#store = store;
    this.#machine = machine;
  }

  /** Adds a backing and returns its number. Throws EMFILE when all numbers were used. */
  add({ kind, fd, pid, table = 0, bytes = 0, window = 0 }: BackingFields): number {
    const words = this.#words;
    for (let backing = 0; backing < BACKINGS_MAX; backing++) {
      const at = this.#at(backing);
      if (Atomics.compareExchange(words, at + STATE, FREE, ADDING) !== FREE) continue;
      words[at + KIND] = kind;
      words[at + FD] = fd;
      words[at + PID] = pid;
      words[at + TABLE] = table;
      words[at + BYTES] = bytes;
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

  /** Whether pages can be read from the backing. */
  isOpen(backing: number): boolean {
    return Atomics.load(this.#words, this.#at(backing) + STATE) === OPEN;
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
   * Reads `pages` neighbouring pages from `place` on to byte `at` of `into`. Throws if they cannot
   * be read: which page, and why. PROCESS_GONE for a process. IMAGE_CHECKSUM, IMAGE_TRUNCATED and
   * INPUT_FAILED for an image, INPUT_FAILED for a file.
   */
  read(backing: number, place: number, pages: number, into: Uint8Array, at: number): void {
    this.#reader(backing).read(place, pages, into, at);
  }

  /** Drops the views once the machine is closed. No page can be read afterwards. */
  dropViews(): void {
    this.#readers.clear();
  }

  #reader(backing: number): BackingReader {
    const known = this.#readers.get(backing);
    if (known !== undefined) return known;
    const reader = this.#newReader(backing);
    this.#readers.set(backing, reader);
    return reader;
  }

  /** The class that reads the backing depends on its kind. */
  #newReader(backing: number): BackingReader {
    const words = this.#words;
    const at = this.#at(backing);
    const open: OpenBacking = {
      fd: words[at + FD]!,
      pid: words[at + PID]!,
      key: `${this.#machine}/${backing}`,
      isOpen: () => this.isOpen(backing),
    };
    const kind = words[at + KIND]!;
    if (kind === BACKING_KIND.PROCESS) return new ProcessBacking(open);
    if (kind === BACKING_KIND.FILE) return new FileBacking(open, words[at + WINDOW]!);
    return this.#imageReader(open, words[at + TABLE]! >>> 0, words[at + BYTES]! >>> 0);
  }

  #imageReader(open: OpenBacking, table: number, bytes: number): BackingReader {
    // Other bytes may be in the place of a table that was released.
    const released = (): MmdumpError => releasedImage('the image of the page');
    if (!open.isOpen()) throw released();
    try {
      return new ImageBacking(open, new ImageTable(this.#store.view(table, bytes)));
    } catch (error) {
      throw open.isOpen() ? error : released();
    }
  }

  #at(backing: number): number {
    return this.#base + backing * WORDS;
  }
}
