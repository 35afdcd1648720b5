/**
 * The translations of one mm that a thread keeps, and the small loads and stores that it makes by
 * them. It is inside by the mm (`shared/sync/translations.ts`) for one access at a time, or as long
 * as a call of `inside` runs, and has then nothing to do per access but to look at the epoch:
 *
 *   outside ──goInside──▶ inside ──the epoch has moved on, an operation begins, the end──▶ outside
 *
 * What it keeps is of one epoch. When it goes inside and finds another one, it forgets everything.
 * There is one exception: if the only change was that faults of its own have given pages another
 * frame, it forgets those pages.
 */
import { MmdumpError } from '../../shared/errors.ts';
import { hex, PAGE_SIZE } from '../../shared/page.ts';
import type { Translations } from '../../shared/sync/translations.ts';
import { VM } from '../../shared/vm-flags.ts';
import { segv } from '../arguments/signal.ts';
import { assertUserRange } from '../fault/access.ts';
import { lockPage } from '../fault/fault.ts';
import { holdGate, type MmReference } from '../mm/hold.ts';
import type { Mm } from '../mm/mm.ts';
import { goOutside, noteInside, type TranslationUser } from '../mm/translation-user.ts';
import { unlockTable } from '../tables/page-table.ts';
import { PTE, WRITTEN } from '../tables/pte.ts';
import { runOn } from './enter.ts';
import { copyIn, copyOut } from './small-access.ts';
import type { Access, Translation, TranslationTable } from './translation.ts';

const ENTRIES = 256;
const OFFSET = PAGE_SIZE - 1;
const NO_PAGE = -1;
/** What a leaf has to have before stores may go around it: a store sets no bit. */
const WRITABLE = PTE.WRITE | WRITTEN;
const EMPTY: Uint8Array = new Uint8Array();
const NO_WORDS: Int32Array = new Int32Array();

/** The translations of one mm in this thread. */
export class Translator implements TranslationUser {
  // Not #private, for the reason that `TlbEntries` has.
  private readonly mm: Mm;
  private readonly reference: MmReference;
  private readonly thread: number;
  private readonly translations: Translations;
  /** The word with the epoch of the mm. */
  readonly epochWord: Int32Array;
  /** Addresses of the pages of the entries, which may be read, and of those that may be written. */
  private readonly loads: Float64Array = new Float64Array(ENTRIES).fill(NO_PAGE);
  private readonly stores: Float64Array = new Float64Array(ENTRIES).fill(NO_PAGE);
  private readonly bytes: Uint8Array[] = new Array<Uint8Array>(ENTRIES).fill(EMPTY);
  private readonly words: Int32Array[] = new Array<Int32Array>(ENTRIES).fill(NO_WORDS);
  /** Where the page of an entry begins in its bank, in bytes. */
  private readonly at: Int32Array = new Int32Array(ENTRIES);
  private isInside = false;
  /** The epoch that was found on going inside. */
  private enteredAt = -1;
  /** The epoch of the entries. */
  private filled = -1;
  /** How many calls of `inside` run. */
  private depth = 0;
  /** Tables that use the epoch of this stay inside. */
  private readonly users: TranslationTable[] = [];
  private tables: WeakRef<TranslationTable>[] = [];

  constructor(mm: Mm, reference: MmReference) {
    const { translations } = mm.machine;
    this.mm = mm;
    this.reference = reference;
    this.thread = mm.thread;
    this.translations = translations;
    const at = translations.epochWord(mm.slot);
    this.epochWord = translations.words.subarray(at, at + 1);
  }

  /** The epoch of the mm at this moment, or NaN while the thread is outside. */
  get epoch(): number {
    return this.isInside ? this.epochWord[0]! : Number.NaN;
  }

  /** Whether a call of `inside` runs. */
  get isHeld(): boolean {
    return this.depth > 0;
  }

  /** Whether somebody listens to faults, and may use this in the middle of an access of a TLB. */
  get isHeard(): boolean {
    return this.mm.machine.faults.isOn;
  }

  /** Runs `work`; between its accesses the thread stays inside. */
  inside<T>(work: () => T): T {
    this.depth++;
    try {
      return work();
    } finally {
      this.depth--;
      if (this.depth === 0) this.goOutside();
    }
  }

  /** Adds a table that takes translations over. It is known as long as somebody else keeps it. */
  addTable(table: TranslationTable): void {
    this.tables = this.tables.filter((each) => each.deref() !== undefined);
    this.tables.push(new WeakRef(table));
  }

  goOutside(): void {
    if (!this.isInside) return;
    this.isInside = false;
    noteInside(undefined);
    while (this.users.length > 0) this.users.pop()!.shut();
    this.translations.leave(this.thread);
  }

  /** Goes inside, unless the gate is closed. Returns whether it is inside. */
  private goInside(): boolean {
    if (this.isInside) {
      if (this.epochWord[0] === this.enteredAt) return true;
      this.goOutside();
    }
    goOutside(); // by another mm
    if (!this.translations.tryEnter(this.thread, this.mm.slot)) return false;
    this.isInside = true;
    noteInside(this);
    this.enteredAt = this.translations.seen;
    if (this.enteredAt !== this.filled) this.forgetAll(this.enteredAt);
    return true;
  }

  /** Goes inside, and waits while the gate is closed. Throws EAGAIN where it must not wait. */
  private goInsideOrWait(): void {
    while (!this.goInside()) holdGate(this.mm.machine, this.thread, () => {});
  }

  /**
   * Loads the bytes from `address` on into `into`: `isSmall` is true of them. Returns false if they
   * cannot be loaded without an operation on the mm.
   */
  load(address: number, into: Uint8Array): boolean {
    if (!this.goInside()) return false;
    const offset = address & OFFSET;
    const entry = (address >>> 12) & (ENTRIES - 1);
    const bytes = this.bytes[entry]!; // none if memory that is not shared has grown since
    const isKnown = this.loads[entry] === address - offset && bytes.length > 0;
    if (isKnown) copyOut(this.words[entry]!, bytes, this.at[entry]! + offset, into);
    if (this.depth === 0) this.goOutside();
    return isKnown;
  }

  /** The same for a store. */
  store(address: number, from: Uint8Array): boolean {
    if (!this.goInside()) return false;
    const offset = address & OFFSET;
    const entry = (address >>> 12) & (ENTRIES - 1);
    const bytes = this.bytes[entry]!;
    const isKnown = this.stores[entry] === address - offset && bytes.length > 0;
    if (isKnown) copyIn(this.words[entry]!, bytes, this.at[entry]! + offset, from);
    if (this.depth === 0) this.goOutside();
    return isKnown;
  }

  /**
   * Loads bytes of one page by an operation on the mm, and keeps the translation. Throws the errors
   * of `read`.
   */
  loadSlowly(address: number, into: Uint8Array): void {
    this.withPage(address, into.length, false, ({ memory }, pfn) => {
      const at = memory.byteAt(pfn) + (address & OFFSET);
      copyOut(memory.wordsOf(pfn), memory.bytesOf(pfn), at, into);
    });
  }

  /** The same for a store. */
  storeSlowly(address: number, from: Uint8Array): void {
    this.withPage(address, from.length, true, ({ memory }, pfn) => {
      const at = memory.byteAt(pfn) + (address & OFFSET);
      copyIn(memory.wordsOf(pfn), memory.bytesOf(pfn), at, from);
    });
  }

  /** Faults the page of an address in for a store. Throws the errors of `write`. */
  prepareStore(address: number): void {
    this.withPage(address, 1, true, () => {});
  }

  private withPage<T>(
    address: number,
    length: number,
    write: boolean,
    use: (mm: Mm, pfn: number, epoch: number) => T,
  ): T {
    assertUserRange(address, length);
    const offset = address & OFFSET;
    this.mm.revokedPages = 0;
    return runOn(this.mm, this.reference, 'read', (mm) => {
      const pfn = lockPage(mm, (address - offset) / PAGE_SIZE, write);
      try {
        return use(mm, pfn, this.keep(mm, address - offset, pfn));
      } finally {
        unlockTable(mm, mm.cursor.table);
      }
    });
  }

  /** Keeps the translation of a page, whose table is locked. Returns the epoch. */
  private keep(mm: Mm, page: number, pfn: number): number {
    const epoch = this.translations.make(mm.slot);
    if (epoch !== this.filled) {
      if (((this.filled + mm.revokedPages) | 0) !== epoch) this.forgetAll(epoch);
      else for (const table of this.tables) table.deref()?.forget(page);
      this.filled = epoch;
    }
    mm.revokedPages = 0;
    const { words, at, isProtected } = mm.cursor;
    const isStored = !isProtected && (words[at]! & WRITABLE) === WRITABLE;
    const entry = (page >>> 12) & (ENTRIES - 1);
    this.bytes[entry] = mm.memory.bytesOf(pfn); // before it counts: memory that is gone throws here
    this.words[entry] = mm.memory.wordsOf(pfn);
    this.at[entry] = mm.memory.byteAt(pfn);
    this.loads[entry] = page;
    this.stores[entry] = isStored ? page : NO_PAGE;
    return epoch;
  }

  private forgetAll(epoch: number): void {
    this.loads.fill(NO_PAGE);
    this.stores.fill(NO_PAGE);
    for (const table of this.tables) table.deref()?.forgetAll();
    this.filled = epoch;
  }

  /** Goes inside, and lets `table` use the epoch of this stay. Precondition: `isHeld`. */
  enter(table: TranslationTable): void {
    this.goInsideOrWait();
    if (this.users.includes(table)) return;
    table.open(this.enteredAt);
    this.users.push(table);
  }

  /**
   * Enters as `enter` does, and returns where the page of `address` begins in `bytesOf(address)`;
   * -1 if no translation is kept. Precondition: `isHeld`.
   */
  find(table: TranslationTable, address: number, write: boolean): number {
    this.enter(table);
    const page = address - (address & OFFSET);
    const entry = (address >>> 12) & (ENTRIES - 1);
    return (write ? this.stores : this.loads)[entry] === page ? this.at[entry]! : -1;
  }

  /** The bank of the page that `find` has found last. */
  bytesOf(address: number): Uint8Array {
    return this.bytes[(address >>> 12) & (ENTRIES - 1)]!;
  }

  /** Translates an address. Throws EINVAL outside `inside`, and the errors of an access. */
  translate(address: number, access: Access): Translation {
    this.assertHeld(`translate ${hex(address)}`);
    const found = this.withPage(address, 1, access === 'write', (mm, pfn, epoch) => {
      const vpn = (address - (address & OFFSET)) / PAGE_SIZE;
      if (access === 'execute') assertExecutable(mm, vpn);
      const { memory, cursor } = mm;
      const span = cursor.level === 1 ? PAGE_SIZE : PAGE_SIZE * 512;
      return {
        words: memory.wordsOf(pfn),
        bytes: memory.bytesOf(pfn),
        offset: memory.byteAt(pfn) + (address & OFFSET),
        end: (Math.floor(address / span) + 1) * span,
        epoch,
      };
    });
    this.goInsideOrWait();
    return found;
  }

  /** Throws EINVAL outside of `inside`. `call` begins the message. */
  assertHeld(call: string): void {
    if (this.isHeld) return;
    const why = 'nothing would hold the translation';
    throw new MmdumpError('EINVAL', `${call}: ${why}: call it in mm.inside(…)`);
  }

  dropViews(): void {
    this.forgetAll(-1);
    this.bytes.fill(EMPTY);
    this.words.fill(NO_WORDS);
    for (const table of this.tables) table.deref()?.dropViews();
  }
}

function assertExecutable(mm: Mm, vpn: number): void {
  const flags = mm.vmas.flags(mm.vmas.lookup(vpn));
  if ((flags & VM.EXEC) === 0)
    throw segv(vpn, false, 'the mapping is not executable (SEGV_ACCERR)');
}
