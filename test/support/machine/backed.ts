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
import { prepareAnonVma } from '../../../src/mmu/vma/anon-vma.ts';
import { granuleEnd, PAGE_SIZE, vpnOf } from '../../../src/shared/page.ts';

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
    this.#fd = openSync(this.#path, 'r');
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
