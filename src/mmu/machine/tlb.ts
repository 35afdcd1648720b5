/**
 * A TLB: the accesses of an interpreter, at the price of a few loads per access. It belongs to a
 * thread, and is fast inside a call of `mm.inside`. An access is a hit if
 *
 *   the entry for its page names the page, and the address is aligned,
 *   the address lies in the window of 4 GiB that the TLB has entries of,
 *   the epoch is the one in which the thread went inside (`translator.ts`), and
 *   the bank is still there: memory that is not shared may have grown, and then its view is empty.
 *
 * Everything else is left to `tlb-entries.ts`. Each hit is one small function, so that V8 puts it
 * in the place of the call.
 */
import type { AddressSpace } from './address-space.ts';
import { TlbEntries } from './tlb-entries.ts';

/** As in `tlb-entries.ts`; constants of this module, as in all hot loops. */
const INDEX_SHIFT = 11;
const INDEX = 0x7fe;
const PAGE = -4096;
/** The page, and what is not a multiple of 2, 4, 8: an aligned address shows its page alone. */
const PAGE_AND_1 = PAGE | 1;
const PAGE_AND_3 = PAGE | 3;
const PAGE_AND_7 = PAGE | 7;

/**
 * Loads and stores of an address space for interpreters, little-endian. `createTlb` makes it. All
 * take an address in bytes, aligned or not. A page that cannot be accessed is SIGSEGV or SIGBUS
 * with `address` and `reason`, and nothing has been stored then. Every access can also fail as
 * `mm.read` does. An access that lies in one page and is aligned is one access of the processor, so
 * that no other thread sees half of it; one of 64 bits is two of 32.
 */
export class Tlb extends TlbEntries {
  private readonly words64: Uint32Array = new Uint32Array(2);

  /** @internal */
  constructor(space: AddressSpace) {
    super(space);
  }

  /** Loads a byte, 0 to 255. */
  load8(address: number): number {
    const { loads } = this;
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      loads[entry] === (address & PAGE) &&
      address - (address >>> 0) === this.window &&
      this.epochWord[0] === this.epoch
    ) {
      const found = this.bytes[(loads[entry + 1]! + (address | 0)) | 0];
      if (found !== undefined) return found;
    }
    return this.loadSlowly(address, 1).getUint8(0);
  }

  /** Loads a byte, -128 to 127. */
  load8s(address: number): number {
    return (this.load8(address) << 24) >> 24;
  }

  /** Loads 16 bits, 0 to 65 535. */
  load16(address: number): number {
    const { loads } = this;
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      loads[entry] === (address & PAGE_AND_1) &&
      address - (address >>> 0) === this.window &&
      this.epochWord[0] === this.epoch
    ) {
      const found = this.halves[(loads[entry + 1]! + (address | 0)) >>> 1];
      if (found !== undefined) return found;
    }
    return this.loadSlowly(address, 2).getUint16(0, true);
  }

  /** Loads 16 bits, -32 768 to 32 767. */
  load16s(address: number): number {
    return (this.load16(address) << 16) >> 16;
  }

  /** Loads 32 bits, as a signed number. */
  load32(address: number): number {
    const { loads } = this;
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      loads[entry] === (address & PAGE_AND_3) &&
      address - (address >>> 0) === this.window &&
      this.epochWord[0] === this.epoch
    ) {
      const found = this.words[(loads[entry + 1]! + (address | 0)) >>> 2];
      if (found !== undefined) return found;
    }
    return this.loadSlowly(address, 4).getInt32(0, true);
  }

  /** Loads 32 bits, 0 to 2^32 - 1. */
  load32u(address: number): number {
    return this.load32(address) >>> 0;
  }

  /** Loads 64 bits, 0 to 2^64 - 1. It makes a BigInt; `load64Words` does not. */
  load64(address: number): bigint {
    this.load64Words(address, this.words64);
    return (BigInt(this.words64[1]!) << 32n) | BigInt(this.words64[0]!);
  }

  /** Loads 64 bits as two words: the lower half into `into[0]`, the upper half into `into[1]`. */
  load64Words(address: number, into: Int32Array | Uint32Array): void {
    const { loads } = this;
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      loads[entry] === (address & PAGE_AND_7) &&
      address - (address >>> 0) === this.window &&
      this.epochWord[0] === this.epoch
    ) {
      const at = (loads[entry + 1]! + (address | 0)) >>> 2;
      const high = this.words[at + 1];
      if (high !== undefined) {
        into[0] = this.words[at]!;
        into[1] = high;
        return;
      }
    }
    const found = this.loadSlowly(address, 8);
    into[0] = found.getInt32(0, true);
    into[1] = found.getInt32(4, true);
  }

  /** Stores the lowest 8 bits of `value`. */
  store8(address: number, value: number): void {
    const { stores } = this;
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      stores[entry] === (address & PAGE) &&
      address - (address >>> 0) === this.window &&
      this.epochWord[0] === this.epoch
    ) {
      const at = (stores[entry + 1]! + (address | 0)) | 0;
      if (at < this.bytes.length) {
        this.bytes[at] = value;
        return;
      }
    }
    this.value.setUint8(0, value);
    this.storeSlowly(address, 1);
  }

  /** Stores the lowest 16 bits of `value`. */
  store16(address: number, value: number): void {
    const { stores } = this;
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      stores[entry] === (address & PAGE_AND_1) &&
      address - (address >>> 0) === this.window &&
      this.epochWord[0] === this.epoch
    ) {
      const at = (stores[entry + 1]! + (address | 0)) >>> 1;
      if (at < this.halves.length) {
        this.halves[at] = value;
        return;
      }
    }
    this.value.setUint16(0, value, true);
    this.storeSlowly(address, 2);
  }

  /** Stores the lowest 32 bits of `value`. */
  store32(address: number, value: number): void {
    const { stores } = this;
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      stores[entry] === (address & PAGE_AND_3) &&
      address - (address >>> 0) === this.window &&
      this.epochWord[0] === this.epoch
    ) {
      const at = (stores[entry + 1]! + (address | 0)) >>> 2;
      if (at < this.words.length) {
        this.words[at] = value;
        return;
      }
    }
    this.value.setInt32(0, value, true);
    this.storeSlowly(address, 4);
  }

  /** Stores the lowest 64 bits of a BigInt. */
  store64(address: number, value: bigint): void {
    this.value.setBigInt64(0, value, true);
    this.store64Words(address, this.value.getInt32(0, true), this.value.getInt32(4, true));
  }

  /** Stores 64 bits, given as the lower and the upper half. */
  store64Words(address: number, low: number, high: number): void {
    const { stores } = this;
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      stores[entry] === (address & PAGE_AND_7) &&
      address - (address >>> 0) === this.window &&
      this.epochWord[0] === this.epoch
    ) {
      const at = (stores[entry + 1]! + (address | 0)) >>> 2;
      if (at < this.words.length) {
        this.words[at] = low;
        this.words[at + 1] = high;
        return;
      }
    }
    this.value.setInt32(0, low, true);
    this.value.setInt32(4, high, true);
    this.storeSlowly(address, 8);
  }
}

/**
 * Makes a TLB for an address space, for the calling thread. Several of one address space do not
 * disturb each other. Outside of `mm.inside` it works as well, at about the price of `mm.read`.
 */
export function createTlb(mm: AddressSpace): Tlb {
  return new Tlb(mm);
}
