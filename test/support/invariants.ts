/**
 * The state of a machine, checked against its own page tables by the slowest obvious walk: every
 * level, every entry, no code of the simulated kernel but the word layouts.
 */
import type { AddressSpace } from '../../src/mmu/address-space.ts';
import type { Machine } from '../../src/mmu/machine.ts';
import { PAGE_STRUCT, PG } from '../../src/mmu/physical/page-struct.ts';

/** A present leaf: page, frame, and the two words. */
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

/** Every non-zero leaf of an mm, in order of address; a huge one as 512. Tables go to `visit`. */
export function leaves(
  machine: Machine,
  space: AddressSpace,
  visit: (table: number) => void = () => {},
): Leaf[] {
  const found: Leaf[] = [];
  const descend = (table: number, level: number, base: number): void => {
    visit(table);
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

/** Throws unless counts, VMAs and the allocator agree with what the tables of all mms say. */
export function assertTablesTrue(machine: Machine): void {
  const { words } = machine.parts.pages;
  const mapped = new Map<number, number>();
  let used = 0;
  for (const space of machine.addressSpaces()) {
    const vmas = space.vmas();
    for (const { vpn, pfn, low } of leaves(machine, space, () => used++)) {
      const address = vpn * 4096;
      if (!vmas.some(({ start, end }) => start <= address && address < end)) {
        throw new Error(`page 0x${address.toString(16)} is present outside of every VMA`);
      }
      const isPresent = (low & 0x101) !== 0;
      const isSpecial = (low & 0x200) !== 0;
      if (isPresent && !isSpecial) mapped.set(pfn, (mapped.get(pfn) ?? 0) + 1);
    }
  }
  for (let pfn = 0; pfn < machine.parts.memory.frames; pfn++) {
    const at = pfn * PAGE_STRUCT.WORDS;
    const flags = words[at + PAGE_STRUCT.FLAGS]!;
    if ((flags & PG.RESERVED) !== 0) continue;
    const count = mapped.get(pfn) ?? 0;
    const references = words[at + PAGE_STRUCT.REFCOUNT]!;
    if (count > 0 && (flags & PG.ANON) !== 0) used++;
    if (count > 0 && words[at + PAGE_STRUCT.MAPCOUNT] !== count) {
      throw new Error(
        `frame ${pfn}: ${count} leaves, map count ${words[at + PAGE_STRUCT.MAPCOUNT]}`,
      );
    }
    const isAnonymous = count > 0 && (flags & PG.ANON) !== 0;
    if (isAnonymous && references !== count) {
      throw new Error(`anonymous frame ${pfn}: ${count} leaves, ${references} references`);
    }
  }
  const { allocator } = machine.parts;
  const accounted = allocator.countFree(machine.thread) + used + cacheFrames(machine);
  if (accounted !== allocator.managedFrames) {
    throw new Error(`${accounted} frames are free or used, ${allocator.managedFrames} are managed`);
  }
}

/** Frames in page caches: pages and tree nodes, recognised by their page structs. */
function cacheFrames(machine: Machine): number {
  const { words } = machine.parts.pages;
  let count = 0;
  for (let pfn = 0; pfn < machine.parts.memory.frames; pfn++) {
    const at = pfn * PAGE_STRUCT.WORDS;
    const flags = words[at + PAGE_STRUCT.FLAGS]!;
    if (words[at + PAGE_STRUCT.REFCOUNT] === 0 || (flags & PG.RESERVED) !== 0) continue;
    const isNode = (flags & PG.CACHE_NODE) !== 0;
    const isCached = (flags & PG.ANON) === 0 && words[at + PAGE_STRUCT.MAPPING] !== 0;
    if (isNode || isCached) count++;
  }
  return count;
}
