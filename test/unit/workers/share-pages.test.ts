/** Sharing pages of one mm with another, where memory was short meanwhile, or is. */
import { describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../../src/mmu/address-space.ts';
import { LOAD } from '../../../src/shared/dump/load-table.ts';
import { addressOf, MiB, PAGE_SIZE, vpnOf } from '../../../src/shared/page.ts';
import { type HeldMm, PageSharer } from '../../../src/workers/parts/share-pages.ts';
import { assertTablesTrue, leaves } from '../../support/invariants.ts';
import { codeOf, freeFrames, readBytes, testMachine } from '../../support/machine.ts';

const PAGES = 4;
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
  crc: 0,
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

  it('are let go again when the taker is gone, or has no frame for a table', () => {
    const { machine, donor, taker } = twoMms();
    donor.madvise(START + PAGE_SIZE, PAGE_SIZE, 'pageout');
    const other = machine.createAddressSpace();
    other.mmap({ ...ANON, address: START, length: addressOf(PAGES) });
    const { allocator, thread } = machine.parts;
    const before = freeFrames(machine);
    const taken: number[] = [];
    while (allocator.freeFrames > 0) taken.push(allocator.allocate(thread));
    expect(codeOf(() => new PageSharer().share(held(donor), held(other), RUN))).toBe('ENOMEM');
    for (const pfn of taken) allocator.put(pfn, thread);
    taker.exit();
    expect(codeOf(() => new PageSharer().share(held(donor), held(taker), RUN))).toBe('MM_GONE');
    other.exit();
    assertTablesTrue(machine);
    expect(freeFrames(machine)).toBeGreaterThanOrEqual(before);
    donor.exit();
    assertTablesTrue(machine);
  });
});
