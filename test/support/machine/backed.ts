/** Pages that lie in a file, as a backing of a machine. */
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BACKING_KIND } from '../../../src/mmu/backing/backing-table.ts';
import { mapBacked } from '../../../src/mmu/backing/map-backed.ts';
import { encodePlaces, type PlacedRun } from '../../../src/mmu/files/file-places.ts';
import { FILE_BACKING, FILE_KIND } from '../../../src/mmu/files/file-record.ts';
import { cacheContext, putFile, unlinkFile } from '../../../src/mmu/files/page-cache.ts';
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import { runOn } from '../../../src/mmu/machine/enter.ts';
import type { Machine } from '../../../src/mmu/machine/machine.ts';
import { holdGate } from '../../../src/mmu/mm/hold.ts';
import type { Mm } from '../../../src/mmu/mm/mm.ts';
import { PG } from '../../../src/mmu/physical/page-struct.ts';
import { lockTable, unlockTable } from '../../../src/mmu/tables/page-table.ts';
import {
  backedHigh,
  backedLow,
  isPresent,
  PTE,
  pfnOf,
  replaceEntry,
  swappedOfSoft,
} from '../../../src/mmu/tables/pte.ts';
import { revokeTranslations } from '../../../src/mmu/tables/revoke.ts';
import { openOwnTable } from '../../../src/mmu/tables/shared-table.ts';
import { walkRange } from '../../../src/mmu/tables/walk-range.ts';
import { dropLeaf } from '../../../src/mmu/tables/zap.ts';
import { prepareAnonVma } from '../../../src/mmu/vma/anon-vma.ts';
import { granuleEnd, PAGE_SIZE, vpnOf } from '../../../src/shared/page.ts';

/** Of these bits in the flags of a page that is taken, only ANON is set. */
const NOT_TAKEN = PG.ANON | PG.RESERVED | PG.KSM | PG.LAZYFREE | PG.ADOPTED;
const USER_PAGES = 0x7_ffff_ffff;

/** A file whose pages back those of a machine. */
export class BackingFile {
  /** Its number in the machine. */
  readonly backing: number;
  readonly #machine: Machine;
  readonly #folder = mkdtempSync(join(tmpdir(), 'mmdump-backing-'));
  readonly #path: string;
  readonly #fd: number;

  /**
   * The file holds `content`, which is whole pages. `machine` may come from the package that was
   * built.
   */
  constructor(machine: object, content: Uint8Array, pid = 4_000_000) {
    this.#path = join(this.#folder, 'pages');
    writeFileSync(this.#path, content);
    this.#fd = openSync(this.#path, 'r+');
    this.#machine = machine as Machine;
    this.backing = this.#machine.parts.backings.add({
      kind: BACKING_KIND.PROCESS,
      fd: this.#fd,
      pid,
    });
  }

  /**
   * Lets the pages of `space` from `address` on lie in the file, from page `place` on. `isMerged`: KSM
   * has merged them.
   */
  map(space: object, address: number, pages: number, place = 0, isMerged = false): void {
    const { mm: own, reference } = space as AddressSpace;
    runOn(own, reference, 'write', (mm) => {
      prepareAnonVma(mm, mm.vmas.lookup(vpnOf(address)));
      const start = vpnOf(address);
      for (let vpn: number = start; vpn < start + pages; ) {
        const end = Math.min(granuleEnd(vpn), start + pages);
        mapBacked(mm, vpn, end - vpn, this.backing, place + vpn - start, isMerged);
        vpn = end;
      }
    });
  }

  /**
   * Makes a memory-backed file of `pages` pages in the machine, of which `runs` lie in the host's
   * file. The caller has an open reference, and its name has one. Returns its id.
   */
  createFile(pages: number, runs: readonly Omit<PlacedRun, 'backing'>[]): number {
    const { parts } = this.#machine;
    const content = encodePlaces(runs.map((run) => ({ ...run, backing: this.backing })));
    const path = Buffer.from('/memfd:placed');
    const backing = FILE_BACKING.NONE;
    const kind = FILE_KIND.MEMORY | FILE_KIND.NAMED;
    const fields = { path, kind, backing, size: pages * PAGE_SIZE, content };
    return holdGate(parts, parts.thread, () => parts.files.create(fields, parts.thread));
  }

  /**
   * Lets every anonymous page that only `space` has lie in the file, from page `place` on, as if the
   * machine had never loaded it. Returns the place after the last one.
   */
  takePages(space: object, place: number): number {
    const { mm: own, reference } = space as AddressSpace;
    return runOn(own, reference, 'write', (mm) => {
      const from = place;
      walkRange(mm, 0, USER_PAGES, 'look', (found, vpn, end) => {
        if (found === 'table' && openOwnTable(mm, vpn, mm.cursor)) {
          place = this.#takeTable(mm, end - vpn, place);
        }
        return true;
      });
      if (place > from) revokeTranslations(mm);
      return place;
    });
  }

  #takeTable(mm: Mm, count: number, place: number): number {
    const { words, at: first, table } = mm.cursor;
    lockTable(mm, table);
    for (let at = first; at < first + count * 2; at += 2) {
      const low = words[at]!;
      const pfn = pfnOf(low, words[at + 1]!);
      if (!isPresent(low) || (low & PTE.SPECIAL) !== 0 || !mm.pages.isExclusive(pfn)) continue;
      if ((mm.pages.flags(pfn) & NOT_TAKEN) !== PG.ANON) continue;
      writeSync(this.#fd, mm.memory.page(pfn), 0, PAGE_SIZE, place * PAGE_SIZE);
      const entry = backedLow(place) | swappedOfSoft(low);
      replaceEntry(words, at, entry, backedHigh(this.backing, place));
      dropLeaf(mm, pfn);
      place++;
    }
    unlockTable(mm, table);
    return place;
  }

  /** Drops both references. */
  dropFile(id: number): void {
    const { parts } = this.#machine;
    const context = cacheContext(parts, parts.thread);
    holdGate(parts, parts.thread, () => unlinkFile(context, id));
    holdGate(parts, parts.thread, () => putFile(context, id));
  }

  /** Overwrites the page at `place`, as a process does that was not stopped. */
  change(place: number, page: Uint8Array): void {
    const fd = openSync(this.#path, 'r+');
    writeSync(fd, page, 0, page.length, place * PAGE_SIZE);
    closeSync(fd);
  }

  release(): void {
    this.#machine.parts.backings.release(this.backing);
  }

  close(): void {
    this.release();
    closeSync(this.#fd);
    rmSync(this.#folder, { recursive: true });
  }
}
