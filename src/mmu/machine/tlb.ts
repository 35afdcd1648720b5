/**
 * A TLB: the accesses of an interpreter, at the price of a few loads per access. It belongs to a
 * thread, and is fast inside a call of `mm.inside`. An access is a hit if
 *
 *   the entry for its page names the page of its last byte, so that it lies in one page,
 *   the address lies in the window of 4 GiB that the TLB has entries of, and
 *   the epoch is the one in which the thread went inside (`translator.ts`).
 *
 * Everything else is left to the translator, which faults, waits, or finds the page without a fault.
 * All entries are of one window and one bank of memory; when 64 misses in a row lie elsewhere, the
 * TLB moves there.
 */
import { instanceOf } from '../../shared/arguments/checks.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { AddressSpace } from './address-space.ts';
import { isSmall, type TranslationTable, type Translator } from './translator.ts';

/** Entries for loads, and as many for stores. An entry is two words: page, and what to add. */
const ENTRIES = 1024;
const INDEX = (ENTRIES - 1) << 1;
/** The lowest bits of an address say the place in the page; shifted by 11, they give an index. */
const INDEX_SHIFT = 11;
const PAGE = -4096;
/** The page, and what is not a multiple of four: an aligned address shows its page alone. */
const PAGE_AND_REST = PAGE | 3;
/** What no address shows: bits 2 to 11 are never looked at, and are 0 in all that is compared. */
const NO_PAGE = 4;
/** How many misses in a row have to lie in another window or bank. */
const MOVE_AFTER = 64;
/** An epoch that never is, for a TLB that is not open. */
const NEVER: Int32Array = new Int32Array([1]);
const NO_BYTES: Uint8Array = new Uint8Array();
const NO_VIEW: DataView = new DataView(new ArrayBuffer(0));

const SPACE = instanceOf(AddressSpace, 'an AddressSpace');

/**
 * Loads and stores of an address space for interpreters, little-endian. `createTlb` makes it. All
 * take an address in bytes, aligned or not. A page that cannot be accessed is SIGSEGV or SIGBUS
 * with `address` and `reason`, and nothing has been stored then. Every access can also fail as
 * `mm.read` does. An access that lies in one page and is aligned is one access of the processor, so
 * that no other thread sees half of it; one of 64 bits is two of 32.
 */
export class Tlb {
  readonly #translator: Translator;
  readonly #space: AddressSpace;
  readonly #table: TranslationTable;
  readonly #loads: Int32Array = new Int32Array(ENTRIES * 2).fill(NO_PAGE);
  readonly #stores: Int32Array = new Int32Array(ENTRIES * 2).fill(NO_PAGE);
  readonly #scratch: Uint8Array = new Uint8Array(8);
  readonly #parts: Uint8Array[];
  readonly #value: DataView;
  readonly #words64: Uint32Array = new Uint32Array(2);
  /** The bank of the entries. */
  #bytes: Uint8Array = NO_BYTES;
  #view: DataView = NO_VIEW;
  #words: Int32Array = NEVER;
  /** Where the window of the entries begins, a multiple of 2^32. */
  #window = 0;
  #epochWord: Int32Array = NEVER;
  #epoch = 0;
  #strangers = 0;

  /** @internal */
  constructor(space: AddressSpace) {
    this.#space = SPACE('mm', space);
    this.#translator = space.translator;
    this.#value = new DataView(this.#scratch.buffer);
    this.#parts = Array.from({ length: 9 }, (_, bytes) => this.#scratch.subarray(0, bytes));
    this.#table = this.#asTable();
    this.#translator.addTable(this.#table);
  }

  /** Loads a byte, 0 to 255. */
  load8(address: number): number {
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      this.#loads[entry] === (address & PAGE) &&
      address - (address >>> 0) === this.#window &&
      this.#epochWord[0] === this.#epoch
    ) {
      return this.#view.getUint8((this.#loads[entry + 1]! + (address | 0)) | 0);
    }
    this.#load(address, 1);
    return this.#value.getUint8(0);
  }

  /** Loads a byte, -128 to 127. */
  load8s(address: number): number {
    return (this.load8(address) << 24) >> 24;
  }

  /** Loads 16 bits, 0 to 65 535. */
  load16(address: number): number {
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      this.#loads[entry] === ((address - -1) & PAGE) &&
      address - (address >>> 0) === this.#window &&
      this.#epochWord[0] === this.#epoch
    ) {
      return this.#view.getUint16((this.#loads[entry + 1]! + (address | 0)) | 0, true);
    }
    this.#load(address, 2);
    return this.#value.getUint16(0, true);
  }

  /** Loads 16 bits, -32 768 to 32 767. */
  load16s(address: number): number {
    return (this.load16(address) << 16) >> 16;
  }

  /** Loads 32 bits, as a signed number. */
  load32(address: number): number {
    const loads = this.#loads;
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      loads[entry] === (address & PAGE_AND_REST) &&
      address - (address >>> 0) === this.#window &&
      this.#epochWord[0] === this.#epoch
    ) {
      return this.#words[(loads[entry + 1]! + (address | 0)) >>> 2]!;
    }
    return this.#load32(address);
  }

  /** The same for an address that is not aligned, or a page that is not known. */
  #load32(address: number): number {
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      this.#loads[entry] === ((address - -3) & PAGE) &&
      address - (address >>> 0) === this.#window &&
      this.#epochWord[0] === this.#epoch
    ) {
      return this.#view.getInt32((this.#loads[entry + 1]! + (address | 0)) | 0, true);
    }
    this.#load(address, 4);
    return this.#value.getInt32(0, true);
  }

  /** Loads 32 bits, 0 to 2^32 - 1. */
  load32u(address: number): number {
    return this.load32(address) >>> 0;
  }

  /** Loads 64 bits, 0 to 2^64 - 1. It makes a BigInt; `load64Words` does not. */
  load64(address: number): bigint {
    this.load64Words(address, this.#words64);
    return (BigInt(this.#words64[1]!) << 32n) | BigInt(this.#words64[0]!);
  }

  /** Loads 64 bits as two words: the lower half into `into[0]`, the upper half into `into[1]`. */
  load64Words(address: number, into: Int32Array | Uint32Array): void {
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      this.#loads[entry] === ((address - -7) & PAGE) &&
      address - (address >>> 0) === this.#window &&
      this.#epochWord[0] === this.#epoch
    ) {
      const at = (this.#loads[entry + 1]! + (address | 0)) | 0;
      into[0] = this.#view.getInt32(at, true);
      into[1] = this.#view.getInt32(at + 4, true);
      return;
    }
    this.#load(address, 8);
    into[0] = this.#value.getInt32(0, true);
    into[1] = this.#value.getInt32(4, true);
  }

  /** Stores the lowest 8 bits of `value`. */
  store8(address: number, value: number): void {
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      this.#stores[entry] === (address & PAGE) &&
      address - (address >>> 0) === this.#window &&
      this.#epochWord[0] === this.#epoch
    ) {
      this.#view.setUint8((this.#stores[entry + 1]! + (address | 0)) | 0, value);
      return;
    }
    this.#value.setUint8(0, value);
    this.#store(address, 1);
  }

  /** Stores the lowest 16 bits of `value`. */
  store16(address: number, value: number): void {
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      this.#stores[entry] === ((address - -1) & PAGE) &&
      address - (address >>> 0) === this.#window &&
      this.#epochWord[0] === this.#epoch
    ) {
      this.#view.setUint16((this.#stores[entry + 1]! + (address | 0)) | 0, value, true);
      return;
    }
    this.#value.setUint16(0, value, true);
    this.#store(address, 2);
  }

  /** Stores the lowest 32 bits of `value`. */
  store32(address: number, value: number): void {
    const stores = this.#stores;
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      stores[entry] === (address & PAGE_AND_REST) &&
      address - (address >>> 0) === this.#window &&
      this.#epochWord[0] === this.#epoch
    ) {
      this.#words[(stores[entry + 1]! + (address | 0)) >>> 2] = value;
    } else this.#store32(address, value);
  }

  #store32(address: number, value: number): void {
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      this.#stores[entry] === ((address - -3) & PAGE) &&
      address - (address >>> 0) === this.#window &&
      this.#epochWord[0] === this.#epoch
    ) {
      this.#view.setInt32((this.#stores[entry + 1]! + (address | 0)) | 0, value, true);
      return;
    }
    this.#value.setInt32(0, value, true);
    this.#store(address, 4);
  }

  /** Stores the lowest 64 bits of a BigInt. */
  store64(address: number, value: bigint): void {
    this.#value.setBigInt64(0, value, true);
    this.store64Words(address, this.#value.getInt32(0, true), this.#value.getInt32(4, true));
  }

  /** Stores 64 bits, given as the lower and the upper half. */
  store64Words(address: number, low: number, high: number): void {
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      this.#stores[entry] === ((address - -7) & PAGE) &&
      address - (address >>> 0) === this.#window &&
      this.#epochWord[0] === this.#epoch
    ) {
      const at = (this.#stores[entry + 1]! + (address | 0)) | 0;
      this.#view.setInt32(at, low, true);
      this.#view.setInt32(at + 4, high, true);
      return;
    }
    this.#value.setInt32(0, low, true);
    this.#value.setInt32(4, high, true);
    this.#store(address, 8);
  }

  /** Loads into the scratch, by the translator or by an operation. */
  #load(address: number, bytes: number): void {
    if (typeof address !== 'number') throw refusal('address', address, 'a number');
    this.#space.read(address, this.#parts[bytes]!);
    if (this.#translator.isHeld) this.#fill(address, this.#loads, false);
  }

  /** Stores what is in the scratch. */
  #store(address: number, bytes: number): void {
    if (typeof address !== 'number') throw refusal('address', address, 'a number');
    if (!isSmall(address, bytes)) {
      this.#translator.prepareStore(address);
      this.#translator.prepareStore(address + bytes - 1); // or the first page would be written alone
    }
    this.#space.write(address, this.#parts[bytes]!);
    if (this.#translator.isHeld) this.#fill(address, this.#stores, true);
  }

  /** Takes the translation of the page over, if it is kept and lies in this window and bank. */
  #fill(address: number, table: Int32Array, write: boolean): void {
    const at = this.#translator.find(this.#table, address, write);
    if (at < 0) return;
    const bytes = this.#translator.bytesOf(address);
    const window = address - (address >>> 0);
    if (bytes !== this.#bytes || window !== this.#window) {
      this.#strangers++;
      if (this.#bytes !== NO_BYTES && this.#strangers < MOVE_AFTER) return;
      this.#forgetAll();
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      this.#words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
      this.#window = window;
    }
    this.#strangers = 0;
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    table[entry] = address & PAGE;
    table[entry + 1] = at - (address & PAGE);
  }

  /** What the translator calls. It keeps a weak reference, so this object has to keep it. */
  #asTable(): TranslationTable {
    return {
      open: (epoch) => {
        this.#epochWord = this.#translator.epochWord;
        this.#epoch = epoch;
      },
      shut: () => {
        this.#epochWord = NEVER;
        this.#epoch = 0;
      },
      forgetAll: () => this.#forgetAll(),
      forget: (page) => {
        const entry = (page >>> INDEX_SHIFT) & INDEX;
        this.#loads[entry] = NO_PAGE;
        this.#stores[entry] = NO_PAGE;
      },
      dropViews: () => {
        this.#forgetAll();
        this.#bytes = NO_BYTES;
        this.#view = NO_VIEW;
        this.#words = NEVER;
      },
    };
  }

  #forgetAll(): void {
    this.#loads.fill(NO_PAGE);
    this.#stores.fill(NO_PAGE);
  }
}

/**
 * Makes a TLB for an address space, for the calling thread. Several of one address space do not
 * disturb each other. Outside of `mm.inside` it works as well, at about the price of `mm.read`.
 */
export function createTlb(mm: AddressSpace): Tlb {
  return new Tlb(mm);
}
