/**
 * The entries of a TLB, and what it does where an access is no hit (`tlb.ts`): find bytes that are
 * not aligned, ask the translator, and take its translations over.
 *
 * All entries are of one window of 4 GiB and one bank of memory; when 64 misses in a row lie
 * elsewhere, the TLB moves there.
 */
import { instanceOf } from '../../shared/arguments/checks.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { AddressSpace } from './address-space.ts';
import { isSmall } from './small-access.ts';
import type { TranslationTable } from './translation.ts';
import type { Translator } from './translator.ts';

/** Entries for loads, and as many for stores. An entry is two words: page, and what to add. */
const ENTRIES = 1024;
/** The lowest bits of an address say the place in the page; shifted by 11, they give an index. */
const INDEX_SHIFT = 11;
/** The bits of an index. */
const INDEX = 0x7fe;
/** The bits of an address that say the page. */
const PAGE = -4096;
/** What no address shows: bits 3 to 11 are never looked at, and are 0 in all that is compared. */
const NO_PAGE = 8;
/** How many misses in a row have to lie in another window or bank. */
const MOVE_AFTER = 64;
/** An epoch that never is, for a TLB that is not open. */
const NEVER: Int32Array = new Int32Array([1]);
const NO_BYTES: Uint8Array = new Uint8Array();
const NO_HALVES: Uint16Array = new Uint16Array();
const NO_WORDS: Int32Array = new Int32Array();

const SPACE = instanceOf(AddressSpace, 'an AddressSpace');

/** What a TLB keeps, and its way to the translator. */
export abstract class TlbEntries {
  // Not #private: V8 11.3 looks the name of such a field up at each access
  // (`docs/decisions/hot-loops.md`).
  private readonly translator: Translator;
  private readonly space: AddressSpace;
  private readonly table: TranslationTable;
  /** @internal */
  protected readonly loads: Int32Array = new Int32Array(ENTRIES * 2).fill(NO_PAGE);
  /** @internal */
  protected readonly stores: Int32Array = new Int32Array(ENTRIES * 2).fill(NO_PAGE);
  private readonly scratch: Uint8Array = new Uint8Array(8);
  private readonly parts: Uint8Array[];
  /** @internal */
  protected readonly value: DataView;
  /** @internal The bank of the entries. It shows nothing once memory that is not shared has grown. */
  protected bytes: Uint8Array = NO_BYTES;
  /** @internal */
  protected halves: Uint16Array = NO_HALVES;
  /** @internal */
  protected words: Int32Array = NO_WORDS;
  /** @internal Where the window of the entries begins, a multiple of 2^32. */
  protected window = 0;
  /** @internal */
  protected epochWord: Int32Array = NEVER;
  /** @internal */
  protected epoch = 0;
  private strangers = 0;

  /** @internal */
  constructor(space: AddressSpace) {
    this.space = SPACE('mm', space);
    this.translator = space.translator;
    this.value = new DataView(this.scratch.buffer);
    this.parts = Array.from({ length: 9 }, (_, bytes) => this.scratch.subarray(0, bytes));
    this.table = this.asTable();
    this.translator.addTable(this.table);
  }

  /**
   * Where the bytes of an access lie that is not aligned; -1 if they do not lie in one page that is
   * known.
   */
  private find(table: Int32Array, address: number, bytes: number): number {
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    if (
      table[entry] !== ((address - (1 - bytes)) & PAGE) ||
      address - (address >>> 0) !== this.window ||
      this.epochWord[0] !== this.epoch ||
      this.bytes.length === 0
    ) {
      return -1;
    }
    return (table[entry + 1]! + (address | 0)) | 0;
  }

  /** @internal Loads into the scratch where no aligned word is known, and returns a view of it. */
  protected loadSlowly(address: number, bytes: number): DataView {
    const at = this.find(this.loads, address, bytes);
    if (at >= 0) {
      for (let byte = 0; byte < bytes; byte++) this.scratch[byte] = this.bytes[at + byte]!;
      return this.value;
    }
    if (typeof address !== 'number') throw refusal('address', address, 'a number');
    if (this.translator.isHeard) return this.loadApart(address, bytes);
    this.space.read(address, this.parts[bytes]!);
    if (this.translator.isHeld) this.fill(address, this.loads, false);
    return this.value;
  }

  /** The same where a listener may load by this TLB meanwhile, and use the scratch. */
  private loadApart(address: number, bytes: number): DataView {
    const apart = new Uint8Array(8);
    this.space.read(address, apart.subarray(0, bytes));
    return new DataView(apart.buffer);
  }

  /** @internal Stores what is in the scratch where no aligned word is known. */
  protected storeSlowly(address: number, bytes: number): void {
    const at = this.find(this.stores, address, bytes);
    if (at >= 0) {
      for (let byte = 0; byte < bytes; byte++) this.bytes[at + byte] = this.scratch[byte]!;
      return;
    }
    if (typeof address !== 'number') throw refusal('address', address, 'a number');
    const from = this.translator.isHeard ? this.parts[bytes]!.slice() : this.parts[bytes]!;
    if (!isSmall(address, bytes)) {
      this.translator.prepareStore(address);
      this.translator.prepareStore(address + bytes - 1); // or the first page would be written alone
    }
    this.space.write(address, from);
    if (this.translator.isHeld) this.fill(address, this.stores, true);
  }

  /** Takes the translation of the page over, if it is kept and lies in this window and bank. */
  private fill(address: number, table: Int32Array, write: boolean): void {
    const at = this.translator.find(this.table, address, write);
    if (at < 0) return;
    const bytes = this.translator.bytesOf(address);
    const window = address - (address >>> 0);
    if (bytes !== this.bytes || window !== this.window) {
      this.strangers++;
      if (this.bytes.length > 0 && this.strangers < MOVE_AFTER) return;
      this.forgetAll();
      this.bytes = bytes;
      this.halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
      this.words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
      this.window = window;
    }
    this.strangers = 0;
    const entry = (address >>> INDEX_SHIFT) & INDEX;
    table[entry] = address & PAGE;
    table[entry + 1] = at - (address & PAGE);
  }

  /** What the translator calls. It keeps a weak reference, so this object has to keep it. */
  private asTable(): TranslationTable {
    return {
      open: (epoch) => {
        this.epochWord = this.translator.epochWord;
        this.epoch = epoch;
      },
      shut: () => {
        this.epochWord = NEVER;
        this.epoch = 0;
      },
      forgetAll: () => this.forgetAll(),
      forget: (page) => {
        const entry = (page >>> INDEX_SHIFT) & INDEX;
        this.loads[entry] = NO_PAGE;
        this.stores[entry] = NO_PAGE;
      },
      dropViews: () => {
        this.forgetAll();
        this.bytes = NO_BYTES;
        this.halves = NO_HALVES;
        this.words = NO_WORDS;
      },
    };
  }

  private forgetAll(): void {
    this.loads.fill(NO_PAGE);
    this.stores.fill(NO_PAGE);
  }
}
