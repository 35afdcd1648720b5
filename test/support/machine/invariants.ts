/**
 * Checks the state of a machine against its page tables by the slowest, most obvious walk: every
 * level and every entry. The only part of the simulated kernel that it uses is the word layouts.
 */
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import type { Machine } from '../../../src/mmu/machine/machine.ts';
import { MmStruct } from '../../../src/mmu/mm/mm-struct.ts';
import { PAGE_STRUCT, PG } from '../../../src/mmu/physical/page-struct.ts';
import { VMA_KIND } from '../../../src/mmu/vma/vma-table.ts';
import { VM } from '../../../src/shared/vm-flags.ts';

/** A leaf that is not zero: page, frame, and the two words. A huge leaf counts as 512 of them. */
export interface Leaf {
  readonly vpn: number;
  readonly pfn: number;
  readonly low: number;
  readonly high: number;
}

function entry(machine: Machine, table: number, index: number): readonly [number, number] {
  const words = machine.parts.memory.words[table >>> 19]!;
  const at = (table & 0x7ffff) * 1024 + index * 2;
  return [words[at]!, words[at + 1]!];
}

function frameOf(low: number, high: number): number {
  return (low >>> 12) + (high & 0xfffff) * 0x100000;
}

function isPresent(low: number): boolean {
  return (low & 0x101) !== 0;
}

/**
 * Returns all non-zero leaves of an mm by address, a huge one as 512. Calls `visit` per table, which
 * skips it by false.
 */
export function leaves(
  machine: Machine,
  space: Space,
  visit: (table: number) => boolean = () => true,
): Leaf[] {
  const found: Leaf[] = [];
  const descend = (table: number, level: number, base: number): void => {
    if (!visit(table)) return;
    for (let index = 0; index < 512; index++) {
      const [low, high] = entry(machine, table, index);
      if (low === 0) continue;
      const vpn = base + index * 512 ** (level - 1);
      if (level === 1) found.push({ vpn, pfn: frameOf(low, high), low, high });
      else if (level === 2 && (low & 0x80) !== 0) {
        for (let page = 0; page < 512; page++) {
          found.push({ vpn: vpn + page, pfn: frameOf(low, high) + page, low, high });
        }
      } else descend(frameOf(low, high), level - 1, vpn);
    }
  };
  descend(space.mm.pgd, 4, 0);
  return found;
}

/** Totals over all tables of a machine. */
interface Census {
  /** Number of leaves that show each frame. */
  readonly mapped: Map<number, number>;
  /** Number of entries that refer to each swap slot. */
  readonly swapped: Map<number, number>;
  tables: number;
  /** How many entries point to each table. A shared one is looked at once. */
  readonly entries: Map<number, number>;
}

/** What is looked at of an address space. */
type Space = Pick<AddressSpace, 'mm'>;

/** All living address spaces, also those of snapshots, which no list shows. */
function allSpaces(machine: Machine): Space[] {
  const { parts } = machine;
  const found: Space[] = [];
  for (let slot = 0; slot < parts.maxAddressSpaces; slot++) {
    const struct = new MmStruct(parts.mmWords, slot);
    if (struct.isLive) found.push({ mm: parts.mms.of(parts, slot, struct.generation) });
  }
  return found;
}

/** Checks that a table has a reference for each entry that points to it. */
function assertSharedTrue(machine: Machine, { entries }: Census): void {
  const { words } = machine.parts.pages;
  for (const [table, count] of entries) {
    const references = words[table * PAGE_STRUCT.WORDS + PAGE_STRUCT.REFCOUNT]!;
    if (references !== count) fail(`table ${table}: ${count} entries, ${references} references`);
  }
}

function fail(message: string): never {
  throw new Error(message);
}

/** Throws unless counts, VMAs, swap and the allocator agree with the tables of all mms. */
export function assertTablesTrue(machine: Machine): void {
  const census: Census = { mapped: new Map(), swapped: new Map(), tables: 0, entries: new Map() };
  for (const space of allSpaces(machine)) {
    assertVmasTrue(space);
    countLeaves(machine, space, census);
  }
  assertSharedTrue(machine, census);
  assertSwapTrue(machine, census);
  const used = assertFramesTrue(machine, census);
  assertAdoptedTrue(machine, census);
  const { allocator } = machine.parts;
  const accounted = allocator.countFree(machine.parts.thread) + census.tables + used;
  if (accounted !== allocator.managedFrames) {
    fail(`${accounted} frames are free or used, ${allocator.managedFrames} are managed`);
  }
}

/** Checks that VMAs are sorted, disjoint and not empty. */
function assertVmasTrue(space: Space): void {
  const { vmas } = space.mm;
  for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
    const slot = vmas.slot(ordinal);
    if (vmas.start(slot) >= vmas.end(slot)) fail(`VMA ${ordinal} is empty`);
    if (ordinal === 0) continue;
    const left = vmas.slot(ordinal - 1);
    if (vmas.end(left) > vmas.start(slot)) fail(`VMAs ${ordinal - 1} and ${ordinal} overlap`);
  }
}

/** Counts leaves and slots; each must lie in a VMA, and an anonymous page must record its place. */
function countLeaves(machine: Machine, space: Space, census: Census): void {
  const { vmas } = space.mm;
  const { words } = machine.parts.pages;
  const isNew = (table: number): boolean => {
    const count = census.entries.get(table) ?? 0;
    census.entries.set(table, count + 1);
    if (count === 0) census.tables++;
    return count === 0;
  };
  for (const { vpn, pfn, low, high } of leaves(machine, space, isNew)) {
    const place = `page 0x${(vpn * 4096).toString(16)}`;
    const slot = vmas.lookup(vpn);
    if (slot < 0) fail(`${place} has an entry outside of every VMA`);
    if (!isPresent(low)) {
      if (high >>> 27 === 31) continue; // a marker
      const swapSlot = (high >>> 27) * 0x80000 + (low >>> 12) - 1;
      census.swapped.set(swapSlot, (census.swapped.get(swapSlot) ?? 0) + 1);
      continue;
    }
    census.mapped.set(pfn, (census.mapped.get(pfn) ?? 0) + 1);
    const at = pfn * PAGE_STRUCT.WORDS;
    const flags = words[at + PAGE_STRUCT.FLAGS]!;
    if (!machine.parts.hasZeroPage && (flags & PG.ZERO) !== 0) fail(`${place} shows a zero page`);
    if ((flags & PG.RESERVED) !== 0) continue;
    if ((low & 0x200) !== 0) continue; // special: has no normal page, only counts
    if (vmas.kind(slot) === VMA_KIND.VDSO) continue; // its pages record no place
    const index = words[at + PAGE_STRUCT.INDEX_LO]! >>> 0;
    const expected = vmas.fileIndex(slot, vpn) % 2 ** 32;
    const mapping = words[at + PAGE_STRUCT.MAPPING]!;
    // Merged pages and the kernel's own (the vdso's) have no recorded place.
    const hasPlace =
      (flags & (PG.KSM | PG.ADOPTED)) === 0 && (mapping !== 0 || (flags & PG.ANON) !== 0);
    if (hasPlace && index !== expected) fail(`${place}: index ${index}: ${expected}`);
    if ((flags & PG.ANON) === 0 && mapping !== vmas.file(slot)) fail(`${place}: file ${mapping}`);
    if ((flags & PG.ANON) !== 0 && vmas.anonVma(slot) === 0) fail(`${place}: no anon_vma`);
    const isWritable = (low & 0x2) !== 0;
    const isPrivate = (vmas.flags(slot) & VM.MAYSHARE) === 0;
    const references = words[at + PAGE_STRUCT.REFCOUNT]!;
    const isAdopted = (flags & PG.ADOPTED) !== 0;
    if (isWritable && isPrivate && references !== 1 && !isAdopted)
      fail(`${place}: writable, and shared`);
    const hasOrigin = (flags & PG.ANON) !== 0 && words[at + PAGE_STRUCT.PREV] !== 0;
    if (hasOrigin && (isWritable || (low & 0x40) !== 0)) fail(`${place}: written, with an origin`);
    if (isWritable && (vmas.flags(slot) & VM.WRITE) === 0) fail(`${place}: writable leaf`);
  }
}

/** Checks the counts in the page structs. Returns how many frames hold pages or cache nodes. */
function assertFramesTrue(machine: Machine, { mapped }: Census): number {
  const { words } = machine.parts.pages;
  const { device } = machine.parts;
  let used = 0;
  for (let pfn = 2; pfn < device.first; pfn++) {
    const at = pfn * PAGE_STRUCT.WORDS;
    const flags = words[at + PAGE_STRUCT.FLAGS]!;
    const references = words[at + PAGE_STRUCT.REFCOUNT]!;
    const count = mapped.get(pfn) ?? 0;
    if ((flags & PG.RESERVED) !== 0) {
      used++; // leaves of the huge zero page are not counted
      continue;
    }
    if (count > 0 && references === 0) fail(`frame ${pfn} is free and mapped`);
    if (references === 0 || (flags & PG.TABLE) !== 0) continue;
    used++;
    if (words[at + PAGE_STRUCT.MAPCOUNT] !== count) {
      fail(`frame ${pfn}: ${count} leaves, map count ${words[at + PAGE_STRUCT.MAPCOUNT]}`);
    }
    // Pages of the kernel (the vdso's, a restored device's) have no mapping.
    const hasFile = words[at + PAGE_STRUCT.MAPPING] !== 0 && (flags & PG.ANON) === 0;
    const ofCache = hasFile ? 1 : 0;
    const isNode = (flags & PG.CACHE_NODE) !== 0;
    const expected = isNode ? 1 : count + ofCache;
    if (references !== expected) {
      fail(`frame ${pfn}: ${count} leaves, ${references} references instead of ${expected}`);
    }
  }
  return used;
}

/** Checks the adopted frames: only leaves refer to them, and none is a table or in a list. */
function assertAdoptedTrue(machine: Machine, { mapped }: Census): void {
  const { words } = machine.parts.pages;
  for (const { pfn: first, pages } of machine.banks) {
    for (let pfn = first; pfn < first + pages; pfn++) {
      const at = pfn * PAGE_STRUCT.WORDS;
      const count = mapped.get(pfn) ?? 0;
      const flags = words[at + PAGE_STRUCT.FLAGS]!;
      const allowed = PG.ADOPTED | PG.ANON | PG.SWAPBACKED;
      if ((flags & PG.ADOPTED) === 0 || (flags & ~allowed) !== 0) fail(`frame ${pfn}: ${flags}`);
      const references = words[at + PAGE_STRUCT.REFCOUNT]!;
      if (references !== count || words[at + PAGE_STRUCT.MAPCOUNT] !== count) {
        fail(`adopted frame ${pfn}: ${count} leaves, ${references} references`);
      }
    }
  }
}

function assertSwapTrue(machine: Machine, { swapped }: Census): void {
  const { swap } = machine.parts;
  let taken = 0;
  for (let slot = 0; slot < swap.slots; slot++) {
    const count = swapped.get(slot) ?? 0;
    if (swap.references(slot) !== count) {
      fail(`swap slot ${slot}: ${count} entries, count ${swap.references(slot)}`);
    }
    if (count > 0) taken++;
    swapped.delete(slot);
  }
  if (swapped.size > 0) fail(`entries of slots that do not exist: ${[...swapped.keys()]}`);
  if (swap.free !== swap.slots - taken)
    fail(`${swap.free} slots free of ${swap.slots}, ${taken} taken`);
}
