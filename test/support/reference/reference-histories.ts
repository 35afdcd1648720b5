/**
 * Random histories of an address space, for the test against the reference dumper: they map, write,
 * read, unmap and protect memory. The machine refuses the steps that Linux would refuse.
 */
import fc from 'fast-check';
import {
  type AddressSpace,
  createMachine,
  type Machine,
  type MachineOptions,
  MiB,
  MmdumpError,
  PAGE_SIZE,
} from 'mmdump';
import { VMA_KIND } from '../../../src/mmu/vma/vma-table.ts';
import { ZERO_PAGE, ZERO_PAGE_WAYS } from '../machine/zero-page.ts';
import { addressOfSpot, makeKernelPage, readVmas } from './reference-memory.ts';

export interface History {
  readonly machine: Machine;
  /** The address space to dump; the others exist because it shares pages with them. */
  space: AddressSpace;
  readonly others: AddressSpace[];
  /** Ids of the files that the history maps. */
  readonly files: readonly number[];
  /** The same files, open. */
  readonly open: readonly ReturnType<Machine['createFile']>[];
}

/** Places that cross the boundaries of tables, and two that are close together. */
const PLACES = [
  0x1_0000, //             the lowest page
  0x3fff_c000, //          four pages below the end of a pmd table, and of a granule
  0x4000_0000,
  0x4020_0000 - 0x5000, // five pages below a granule
  0x7f_ffff_d000, //       three pages below the end of a pud table
  0x5555_5555_4000,
  0x7fff_ffd0_0000, //     runs into the end of user space
] as const;

const ANON = ['private', 'anonymous'] as const;
const MOVE = ['maymove', 'fixed'] as const;
const DEVICE_PAGES = 32;
const CONTENT_PAGES = 41;

const PROTS = ['', 'r', 'rw', 'rw', 'rx', 'rwx', 'w'] as const;
const pages = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 1, max: 40 }) },
  { weight: 1, arbitrary: fc.integer({ min: 300, max: 1300 }) },
);
const place = fc
  .tuple(
    fc.constantFrom(...PLACES),
    fc.oneof(fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 700 })),
  )
  .map(([base, page]) => base + page * PAGE_SIZE);
/** Chooses one of the six files; those that only the dump can supply come up more often. */
const file = fc.constantFrom(0, 1, 2, 2, 2, 3, 3, 4, 4, 5);
/**
 * Offsets in pages into a file: small ones overlap; the others lie at edges of page-cache nodes.
 */
const offset = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 3 }) },
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 24 }) },
  { weight: 1, arbitrary: fc.integer({ min: 1010, max: 1030 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0x10_0000 - 8, max: 0x10_0000 + 8 }) },
);
/** A mapping by its ordinal, and a page of it, counted from its start or, if negative, its end. */
const spot = {
  vma: fc.nat({ max: 40 }),
  page: fc.oneof(fc.integer({ min: -12, max: 30 }), fc.integer({ min: 0, max: 1300 })),
};
const prot = fc.constantFrom(...PROTS);

const mapStep = fc.record({
  op: fc.constant('map' as const),
  what: fc.constantFrom('anonymous', 'anonymous', 'shared', 'file', 'file', 'shared file'),
  file,
  place,
  pages,
  offset,
  prot,
  flag: fc.constantFrom('noreserve', 'growsdown', 'denywrite', undefined, undefined),
});
/** Maps the file of a mapping once more, at a slightly different offset. */
const againStep = fc.record({
  op: fc.constant('again' as const),
  ...spot,
  shift: fc.integer({ min: -3, max: 3 }),
  place,
  pages: fc.integer({ min: 1, max: 12 }),
  how: fc.constantFrom('private' as const, 'shared' as const),
});
const deviceStep = fc.record({
  op: fc.constant('device' as const),
  place,
  pages: fc.integer({ min: 1, max: 12 }),
  offset: fc.integer({ min: 0, max: DEVICE_PAGES - 12 }),
  prot,
  io: fc.boolean(),
});
/** Flags that no system call of the simulation produces: 0x73 is private, readable, writable. */
const INSERTED: { readonly [what: string]: number } = {
  vdso: 0x73,
  hugetlb: 0x40_0073,
  'hugetlb file': 0x40_0073,
  io: 0x4073,
  'io file': 0x4073,
  'read-only shared file': 0xd1, // VM_MAYSHARE alone: shared, from a file opened for reading
  'other flags': 0x8000_8073, //    MERGEABLE, SEQ_READ
};
const insertStep = fc.record({
  op: fc.constant('insert' as const),
  what: fc.constantFrom(...Object.keys(INSERTED), 'vdso', 'hugetlb file'),
  file,
  place,
  pages: fc.integer({ min: 1, max: 20 }),
  offset,
});
const accessStep = fc.record({
  op: fc.constantFrom('write', 'write', 'zero', 'read', 'read'),
  ...spot,
  count: fc.integer({ min: 1, max: 20 }),
  value: fc.integer({ min: 1, max: 255 }),
  /**
   * Bytes into the page; larger values mean whole pages. The last words of a page are edge cases.
   */
  within: fc.oneof(fc.nat({ max: 5000 }), fc.constantFrom(0, 4064, 4080, 4095)),
});
const rangeStep = fc.record({
  op: fc.constantFrom(
    ...(['munmap', 'protect', 'hugepage', 'hugepage', 'nohugepage', 'pageout', 'pageout'] as const),
    ...(['guard_install', 'guard_remove', 'dontneed', 'mergeable', 'move', 'wipeonfork'] as const),
    'dontdump' as const,
  ),
  place,
  ...spot,
  count: pages,
  prot,
});
const otherStep = fc.record({
  op: fc.constantFrom('unlink', 'ldt', 'fork', 'fork', 'switch', 'merge', 'exit'),
  file,
  entryNumber: fc.oneof(fc.nat({ max: 20 }), fc.constantFrom(511, 8191)),
  baseAddr: fc.integer({ min: 0, max: 0xffff_ffff }),
});

const step = fc.oneof(
  { weight: 5, arbitrary: mapStep },
  { weight: 3, arbitrary: againStep },
  { weight: 1, arbitrary: deviceStep },
  { weight: 2, arbitrary: insertStep },
  { weight: 10, arbitrary: accessStep },
  { weight: 6, arbitrary: rangeStep },
  { weight: 2, arbitrary: otherStep },
);
type Arbitrated<T> = T extends fc.Arbitrary<infer Value> ? Value : never;
export type Step = Arbitrated<typeof step>;

export const stepsArbitrary = fc.array(step, { minLength: 1, maxLength: 12, size: 'max' });

const address = fc.integer({ min: 0, max: 0x7fff_ffff_ffff });
export const historyArbitrary = fc.record({
  steps: fc.array(step, { minLength: 2, maxLength: 30, size: 'max' }),
  auxv: fc.uint8Array({ maxLength: 40 }),
  notes: fc.uint8Array({ maxLength: 40 }),
  brk: address,
  flags: fc.maxSafeNat(),
  zeroPage: fc.constantFrom(...ZERO_PAGE_WAYS),
});
export type HistoryRecipe = Arbitrated<typeof historyArbitrary>;

/** Rarely reached by random steps: data that was swapped out (row 6). */
export const SWAPPED: HistoryRecipe = {
  steps: [
    {
      op: 'map',
      what: 'anonymous',
      file: 0,
      place: PLACES[0],
      pages: 12,
      offset: 0,
      prot: 'rw',
      flag: undefined,
    },
    { op: 'write', vma: 0, page: 0, count: 9, value: 7, within: 0 },
    { op: 'pageout', place: PLACES[0], vma: 0, page: 0, count: 6, prot: 'rw' },
  ],
  auxv: new Uint8Array(16),
  notes: new Uint8Array(0),
  brk: 0,
  flags: 0,
  zeroPage: ZERO_PAGE,
};

/**
 * Creates a machine of its own, with the address space that the recipe describes. `extra`: options
 * of the machine besides.
 */
export function createHistory(recipe: HistoryRecipe, extra: Partial<MachineOptions> = {}): History {
  const { steps, auxv, notes, brk, flags, zeroPage } = recipe;
  const machine = createMachine({
    memory: 32 * MiB,
    deviceMemory: DEVICE_PAGES * PAGE_SIZE,
    store: 2 * MiB,
    maxAddressSpaces: 3,
    swap: 4 * MiB,
    zeroPage,
    ...extra,
  });
  const { first } = machine.parts.device;
  for (let page = 0; page < DEVICE_PAGES; page += 3)
    machine.parts.memory.page(first + page).fill(9);
  const space = machine.createAddressSpace();
  const open = createFiles(machine);
  const files = open.map(({ id }) => id);
  const history: History = { machine, space, others: [], files, open };
  history.space.setAddresses({ brk, flags, start_code: 1, def_flags: 0x8000_0000 });
  history.space.setAuxv(auxv);
  history.space.setNotes(notes);
  continueHistory(history, steps);
  return history;
}

/** Goes on with these steps. The machine refuses those that Linux would refuse. */
export function continueHistory(history: History, steps: readonly Step[]): void {
  for (const each of steps) {
    try {
      apply(history, each);
    } catch (error) {
      if (!(error instanceof MmdumpError) || OURS.has(error.code)) throw error;
    }
  }
}

/** Errors of the history itself: it made a forbidden request, or has broken the machine. */
const OURS: ReadonlySet<string> = new Set(['OPTION_INVALID', 'MACHINE_POISONED']);

/** Creates two living files, two memory-backed and two deleted ones; every third page is zero. */
function createFiles(machine: Machine): ReturnType<Machine['createFile']>[] {
  const content = new Uint8Array(CONTENT_PAGES * PAGE_SIZE - 1000);
  for (let page = 0; page < CONTENT_PAGES; page++) {
    const at = page * PAGE_SIZE;
    if (page % 3 !== 2) content.fill(page + 100, at, Math.min(at + PAGE_SIZE, content.length));
  }
  const notUtf8 = Buffer.from([0x2f, 0x74, 0x6d, 0x70, 0x2f, 0xff, 0x0a, 0x20, 0xc3]);
  return [
    machine.createFile({ path: '/bin/seven-7', content }),
    machine.createFile({ path: '/lib/living', content: content.subarray(0, 9 * PAGE_SIZE) }),
    machine.createFile({
      path: '/memfd:big',
      memoryBacked: { size: 0x3_0000_0000 },
      deleted: true,
    }),
    machine.createFile({ path: notUtf8, memoryBacked: { size: 5 * MiB } }),
    machine.createFile({ path: '/lib/deleted', content, deleted: true }),
    machine.createFile({ path: '/tmp/gone', memoryBacked: { size: 77 }, deleted: true }),
  ];
}

function apply(history: History, each: Step): void {
  const { machine, space } = history;
  switch (each.op) {
    case 'map':
      map(history, each);
      break;
    case 'again':
      mapAgain(history, each);
      break;
    case 'device': {
      const { place: at, pages: count, offset: first, prot: access, io } = each;
      const range = { address: at, length: count * PAGE_SIZE, offset: first * PAGE_SIZE };
      space.mapDevice({ ...range, prot: access, io });
      break;
    }
    case 'insert':
      insert(history, each);
      break;
    case 'unlink':
      history.open[each.file]!.unlink();
      break;
    case 'ldt':
      space.modifyLdt({
        entryNumber: each.entryNumber,
        baseAddr: each.baseAddr,
        limit: 0xf_1234,
        useable: true,
      });
      break;
    case 'fork':
      history.others.push(space.fork());
      break;
    case 'switch': // child and parent must both be right
      if (history.others.length === 0) break;
      history.others.push(space);
      history.space = history.others.shift()!;
      break;
    case 'merge':
      machine.mergePages();
      break;
    case 'exit':
      history.others.pop()?.exit();
      break;
    default:
      touch(space, each);
  }
}

function map({ space, files }: History, each: Arbitrated<typeof mapStep>): void {
  const { what, place: at, pages: count, prot: access, flag } = each;
  const flags = flag === undefined ? (['fixed'] as const) : (['fixed', flag] as const);
  const request = { address: at, length: count * PAGE_SIZE, prot: access };
  const file = { file: files[each.file]!, offset: each.offset * PAGE_SIZE };
  if (what === 'anonymous') space.mmap({ ...request, flags: [...ANON, ...flags] });
  else if (what === 'shared') space.mmap({ ...request, flags: ['shared', 'anonymous', 'fixed'] });
  else if (what === 'file') space.mmap({ ...request, ...file, flags: ['private', ...flags] });
  else space.mmap({ ...request, ...file, flags: ['shared', ...flags] });
}

function mapAgain({ machine, space }: History, each: Arbitrated<typeof againStep>): void {
  const mapped = readVmas(machine, space).filter(({ file }) => file !== null);
  const found = mapped[each.vma % Math.max(1, mapped.length)];
  if (found === undefined) return;
  space.mmap({
    address: each.place,
    length: each.pages * PAGE_SIZE,
    prot: 'rw',
    flags: [each.how, 'fixed'],
    file: found.file!.id,
    offset: Math.max(0, found.pgoff + each.shift) * PAGE_SIZE,
  });
}

function insert({ machine, space, files }: History, each: Arbitrated<typeof insertStep>): void {
  const { what, place: at, pages: count } = each;
  space.munmap(at, count * PAGE_SIZE);
  const hasFile = what.endsWith('file');
  const isVdso = what === 'vdso';
  const start = at / PAGE_SIZE;
  space.insertMappings([
    {
      start,
      end: start + count,
      flags: INSERTED[what]!,
      file: hasFile ? files[each.file]! : 0,
      pgoff: hasFile ? each.offset : start,
      anonVma: 0,
      kind: isVdso ? VMA_KIND.VDSO : VMA_KIND.ORDINARY,
    },
  ]);
  for (let page = 0; isVdso && page < count; page += 2) {
    space.fill(at + page * PAGE_SIZE, PAGE_SIZE, page % 4); // every second one is all zeros
    makeKernelPage(machine, space, start + page);
  }
}

function touch(
  space: AddressSpace,
  each: Arbitrated<typeof accessStep> | Arbitrated<typeof rangeStep>,
): void {
  const at = addressOfSpot(space, each.vma, each.page);
  if (at === null) return;
  const length = each.count * PAGE_SIZE;
  if ('prot' in each) {
    if (each.op === 'munmap') space.munmap(at, length);
    else if (each.op === 'protect') space.mprotect(at, length, each.prot);
    else if (each.op === 'move') space.mremap(at, length, length, MOVE, each.place);
    else space.madvise(at, length, each.op);
    return;
  }
  const { op, value, within } = each;
  if (op === 'zero') space.fill(at, length, 0);
  else if (op === 'read') space.read(at, new Uint8Array(length));
  else if (within < PAGE_SIZE) space.write(at + within, new Uint8Array(each.count).fill(value));
  else space.fill(at, length, value);
}
