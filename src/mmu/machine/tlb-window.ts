/**
 * Translations as plain arrays, for interpreters that make the hit of a TLB in their own loop. A
 * window spans 4 GiB of an address space and one bank of memory:
 *
 *   address, 32 bits ──▶ entry = loads[address >>> 12], 0 if the page is not known
 *   words[(address + entry) >>> 2]    halves[(address + entry) >>> 1]    bytes[address + entry - 1]
 *
 * An entry is what takes an address to its byte in the bank, plus 1: a multiple of 4096 may be 0,
 * and this is not. The index of an aligned word or half drops the 1 again. There is an entry for
 * every page of the window, so no page is compared. The tables are zeros, which the system commits
 * as they are touched.
 *
 * All arrays keep their length and place in memory, so V8 can keep both in registers as long as a
 * loop calls nothing. A miss is therefore made outside of the loop (docs/API.md has one).
 */
import { instanceOf, isInstance, number, oneOf } from '../../shared/arguments/checks.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { hex, PAGE_SIZE } from '../../shared/page.ts';
import { AddressSpace } from './address-space.ts';
import type { Access, TranslationTable } from './translation.ts';
import type { Translator } from './translator.ts';

/** Pages of 4 GiB. */
const PAGES = 0x100000;
/** An epoch that is not `epoch`, and is not reached before 2^31 moves. */
const OTHER_EPOCH = -0x80000000;

const SPACE = instanceOf(AddressSpace, 'an AddressSpace');
const ACCESS = oneOf<Access>(['read', 'write', 'execute']);

/** One word outside of V8's heap, so that its address can stand in compiled code. */
function oneWord(): Int32Array {
  return new Int32Array(new ArrayBuffer(4));
}

/** Entries for all pages of a window. */
function entries(): Int32Array {
  return new Int32Array(PAGES);
}

/**
 * 4 GiB of an address space for an interpreter that makes hits itself, inside `mm.inside`. It
 * belongs to the thread that made it. Addresses in it are 32 bits, counted from `base`. Nobody but
 * the window may store into its tables.
 */
export class TlbWindow {
  /** Where the window begins in the address space, a multiple of 4 GiB. */
  readonly base: number;
  /** Entries of the pages that may be loaded from: what to add to an address, plus 1, or 0. */
  readonly loads: Int32Array = entries();
  /** Entries of the pages that may be stored to. */
  readonly stores: Int32Array = entries();
  /** Entries of the pages that may be executed. */
  readonly fetches: Int32Array = entries();
  /** One word: the epoch of the address space at this moment. */
  readonly now: Int32Array;
  /** One word: the epoch of the entries. They may be used while it equals `now`. */
  readonly since: Int32Array = oneWord();
  /** The bytes of the bank. This and the next two are empty once the machine is closed. */
  bytes: Uint8Array;
  /** The 16-bit halves of the words of the bank. */
  halves: Uint16Array;
  /** The words of the bank. */
  words: Int32Array;
  // Not #private, for the reason that `TlbEntries` has.
  private readonly translator: Translator;
  private readonly table: TranslationTable;
  /** Pages that have an entry, once or several times. */
  private readonly known: number[] = [];

  /** @internal */
  constructor(space: AddressSpace, address: number) {
    const { translator } = SPACE('mm', space);
    const { bytes } = translator.inside(() => translator.translate(address, 'read'));
    if (!isInstance(bytes.buffer, SharedArrayBuffer)) {
      const why = 'its page lies in memory that is not shared, whose views end as it grows';
      throw new MmdumpError('EINVAL', `window at ${hex(address)}: ${why}: use createTlb`);
    }
    this.base = address - (address >>> 0);
    this.bytes = bytes;
    this.halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
    this.words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    this.translator = translator;
    this.now = translator.epochWord;
    this.table = this.asTable();
    this.table.shut();
    translator.addTable(this.table);
  }

  /**
   * Goes inside the gate, so that the entries may be used; those of an earlier epoch are forgotten.
   * Called before the first hit, and when `now` no longer equals `since`. Throws EINVAL outside of
   * `mm.inside`, and EAGAIN if the machine is frozen and this thread must not block.
   */
  enter(): void {
    this.translator.assertHeld('enter');
    this.translator.enter(this.table);
  }

  /**
   * Faults the page of an address in, and makes its entry. Returns false if the page gets none,
   * because it lies in another bank or was taken away again; accesses of it are then left to a TLB
   * or to `mm.translate`. Throws as `mm.translate` does. The address is one of the window.
   */
  fill(address: number, access: Access): boolean {
    const kind = ACCESS('access', access);
    const full = this.base + (number('address', address) >>> 0);
    const at = this.look(full, kind);
    if (at < 0) return false;
    if (this.translator.bytesOf(full) !== this.bytes) return false;
    const page = Math.floor((full - this.base) / PAGE_SIZE);
    if (this.loads[page] === 0) this.known.push(page); // every entry comes with one for loads
    const entry = at - page * PAGE_SIZE + 1;
    this.loads[page] = entry;
    if (kind === 'write') this.stores[page] = entry;
    else if (kind === 'execute') this.fetches[page] = entry;
    return true;
  }

  /** Where the page of an address begins in its bank, or -1 if it was taken away again. */
  private look(full: number, access: Access): number {
    const { translator, table } = this;
    const isStore = access === 'write';
    translator.assertHeld(`fill ${hex(full)}`);
    if (access !== 'execute') {
      const at = translator.find(table, full, isStore);
      if (at >= 0) return at;
    }
    const { epoch } = translator.translate(full, access);
    const at = translator.find(table, full, isStore);
    return this.since[0] === epoch ? at : -1; // in another epoch the right to execute may be gone
  }

  /** What the translator calls. It keeps a weak reference, so this object has to keep it. */
  private asTable(): TranslationTable {
    return {
      open: (epoch) => {
        this.since[0] = epoch;
      },
      shut: () => {
        this.since[0] = this.now[0]! ^ OTHER_EPOCH;
      },
      forgetAll: () => this.forgetAll(),
      forget: (page) => {
        if (page - (page >>> 0) === this.base) this.forgetPage((page >>> 0) / PAGE_SIZE);
      },
      dropViews: () => {
        this.forgetAll();
        this.bytes = new Uint8Array();
        this.halves = new Uint16Array();
        this.words = new Int32Array();
      },
    };
  }

  private forgetPage(page: number): void {
    this.loads[page] = 0;
    this.stores[page] = 0;
    this.fetches[page] = 0;
  }

  private forgetAll(): void {
    for (const page of this.known) this.forgetPage(page);
    this.known.length = 0;
  }
}

/**
 * Makes a window for the calling thread: the 4 GiB of an address space that hold `address`, and the
 * bank of memory in which its page lies now. The page is faulted in, with the errors of `mm.read`.
 * EINVAL if that memory is not shared.
 */
export function createTlbWindow(mm: AddressSpace, address: number): TlbWindow {
  return new TlbWindow(mm, number('address', address));
}
