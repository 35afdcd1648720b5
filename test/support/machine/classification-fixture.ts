/**
 * For each row of docs/CLASSIFICATION.md: how to reach it with one mm, and how a dump classifies
 * it.
 */
import {
  type AddressSpace,
  createMachine,
  type Machine,
  MiB,
  PAGE_SIZE,
  readPte,
  writePageStruct,
  writePte,
} from 'mmdump';
import { expect } from 'vitest';
import { VMA_KIND } from '../../../src/mmu/vma/vma-table.ts';
import { VM } from '../../../src/shared/vm-flags.ts';
import { BackingFile } from './backed.ts';
import { ZERO_PAGE } from './zero-page.ts';

export const BASE = 0x4000_0000;
const ANON = ['private', 'anonymous', 'fixed'] as const;
export const HUGETLB_FLAGS = VM.READ | VM.WRITE | VM.MAYREAD | VM.MAYWRITE | VM.HUGETLB;

/** A machine with one mm, and short methods for what the rows need. */
export class ClassificationFixture {
  readonly machine: Machine;
  readonly space: AddressSpace;
  readonly #backings: BackingFile[] = [];

  constructor(zeroPage: boolean = ZERO_PAGE) {
    this.machine = createMachine({
      memory: 16 * MiB,
      deviceMemory: 64 * 1024,
      swap: MiB,
      zeroPage,
      maxAddressSpaces: 2,
      checks: true,
    });
    this.space = this.machine.createAddressSpace();
  }

  /** Maps one page at BASE, and writes it unless `value` is undefined. */
  page(value?: number): void {
    this.space.mmap({ address: BASE, length: PAGE_SIZE, prot: 'rw', flags: ANON });
    if (value !== undefined) this.space.fill(BASE, PAGE_SIZE, value);
  }

  file(kind: 'living' | 'memory'): void {
    const content = new Uint8Array(PAGE_SIZE).fill(3);
    const file =
      kind === 'living'
        ? this.machine.createFile({ path: '/bin/x', content })
        : this.machine.createFile({ path: '/memfd:x', memoryBacked: { size: PAGE_SIZE } });
    const request = { address: BASE, length: PAGE_SIZE, file: file.id };
    this.space.mmap({ ...request, prot: 'rw', flags: ['shared', 'fixed'] });
    if (kind === 'memory') this.space.fill(BASE, PAGE_SIZE, 7);
    else this.space.read(BASE, new Uint8Array(1));
  }

  /** A host's file with one page, in which pages of the machine lie. */
  #backing(value: number): BackingFile {
    const file = new BackingFile(this.machine, new Uint8Array(PAGE_SIZE).fill(value));
    this.#backings.push(file);
    return file;
  }

  /** Maps one page at BASE that lies in a backing. */
  backedPage(value: number): void {
    this.page();
    this.#backing(value).map(this.space, BASE, 1);
  }

  /** Maps one page at BASE of a file in memory, and the page lies in a backing. */
  placedFile(value: number): void {
    const file = this.#backing(value).createFile(1, [{ index: 0, pages: 1, place: 0 }]);
    const request = { address: BASE, length: PAGE_SIZE, file };
    this.space.mmap({ ...request, prot: 'rw', flags: ['shared', 'fixed'] });
  }

  close(): void {
    for (const file of this.#backings.splice(0)) file.close();
  }

  insert(flags: number, kind: number): void {
    const start = BASE / PAGE_SIZE;
    const end = start + 1;
    this.space.insertMappings([{ start, end, flags, file: 0, pgoff: start, anonVma: 0, kind }]);
  }

  /** Maps one page at BASE, and only reads it. */
  readPage(): void {
    this.page();
    this.space.read(BASE, new Uint8Array(1));
  }

  /** The same for a granule with the advice 'hugepage'. */
  readGranule(): void {
    const { space } = this;
    space.mmap({ address: BASE, length: 2 * MiB, prot: 'r', flags: ANON });
    space.madvise(BASE, 2 * MiB, 'hugepage');
    space.read(BASE, new Uint8Array(1));
    expect(readPte(space, BASE).level).toBe(2);
  }

  get pfn(): number {
    return readPte(this.space, BASE).pfn;
  }

  /** Overwrites the words of the page's own entry. */
  entry(change: (low: number, high: number) => readonly [low: number, high: number]): void {
    const before = readPte(this.space, BASE);
    const [low, high] = change(before.low, before.high);
    writePte(this.space, BASE, { level: before.level, low, high });
  }

  struct(changes: Parameters<typeof writePageStruct>[2]): void {
    writePageStruct(this.machine, this.pfn, changes);
  }
}

type Counts = Partial<Record<'absent' | 'copy' | 'zero' | 'clone' | 'unsupported', number>>;

/** Row, how to reach it, the number of pages per class, and the reason for an unsupported page. */
type RowCase = readonly [string, (fixture: ClassificationFixture) => void, Counts, RegExp?];

/** Rows that need a machine with a zero page. */
export const ZERO_PAGE_ROWS: readonly RowCase[] = [
  ['4 and 14: the huge zero page', (fixture) => fixture.readGranule(), { zero: 512 }],
  [
    '13: the zero page, writable',
    (fixture) => {
      fixture.readPage();
      fixture.entry((low, high) => [low | 2, high]);
    },
    { unsupported: 1 },
    /writable ZERO_PAGE/,
  ],
  ['14: the zero page', (fixture) => fixture.readPage(), { zero: 1 }],
];

/** Rows that need a machine without one: a page that was only read is an ordinary page of zeros. */
export const FRESH_PAGE_ROWS: readonly RowCase[] = [
  ['4 and 17: a 2 MiB page that was only read', (fixture) => fixture.readGranule(), { zero: 512 }],
  ['17: a page that was only read', (fixture) => fixture.readPage(), { zero: 1 }],
];

/** Rows that any machine can reach. */
export const ROWS: readonly RowCase[] = [
  [
    '1: VM_IO',
    ({ space }) => void space.mapDevice({ length: PAGE_SIZE, prot: 'rw' }),
    { absent: 1 },
  ],
  ['3: no table', (fixture) => fixture.page(), { absent: 1 }],
  [
    '3: a bad table',
    (fixture) => {
      fixture.page(1);
      writePte(fixture.space, BASE, { level: 2, low: 0x1067, high: 0x10_0000 });
    },
    { unsupported: 1 },
    /bad page table entry/,
  ],
  [
    '4: a 2 MiB leaf, its pages one by one',
    ({ space }) => {
      space.mmap({ address: BASE, length: 2 * MiB, prot: 'rw', flags: ANON });
      space.madvise(BASE, 2 * MiB, 'hugepage');
      space.write(BASE + 5 * PAGE_SIZE, new Uint8Array([1]));
    },
    { copy: 1, zero: 511 },
  ],
  [
    '5: no entry',
    ({ space }) => {
      space.mmap({ address: BASE, length: 2 * PAGE_SIZE, prot: 'rw', flags: ANON });
      space.fill(BASE, 1, 1);
    },
    { copy: 1, absent: 1 },
  ],
  [
    '6: a swap entry',
    (fixture) => {
      fixture.page(9);
      fixture.space.madvise(BASE, PAGE_SIZE, 'pageout');
      expect(fixture.machine.swap.total - fixture.machine.swap.free).toBe(PAGE_SIZE);
    },
    { copy: 1 },
  ],
  [
    '6 and 17: a swapped page of zeros',
    (fixture) => {
      fixture.page(0);
      fixture.space.madvise(BASE, PAGE_SIZE, 'pageout');
    },
    { zero: 1 },
  ],
  [
    '6: a swap entry of no slot',
    (fixture) => {
      fixture.page(1);
      fixture.entry(() => [0x7000, 0]);
    },
    { unsupported: 1 },
    /swap entry whose slot is not in use/,
  ],
  [
    '7: a guard page',
    (fixture) => {
      fixture.page(1);
      fixture.space.madvise(BASE, PAGE_SIZE, 'guard_install');
    },
    { absent: 1 },
  ],
  [
    '7: a poison marker',
    (fixture) => {
      fixture.page(1);
      fixture.entry(() => [0x2000, (31 << 27) >>> 0]);
    },
    { absent: 1 },
  ],
  ['6: a backed entry', (fixture) => fixture.backedPage(7), { copy: 1 }],
  ['6 and 17: zeros in a backing', (fixture) => fixture.backedPage(0), { zero: 1 }],
  [
    '6: a page that went back to its backing',
    (fixture) => {
      fixture.backedPage(7);
      fixture.space.read(BASE, new Uint8Array(1));
      fixture.machine.reclaim(MiB);
    },
    { copy: 1 },
  ],
  [
    '8: a PFN map',
    ({ space }) => {
      const at = space.mapDevice({ length: PAGE_SIZE, prot: 'rw', io: false });
      space.fill(at, PAGE_SIZE, 1);
    },
    { copy: 1 },
  ],
  [
    '8: an entry beyond memory',
    (fixture) => {
      fixture.page(1);
      fixture.entry((low) => [(low & 0xfff) | 0xfff_0000, 0]);
    },
    { unsupported: 1 },
    /beyond physical memory/,
  ],
  [
    "9: a file's page in a mapping without file",
    (fixture) => {
      fixture.page(1);
      fixture.struct({ flags: [], mapping: 1 });
    },
    { unsupported: 1 },
    /without a file/,
  ],
  [
    "10: another file's page",
    (fixture) => {
      fixture.file('living');
      fixture.struct({ mapping: 77 });
    },
    { unsupported: 1 },
    /file other than the mapping's/,
  ],
  ['11: a living file', (fixture) => fixture.file('living'), { absent: 1 }],
  ['12: a memory-backed file', (fixture) => fixture.file('memory'), { copy: 1 }],
  ['12: its page lies in a backing', (fixture) => fixture.placedFile(7), { copy: 1 }],
  ['12 and 17: its page is zeros in a backing', (fixture) => fixture.placedFile(0), { zero: 1 }],
  [
    '15: a reserved page',
    (fixture) => {
      fixture.page(1);
      fixture.struct({ flags: ['reserved'], mapping: 0 });
    },
    { unsupported: 1 },
    /reserved/,
  ],
  [
    '16: a page without a mapping',
    (fixture) => {
      fixture.page(1);
      fixture.struct({ flags: [], mapping: 0 });
    },
    { unsupported: 1 },
    /without a mapping/,
  ],
  [
    '16: the vdso',
    (fixture) => {
      fixture.insert(VM.READ | VM.WRITE | VM.MAYREAD | VM.MAYWRITE, VMA_KIND.VDSO);
      fixture.space.fill(BASE, PAGE_SIZE, 1);
      fixture.struct({ flags: [], mapping: 0 });
    },
    { copy: 1 },
  ],
  ['17: all bytes are zero', (fixture) => fixture.page(0), { zero: 1 }],
  ['19: anything else', (fixture) => fixture.page(1), { copy: 1 }],
];
