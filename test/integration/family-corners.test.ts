/**
 * Row 18 in states that a fork never reaches: entries, counts and mappings are changed by hand. The
 * tests say which mm is no donor and which page is no clone, and the reference dumper must agree
 * about each.
 */
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type Machine,
  MiB,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PAGE_STRUCT } from '../../src/mmu/physical/page-struct.ts';
import { VM } from '../../src/shared/vm-flags.ts';
import { ANON, imageOf, inMemory } from '../support/images/images.ts';
import { ZERO_PAGE } from '../support/machine/zero-page.ts';
import { referenceDump } from '../support/reference/reference-dumper.ts';
import { pgdOf, readEntry, translate, wordsOf } from '../support/reference/reference-memory.ts';

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

const START = 0x4000_0000;
const SPECIAL = 0x200n;

interface Twins {
  readonly machine: Machine;
  readonly parent: AddressSpace;
  readonly child: AddressSpace;
}

/** A parent and its child, which share one page. */
function twins(): Twins {
  const machine = createMachine({ memory: 4 * MiB, maxAddressSpaces: 2, zeroPage: ZERO_PAGE });
  const parent = machine.createAddressSpace();
  const flags = ['private', 'anonymous', 'fixed'] as const;
  parent.mmap({ ...ANON, flags, address: START, length: 4 * PAGE_SIZE });
  parent.fill(START, PAGE_SIZE, 5);
  return { machine, parent, child: parent.fork() };
}

function changeFlags({ mm }: AddressSpace, added: number): void {
  const slot = mm.vmas.slot(0);
  mm.vmas.setFlags(slot, (mm.vmas.flags(slot) | added) >>> 0);
}

/** Changes the leaf of the page. All upper tables must exist. */
function changeLeaf(machine: Machine, space: AddressSpace, change: (leaf: bigint) => bigint): void {
  let table = pgdOf(machine, space);
  for (const span of [512 ** 3, 512 ** 2, 512]) {
    table = Number(readEntry(machine, table, Math.floor(START / PAGE_SIZE / span) % 512) >> 12n);
  }
  const { words, at } = wordsOf(machine, table);
  const leaf = change(readEntry(machine, table, 0));
  words[at] = Number(BigInt.asIntN(32, leaf));
  words[at + 1] = Number(BigInt.asIntN(32, leaf >> 32n));
}

function setReferences({ machine, parent }: Twins, count: number): void {
  const found = translate(machine, pgdOf(machine, parent), START / PAGE_SIZE);
  if (found.found !== 'entry') throw new Error('no page');
  machine.parts.pages.words[found.pfn * PAGE_STRUCT.WORDS + PAGE_STRUCT.REFCOUNT] = count;
}

type Case = readonly [name: string, change: (made: Twins) => void, kinds: readonly string[]];

const CASES: readonly Case[] = [
  ['nothing changed', () => {}, ['copy', 'clone']],
  [
    'the donor is VM_HUGETLB, and skipped',
    ({ parent }) => changeFlags(parent, VM.HUGETLB),
    ['absent', 'copy'],
  ],
  ['the donor is VM_IO', ({ parent }) => changeFlags(parent, VM.IO), ['absent', 'copy']],
  ['the donor is shared', ({ parent }) => changeFlags(parent, VM.MAYSHARE), ['copy', 'copy']],
  ['the clone is shared', ({ child }) => changeFlags(child, VM.MAYSHARE), ['copy', 'copy']],
  [
    'the entry of the donor is special',
    ({ machine, parent }) => changeLeaf(machine, parent, (leaf) => leaf | SPECIAL),
    ['copy', 'copy'],
  ],
  [
    'the entry of the clone is special',
    ({ machine, child }) => changeLeaf(machine, child, (leaf) => leaf | SPECIAL),
    ['copy', 'copy'],
  ],
  ['the frame has one reference', (made) => setReferences(made, 1), ['copy', 'copy']],
  [
    'the donor shows it under PROT_NONE',
    ({ parent }) => parent.mprotect(START, PAGE_SIZE, ''),
    ['copy', 'clone'],
  ],
];

describe('clones where no fork leads', () => {
  it.each(CASES)('%s', async (_name, change, kinds) => {
    const made = twins();
    change(made);
    const { machine, parent, child } = made;
    const options = { hugetlb: 'skip', dontDump: false, freeze: true } as const;
    const bytes = await imageOf(dumper, [parent, child], options);
    const image = await openImage(inMemory(bytes));
    expect([0, 1].map((mm) => image.page(START, { mm }).kind)).toEqual(kinds);
    const expected = referenceDump(machine, [parent, child], {
      ...options,
      zeroPages: 'detect',
      checksum: 'xxh3',
      blocks: 'run',
      unsupported: 'fail',
    });
    expect(bytes.equals(expected.bytes)).toBe(true);
  });

  it('the pages of a VM_HUGETLB mapping that is copied', async () => {
    const { parent, child } = twins();
    for (const space of [parent, child]) changeFlags(space, VM.HUGETLB);
    const bytes = await imageOf(dumper, [parent, child], { hugetlb: 'copy' });
    const image = await openImage(inMemory(bytes));
    expect([0, 1].map((mm) => image.page(START, { mm }).kind)).toEqual(['copy', 'clone']);
  });
});
