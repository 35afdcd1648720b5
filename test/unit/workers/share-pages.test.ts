/** Shares pages of one mm with another, where memory is short or was short in between. */
import { describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import { holdGate } from '../../../src/mmu/mm/hold.ts';
import { NO_DIGEST } from '../../../src/shared/digest/digest-kind.ts';
import { LOAD, LOAD_FLAG } from '../../../src/shared/dump/load-table.ts';
import {
  addressOf,
  GRANULE_PAGES,
  GRANULE_SIZE,
  MiB,
  PAGE_SIZE,
  vpnOf,
} from '../../../src/shared/page.ts';
import { type HeldMm, PageSharer } from '../../../src/workers/load/share-pages.ts';
import { assertTablesTrue, type Leaf, leaves } from '../../support/machine/invariants.ts';
import { codeOf, freeFrames, readBytes, testMachine } from '../../support/machine/machine.ts';

const PAGES = 4;
const PTE_HUGE = 0x80;
const ANON = { prot: 'rw', flags: ['private', 'anonymous', 'fixed'] } as const;
const START = 0x5000_0000;
const RUN = {
  mm: 1,
  kind: LOAD.SHARE,
  flags: 0,
  pages: PAGES,
  start: vpnOf(START),
  source: 0,
  file: 0,
  index: 0,
  ...NO_DIGEST,
};

/** Two mms with the same mapping; the second has a page elsewhere, so that it has an anon_vma. */
function twoMms() {
  const machine = testMachine({ swap: MiB });
  const [donor, taker] = [machine.createAddressSpace(), machine.createAddressSpace()];
  for (const space of [donor, taker]) {
    space.mmap({ ...ANON, address: START, length: addressOf(PAGES + 1) });
  }
  for (let page = 0; page < PAGES; page++) donor.fill(START + addressOf(page), PAGE_SIZE, page + 1);
  taker.fill(START + addressOf(PAGES), PAGE_SIZE, 9);
  return { machine, donor, taker };
}

function held({ mm, reference }: AddressSpace): HeldMm {
  return { mm, reference };
}

describe('pages that one mm shares with another', () => {
  it('are the same frames, or the same swap slots', () => {
    const { machine, donor, taker } = twoMms();
    donor.madvise(START + PAGE_SIZE, PAGE_SIZE, 'pageout');
    new PageSharer().share(held(donor), held(taker), RUN);
    assertTablesTrue(machine);
    const [mine, theirs] = [donor, taker].map((space) =>
      leaves(machine, space)
        .slice(0, PAGES)
        .map(({ pfn }) => pfn),
    );
    expect(theirs).toEqual(mine);
    taker.fill(START, 2 * PAGE_SIZE, 7);
    assertTablesTrue(machine);
    const firsts = [donor, taker].map((space) =>
      [0, 1, 2, 3].map((page) => readBytes(space, START + addressOf(page), 1)[0]),
    );
    expect(firsts).toEqual([
      [1, 2, 3, 4],
      [7, 7, 3, 4],
    ]);
    for (const space of [donor, taker]) space.exit();
    assertTablesTrue(machine);
    expect(machine.swap.free).toBe(machine.swap.total);
  });

  it('lie behind a 2 MiB leaf where both may, else behind leaves of their own', () => {
    const machine = testMachine();
    const [donor, taker] = [machine.createAddressSpace(), machine.createAddressSpace()];
    const length = 2 * GRANULE_SIZE;
    for (const space of [donor, taker]) {
      space.mmap({ ...ANON, address: START, length: length + PAGE_SIZE });
      space.madvise(START, length + PAGE_SIZE, 'hugepage');
    }
    for (const at of [0, GRANULE_SIZE]) donor.fill(START + at, PAGE_SIZE, 5);
    taker.fill(START + length, PAGE_SIZE, 9); // so that it has an anon_vma
    const run = { ...RUN, pages: GRANULE_PAGES, flags: LOAD_FLAG.HUGE };
    const part = { ...RUN, start: vpnOf(START + GRANULE_SIZE) + 3, pages: 7 };
    for (const each of [run, part]) new PageSharer().share(held(donor), held(taker), each);
    assertTablesTrue(machine);
    const [theirs, mine] = [donor, taker].map((space) => {
      return new Map(leaves(machine, space).map((leaf) => [leaf.vpn, leaf]));
    }) as [Map<number, Leaf>, Map<number, Leaf>];
    expect(mine.size).toBe(GRANULE_PAGES + 7 + 1);
    for (const [vpn, { pfn, low }] of mine) {
      if (vpn === vpnOf(START + length)) continue;
      expect(pfn).toBe(theirs.get(vpn)!.pfn);
      expect((low & PTE_HUGE) !== 0).toBe(vpn < vpnOf(START + GRANULE_SIZE));
    }
    donor.fill(START, PAGE_SIZE, 6);
    taker.fill(START + GRANULE_SIZE + 4 * PAGE_SIZE, PAGE_SIZE, 7);
    assertTablesTrue(machine);
    expect(readBytes(taker, START, 1)[0]).toBe(5);
    expect(readBytes(donor, START + GRANULE_SIZE + 4 * PAGE_SIZE, 1)[0]).toBe(0);
    for (const space of [donor, taker]) space.exit();
    assertTablesTrue(machine);
  });

  it('are let go again when the taker is gone, or has no frame for a table', () => {
    const { machine, donor, taker } = twoMms();
    donor.madvise(START + PAGE_SIZE, PAGE_SIZE, 'pageout');
    const other = machine.createAddressSpace();
    other.mmap({ ...ANON, address: START, length: addressOf(PAGES) });
    const { parts } = machine;
    const { allocator, thread } = parts;
    const before = freeFrames(machine);
    const taken: number[] = [];
    holdGate(parts, thread, () => {
      while (allocator.freeFrames > 0) taken.push(allocator.allocate(thread));
    });
    expect(codeOf(() => new PageSharer().share(held(donor), held(other), RUN))).toBe('ENOMEM');
    holdGate(parts, thread, () => {
      for (const pfn of taken) allocator.put(pfn, thread);
    });
    taker.exit();
    expect(codeOf(() => new PageSharer().share(held(donor), held(taker), RUN))).toBe('MM_GONE');
    other.exit();
    assertTablesTrue(machine);
    expect(freeFrames(machine)).toBeGreaterThanOrEqual(before);
    donor.exit();
    assertTablesTrue(machine);
  });
});
