/**
 * Lets an mm share pages with another one, as after a fork: both leaves are read-only, and a write
 * makes a copy (COW). The two mms are held one after the other, because a thread can hold one mmap
 * lock at a time. In between, a reference on every page keeps it from being freed or written in
 * place.
 */
import { holdMm, holdToChange, type MmReference } from '../../mmu/mm/hold.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { lockTable, unlockTable, walk } from '../../mmu/tables/page-table.ts';
import {
  highOf,
  isBacked,
  isPresent,
  leafFlags,
  lowOf,
  PTE,
  pfnOf,
  setEntry,
} from '../../mmu/tables/pte.ts';
import { revokeTranslations } from '../../mmu/tables/revoke.ts';
import { ensureTables } from '../../mmu/tables/shared-table.ts';
import { assert } from '../../shared/assert.ts';
import { LOAD_FLAG, type LoadRun } from '../../shared/dump/load-table.ts';
import { GRANULE_PAGES } from '../../shared/page.ts';
import { pagePrivileges } from '../../shared/vm-flags.ts';

/** An mm of the machine, and a reference with the generation of its slot. */
export interface HeldMm {
  readonly mm: Mm;
  readonly reference: MmReference;
}

/** Shares the pages of one run after the other. */
export class PageSharer {
  /** Entries of the pages of the run, two words each. */
  readonly #entries = new Int32Array(GRANULE_PAGES * 2);
  /** Number of pages, from the first on, on which a reference was taken for the taker. */
  #pinned = 0;
  /** Number of pages, from the first on, that the taker shows. It owns their references. */
  #shown = 0;
  /** The donor shows all 512 pages behind one 2 MiB leaf. */
  #isHuge = false;

  /**
   * Makes `taker` show what `donor` shows at the pages of the run, which lie in one granule. Throws
   * MM_GONE if one of the mms was destroyed, and ENOMEM if there are no frames for page tables.
   */
  share(donor: HeldMm, taker: HeldMm, run: LoadRun): void {
    this.#pinned = 0;
    this.#shown = 0;
    this.#isHuge = false;
    try {
      holdMm(donor.mm, donor.reference, 'read', (mm) => this.#pin(mm, run));
      holdToChange(taker.mm, taker.reference, (mm) => this.#show(mm, run));
    } finally {
      if (this.#shown < this.#pinned) this.#unpin(taker.mm);
    }
  }

  /** Write-protects the donor's leaves and takes a reference on each page. */
  #pin(mm: Mm, { start, pages }: LoadRun): void {
    const { cursor } = mm;
    let found = walk(mm, mm.pgd, start, cursor);
    if (found === 'huge' && this.#pinHuge(mm, start, pages)) return;
    if (found === 'huge') found = walk(mm, mm.pgd, start, cursor); // another thread has split it
    assert(found === 'table', 'the mm to share pages with no longer has them');
    const { words, table } = cursor;
    lockTable(mm, table);
    try {
      revokeTranslations(mm);
      for (let page = 0; page < pages; page++) {
        const at = cursor.at + page * 2;
        const low = words[at]!;
        const high = words[at + 1]!;
        this.#entries[page * 2] = low;
        this.#entries[page * 2 + 1] = high;
        if (isBacked(low)) {
          // It needs no reference.
        } else if (isPresent(low)) {
          if ((low & PTE.WRITE) !== 0) setEntry(words, at, low & ~PTE.WRITE, high);
          mm.pages.get(pfnOf(low, high));
        } else {
          mm.machine.swap.get(this.#slot(mm, page), mm.thread); // it was swapped out meanwhile
        }
        this.#pinned++;
      }
    } finally {
      unlockTable(mm, table);
    }
  }

  /**
   * Does the same for pages behind a 2 MiB leaf. False if the entry is not such a leaf any more.
   */
  #pinHuge(mm: Mm, start: number, pages: number): boolean {
    const { words, at, table } = mm.cursor;
    lockTable(mm, table);
    try {
      const low = words[at]!;
      const high = words[at + 1]!;
      if ((low & PTE.HUGE) === 0 || !isPresent(low)) return false;
      revokeTranslations(mm);
      if ((low & PTE.WRITE) !== 0) setEntry(words, at, low & ~PTE.WRITE, high);
      const first = pfnOf(low, high) + (start % GRANULE_PAGES);
      for (let page = 0; page < pages; page++) {
        this.#entries[page * 2] = lowOf(first + page, PTE.PRESENT);
        this.#entries[page * 2 + 1] = highOf(first + page, 0);
        mm.pages.get(first + page);
        this.#pinned++;
      }
      this.#isHuge = pages === GRANULE_PAGES;
      return true;
    } finally {
      unlockTable(mm, table);
    }
  }

  /** Sets the taker's 2 MiB leaf. */
  #showHuge(mm: Mm, start: number): void {
    const { cursor } = mm;
    ensureTables(mm, mm.pgd, start, 2, cursor);
    const { words, at, table } = cursor;
    const privileges = pagePrivileges(mm.vmas.flags(mm.vmas.lookup(start)));
    const bits = leafFlags(privileges.low, false, false) | PTE.HUGE;
    const first = pfnOf(this.#entries[0]!, this.#entries[1]!);
    lockTable(mm, table);
    try {
      assert(words[at] === 0, 'pages are shared where some are mapped already');
      for (let page = 0; page < GRANULE_PAGES; page++) mm.pages.addMapping(first + page);
      setEntry(words, at, lowOf(first, bits), highOf(first, privileges.high));
      this.#shown = GRANULE_PAGES;
    } finally {
      unlockTable(mm, table);
    }
  }

  /** Sets the taker's leaves. */
  #show(mm: Mm, { start, pages, flags }: LoadRun): void {
    if (this.#isHuge && (flags & LOAD_FLAG.HUGE) !== 0) {
      this.#showHuge(mm, start);
      return;
    }
    const { cursor } = mm;
    ensureTables(mm, mm.pgd, start, 1, cursor);
    const { words, table } = cursor;
    const privileges = pagePrivileges(mm.vmas.flags(mm.vmas.lookup(start)));
    const bits = leafFlags(privileges.low, false, false);
    lockTable(mm, table);
    try {
      for (let page = 0; page < pages; page++) {
        const at = cursor.at + page * 2;
        assert(words[at] === 0, 'a page is shared where one is mapped already');
        const low = this.#entries[page * 2]!;
        const high = this.#entries[page * 2 + 1]!;
        if (isPresent(low)) {
          const pfn = pfnOf(low, high);
          mm.pages.addMapping(pfn);
          setEntry(words, at, lowOf(pfn, bits), highOf(pfn, privileges.high));
        } else {
          setEntry(words, at, low, high);
        }
        this.#shown++;
      }
    } finally {
      unlockTable(mm, table);
    }
  }

  /**
   * After a failure: drops the references that the taker has not taken over. It passes the gate
   * again, since no reference count may change while the machine is frozen.
   */
  #unpin(mm: Mm): void {
    const { gate, swap } = mm.machine;
    gate.enter(mm.thread);
    try {
      for (let page = this.#shown; page < this.#pinned; page++) {
        const low = this.#entries[page * 2]!;
        if (isBacked(low)) continue;
        if (isPresent(low)) mm.allocator.put(pfnOf(low, this.#entries[page * 2 + 1]!), mm.thread);
        else swap.put(this.#slot(mm, page), mm.thread);
      }
    } finally {
      gate.leave(mm.thread);
    }
  }

  #slot(mm: Mm, page: number): number {
    const slot = mm.machine.swap.slotOf(this.#entries[page * 2]!, this.#entries[page * 2 + 1]!);
    assert(slot >= 0, 'the mm to share pages with no longer has them');
    return slot;
  }
}
