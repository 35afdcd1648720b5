/**
 * The plan of a dump: the granules that have to be looked at, cut into work units. It walks VMAs
 * and upper page tables only, and reads no PTE. The mmap locks are held.
 */

import { isUnreachableKind } from '../../mmu/files/file-record.ts';
import { CACHE_NODE_PAGES, forEachCacheNode } from '../../mmu/files/page-cache.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { scanTables } from '../../mmu/tables/table-scan.ts';
import { type LeftOutPolicy, leftOutFlags, ruleOfLeftOut } from '../../shared/dump/left-out.ts';
import { encodeOwners, type OwnerBuffers } from '../../shared/dump/owner-table.ts';
import { RULE } from '../../shared/dump/page-class.ts';
import type { PassFormat } from '../../shared/dump/tasks/pass-task.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, GRANULE_PAGES, granuleEnd, granuleStart, hex } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { Yielder } from '../job/stop.ts';
import { decideOwners, everyMapping, type OrderedMapping } from './owners.ts';

/** A run of whole granules of one mm. */
export interface PlannedUnit {
  readonly mm: number; //    ordinal
  readonly start: number; // page
  pages: number;
}

/** Pages that are left out before any PTE is looked at. */
export interface LeftOut {
  readonly mm: number;
  readonly start: number; // page
  readonly end: number;
  readonly rule: number;
}

/** A plan. */
export interface Plan {
  /** Ascending by mm and page. */
  readonly units: readonly PlannedUnit[];
  /** Pages of address space in all units. Neither the runs nor the frames can be more. */
  readonly pages: number;
  readonly owners: OwnerBuffers;
  /** Pages behind bad upper tables, and VMAs that are left out as a whole. Ascending. */
  readonly leftOut: readonly LeftOut[];
}

/** Options of a plan. */
export interface PlanOptions extends LeftOutPolicy {
  /** The most pages of a unit, a multiple of GRANULE_PAGES. */
  readonly unitPages: number;
  /** If true, nothing on the machine changes. If false, only the VMAs stay as they are. */
  readonly freeze: boolean;
  /** A core file stores a page of a file wherever a mapping shows it. */
  readonly format?: PassFormat | undefined;
}

/** Pages that are planned without a break: what one entry of the top-level table spans. */
const STRETCH_PAGES = 2 ** 27;

/**
 * Makes the plan of a dump of these mms. Throws HUGETLB_REFUSED, and AbortError through `yielder`.
 * Precondition: the mms are held.
 */
export async function planDump(
  mms: readonly Mm[],
  options: PlanOptions,
  yielder: Yielder,
): Promise<Plan> {
  const units: PlannedUnit[] = [];
  const leftOut: LeftOut[] = [];
  for (const [ordinal, mm] of mms.entries()) {
    await new MmPlanner(mm, ordinal, options, units, leftOut).run(yielder);
  }
  const files = await unreachableFileMappings(mms, options, yielder);
  const owners =
    options.format === 'elf'
      ? everyMapping(files)
      : await decideOwners(files, options.freeze, yielder);
  return {
    units,
    pages: units.reduce((sum, unit) => sum + unit.pages, 0),
    owners: encodeOwners(owners.intervals, owners.rivals),
    leftOut,
  };
}

/** Plans one mm. */
class MmPlanner {
  readonly #mm: Mm;
  readonly #ordinal: number;
  readonly #options: PlanOptions;
  readonly #units: PlannedUnit[];
  readonly #leftOut: LeftOut[];
  /** All granules below this page are planned. */
  #planned = 0;
  /** The tables of all pages below this one have been looked at. */
  #scanned = 0;

  constructor(
    mm: Mm,
    ordinal: number,
    options: PlanOptions,
    units: PlannedUnit[],
    leftOut: LeftOut[],
  ) {
    this.#mm = mm;
    this.#ordinal = ordinal;
    this.#options = options;
    this.#units = units;
    this.#leftOut = leftOut;
  }

  async run(yielder: Yielder): Promise<void> {
    const { vmas } = this.#mm;
    for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
      if (yielder.isDue()) await yielder.yield();
      const slot = vmas.slot(ordinal);
      if (this.#isLeftOut(slot)) continue;
      const end = vmas.end(slot);
      for (let from: number = vmas.start(slot); from < end; ) {
        const to = Math.min(end, (Math.floor(from / STRETCH_PAGES) + 1) * STRETCH_PAGES);
        const waiting = this.#planPart(slot, from, to, yielder);
        if (waiting !== undefined) await waiting; // to wait for nothing, too, would take its time
        from = to;
        if (from < end) await yielder.yield();
      }
    }
  }

  /** Rows 1 and 2: whether the VMA is left out as a whole. Throws HUGETLB_REFUSED. */
  #isLeftOut(slot: number): boolean {
    const { vmas } = this.#mm;
    const start = vmas.start(slot);
    const end = vmas.end(slot);
    const rule = ruleOfLeftOut(vmas.flags(slot), this.#options);
    if (rule === 0) return false;
    if (rule === RULE.HUGETLB && this.#options.hugetlb === 'fail') {
      throw refuseHugetlb(this.#ordinal, start, end);
    }
    this.#leave(start, end, rule);
    return true;
  }

  /** Plans pages [start, end) of a VMA. Returns a promise where it may have to wait for a lock. */
  #planPart(slot: number, start: number, end: number, yielder: Yielder): Promise<void> | undefined {
    const file = this.#mm.vmas.file(slot);
    if (file !== 0 && isUnreachableKind(this.#mm.files.kind(file))) {
      return this.#planUnreachableFile(slot, file, start, end, yielder);
    }
    if (end > this.#scanned) {
      let scanned = end;
      this.#scan(Math.max(start, this.#scanned), end, (granule) => {
        scanned = Math.max(scanned, granule + GRANULE_PAGES); // a granule lies in one table
        this.#addGranule(granule);
      });
      this.#scanned = scanned;
    }
    return undefined;
  }

  #leave(start: number, end: number, rule: number): void {
    this.#leftOut.push({ mm: this.#ordinal, start, end, rule });
  }

  #scan(from: number, to: number, granule: (start: number) => void): void {
    const bad = (start: number, end: number): void => {
      this.#leave(Math.max(start, from), Math.min(end, to), RULE.TABLE_BAD);
    };
    const isRunning = !this.#options.freeze;
    scanTables(this.#mm, this.#mm.pgd, from, to, { granule, bad }, isRunning);
  }

  /** Plans pages of an unreachable file, which count whether a PTE shows them or not. */
  async #planUnreachableFile(
    slot: number,
    file: number,
    start: number,
    end: number,
    { signal }: Yielder,
  ): Promise<void> {
    const granules = new Set<number>();
    this.#scan(start, end, (granule) => granules.add(granule));
    // The granules of its cache may go on into the next VMA, whose tables nobody has looked at.
    this.#scanned = end;
    const pgoff = this.#mm.vmas.fileIndex(slot, start);
    this.#addPlacedGranules(granules, file, pgoff, start, end);
    // On a running machine another thread may have the lock. The plan so far stays right meanwhile.
    const lock = this.#options.freeze ? undefined : this.#mm.files.lock(file);
    await lock?.lockAsync(this.#mm.thread, signal);
    try {
      this.#addCachedGranules(granules, file, pgoff, start, end);
    } finally {
      lock?.unlock(this.#mm.thread);
    }
    for (const granule of [...granules].sort((a, b) => a - b)) this.#addGranule(granule);
  }

  /**
   * Adds the granules of pages [start, end) that have pages in the page cache of the file. `pgoff`
   * is the page of the file at page `start`.
   */
  #addCachedGranules(
    granules: Set<number>,
    file: number,
    pgoff: number,
    start: number,
    end: number,
  ): void {
    forEachCacheNode(this.#mm, file, pgoff, pgoff + (end - start), (index) => {
      const from = Math.max(pgoff, index) - pgoff + start;
      const to = Math.min(end, index + CACHE_NODE_PAGES - pgoff + start);
      addGranules(granules, from, to);
    });
  }

  /** Adds those that have pages of the file which lie in backings. */
  #addPlacedGranules(
    granules: Set<number>,
    file: number,
    pgoff: number,
    start: number,
    end: number,
  ): void {
    const places = this.#mm.files.places(file);
    if (places === undefined) return;
    for (let run = places.firstAfter(pgoff); run < places.count; run++) {
      const from = Math.max(pgoff, places.index(run)) - pgoff + start;
      if (from >= end) return;
      const to = places.index(run) + places.pages(run) - pgoff + start;
      addGranules(granules, from, Math.min(end, to));
    }
  }

  #addGranule(start: number): void {
    if (start < this.#planned) return;
    this.#planned = start + GRANULE_PAGES;
    const last = this.#units.at(-1);
    const joins =
      last !== undefined &&
      last.mm === this.#ordinal &&
      last.start + last.pages === start &&
      last.pages < this.#options.unitPages;
    if (joins) last.pages += GRANULE_PAGES;
    else this.#units.push({ mm: this.#ordinal, start, pages: GRANULE_PAGES });
  }
}

/** Adds the granules of pages [from, to). */
function addGranules(granules: Set<number>, from: number, to: number): void {
  for (let granule = granuleStart(from); granule < to; granule = granuleEnd(granule)) {
    granules.add(granule);
  }
}

/** The mappings that may store pages of unreachable files, by file. */
async function unreachableFileMappings(
  mms: readonly Mm[],
  options: PlanOptions,
  yielder: Yielder,
): Promise<Map<number, OrderedMapping[]>> {
  const storesNothing = leftOutFlags(options);
  const files = new Map<number, OrderedMapping[]>();
  for (const [ordinal, mm] of mms.entries()) {
    const { vmas } = mm;
    for (let index = 0; index < vmas.count; index++) {
      if (yielder.isDue()) await yielder.yield();
      const slot = vmas.slot(index);
      const file = vmas.file(slot);
      const flags = vmas.flags(slot);
      if (file === 0 || (flags & storesNothing) !== 0 || !isUnreachableKind(mm.files.kind(file)))
        continue;
      const start = vmas.start(slot);
      const mapping: OrderedMapping = {
        mm: ordinal,
        start,
        pages: vmas.end(slot) - start,
        pgoff: vmas.pgoff(slot),
        isShared: (flags & VM.MAYSHARE) !== 0,
        settles: (flags & VM.MAYSHARE) !== 0 && !mm.struct.mayHaveMarkers,
      };
      const mappings = files.get(file);
      if (mappings === undefined) files.set(file, [mapping]);
      else mappings.push(mapping);
    }
  }
  return files;
}

function refuseHugetlb(mm: number, start: number, end: number): MmdumpError {
  const range = `${hex(addressOf(start))}-${hex(addressOf(end))}`;
  return new MmdumpError(
    'HUGETLB_REFUSED',
    `mm ${mm}, VMA ${range}: a VM_HUGETLB mapping cannot be dumped unless the option hugetlb is ` +
      "'copy' or 'skip'",
    { mm, vmaStart: addressOf(start), vmaEnd: addressOf(end) },
  );
}
