/** Random histories: fast-check arbitraries of the data that history.ts defines. */
import fc from 'fast-check';
import type { Action, FileSpec, History, Step } from './history.ts';

/** Two files in memory, one on a disk; two of them end in the middle of a page. */
export const FILES: readonly FileSpec[] = [
  { kind: 'memfd', pages: 5, bytes: 100 },
  { kind: 'tmpfs', pages: 3, bytes: 0 },
  { kind: 'disk', pages: 8, bytes: 2000 },
];

/** 2^47 in pages from the window; TASK_SIZE is one page less. */
const TWO_TO_47 = 2 ** 35 - 2 ** 32;
const ONE_BYTE = 1 / 4096;
/** 2^64 - 4096 bytes. */
const WRAPPING = 2 ** 52 - 1;

const ADVICE = [
  ['normal', 1],
  ['random', 1],
  ['sequential', 1],
  ['willneed', 1],
  ['dontneed', 4],
  ['free', 1],
  ['hugepage', 1],
  ['nohugepage', 1],
  ['dontdump', 1],
  ['dodump', 1],
  ['dontfork', 1],
  ['dofork', 1],
  ['wipeonfork', 2],
  ['keeponfork', 1],
  ['mergeable', 1],
  ['unmergeable', 1],
  ['cold', 1],
  ['pageout', 1],
  ['populate_read', 2],
  ['populate_write', 2],
  ['guard_install', 3],
  ['guard_remove', 2],
] as const;

/** Protections: mostly common ones, since any other ends in the same SIGSEGV. */
const prot = fc.constantFrom('rw', 'rw', 'rw', 'r', 'r', '', 'rx', 'rwx', 'w', 'x');

function weighted<T>(...entries: readonly (readonly [number, fc.Arbitrary<T>])[]): fc.Arbitrary<T> {
  return fc.oneof(...entries.map(([weight, arbitrary]) => ({ weight, arbitrary })));
}

export interface Shape {
  /** Size of the window in pages. A small window makes mappings meet. */
  readonly window: number;
  readonly maxSteps: number;
  readonly hasHeap: boolean;
  /** Places chosen more often: boundaries of huge pages. */
  readonly landmarks?: readonly number[];
}

/** Arbitraries that depend on the window: a page of it, and a number of pages. */
function places({ window, landmarks = [] }: Shape): {
  at: fc.Arbitrary<number>;
  pages: fc.Arbitrary<number>;
} {
  const anywhere = fc.integer({ min: 0, max: window - 1 });
  const short = fc.integer({ min: 1, max: 5 });
  const long = fc.integer({ min: 1, max: window });
  if (landmarks.length === 0) return { at: anywhere, pages: weighted([4, short], [1, long]) };
  const near = fc
    .tuple(fc.constantFrom(...landmarks), fc.integer({ min: -2, max: 2 }))
    .map(([mark, by]) => Math.max(0, mark + by));
  const between = fc.constantFrom(1, 2, 64, 510, 511, 512, 513, 514, 1024, 1025, 1536);
  return {
    at: weighted([3, near], [1, anywhere]),
    pages: weighted([2, between], [1, long], [1, short]),
  };
}

type Places = ReturnType<typeof places>;

const kinds = fc.oneof(
  { weight: 5, arbitrary: fc.constant({ flags: ['private', 'anonymous'], file: -1 }) },
  { weight: 2, arbitrary: fc.constant({ flags: ['shared', 'anonymous'], file: -1 }) },
  {
    weight: 3,
    arbitrary: fc.record({
      flags: fc.constantFrom(['private'], ['shared']),
      file: fc.integer({ min: 0, max: FILES.length - 1 }),
    }),
  },
);

function mmap({ at, pages }: Places): fc.Arbitrary<Action> {
  const how = fc.constantFrom(['fixed'], ['fixed'], ['fixed'], ['fixed_noreplace'], []);
  const more = fc.oneof(
    { weight: 8, arbitrary: fc.constant([]) },
    {
      weight: 3,
      arbitrary: fc.constantFrom(['noreserve'], ['locked'], ['populate'], ['growsdown']),
    },
  );
  return fc
    .record({ at, pages, prot, kind: kinds, how, more, offset: fc.integer({ min: 0, max: 9 }) })
    .map(({ kind, how: place, more: rest, offset, ...range }) => ({
      op: 'mmap' as const,
      ...range,
      flags: [...kind.flags, ...place, ...rest],
      file: kind.file,
      offset: kind.file < 0 ? 0 : offset,
    }));
}

/** The first steps of a history: enough mappings for the others to find something. */
function opening(shape: Shape): fc.Arbitrary<Action[]> {
  const { at } = places(shape);
  const pages = fc.integer({ min: Math.ceil(shape.window / 6), max: shape.window });
  const most = fc.constantFrom('rw', 'rw', 'rw', 'rw', 'r', 'rwx');
  const map = fc
    .record({ at, pages, prot: most, kind: kinds, offset: fc.integer({ min: 0, max: 3 }) })
    .map(({ kind, offset, ...range }) => ({
      op: 'mmap' as const,
      ...range,
      flags: [...kind.flags, 'fixed'],
      file: kind.file,
      offset: kind.file < 0 ? 0 : offset,
    }));
  return fc.array(map, { minLength: 0, maxLength: 4, size: 'max' });
}

function mremap({ at, pages }: Places): fc.Arbitrary<Action> {
  const newAt = at;
  const move = fc
    .record({ at, pages, newAt, flags: fc.constantFrom(['maymove', 'fixed']) })
    .map((rest) => ({ op: 'mremap' as const, ...rest, newPages: rest.pages }));
  const dontunmap = fc
    .record({ at, pages, newAt })
    .map((rest) => ({ ...rest, flags: ['maymove', 'fixed', 'dontunmap'], newPages: rest.pages }))
    .map((rest) => ({ op: 'mremap' as const, ...rest }));
  const flags = fc.constantFrom([], ['maymove'], ['maymove', 'fixed']);
  const resize = fc
    .record({ at, pages, newPages: pages, newAt, flags })
    .map((rest) => ({ op: 'mremap' as const, ...rest }));
  const duplicate = fc
    .record({ at, newPages: pages, newAt })
    .map((rest) => ({ ...rest, op: 'mremap' as const, pages: 0, flags: ['maymove', 'fixed'] }));
  return weighted<Action>([4, move], [2, dontunmap], [4, resize], [1, duplicate]);
}

/** Loads and stores: near the ends of a page, and across them. */
function accesses({ at }: Places): fc.Arbitrary<Action> {
  const shift = fc.constantFrom(0, 0, 0, 1, 2048, 4092, 4094, 4095);
  const place = fc.tuple(at, shift).map(([page, bytes]) => page + bytes * ONE_BYTE);
  const bytes = fc.integer({ min: 1, max: 4 });
  const value = fc.integer({ min: 0xa0, max: 0xff });
  const write = fc.record({ op: fc.constant('write' as const), at: place, bytes, value });
  const read = fc.record({ op: fc.constant('read' as const), at: place, bytes });
  return weighted<Action>([3, write], [1, read]);
}

function ranges({ at, pages }: Places): [number, fc.Arbitrary<Action>][] {
  const advice = fc.oneof(
    ...ADVICE.map(([name, weight]) => ({ weight, arbitrary: fc.constant(name as string) })),
  );
  const op = <T extends string>(name: T): fc.Arbitrary<T> => fc.constant(name);
  const lockFlags = fc.constantFrom<string[]>([], [], ['onfault']);
  const syncFlags = fc.constantFrom<string[]>([], ['async'], ['sync'], ['invalidate']);
  return [
    [3, fc.record({ op: op('munmap'), at, pages })],
    [8, fc.record({ op: op('mprotect'), at, pages, prot })],
    [10, fc.record({ op: op('madvise'), at, pages, advice })],
    [2, fc.record({ op: op('mlock'), at, pages, flags: lockFlags })],
    [1, fc.record({ op: op('munlock'), at, pages })],
    [2, fc.record({ op: op('mincore'), at, pages })],
    [1, fc.record({ op: op('msync'), at, pages, flags: syncFlags })],
  ];
}

/** A call with one or two wrong arguments, or arguments that are nearly wrong. */
function badCalls(shape: Shape): fc.Arbitrary<Action> {
  const { at, pages } = places(shape);
  const oddAt = fc.oneof(
    at,
    at.map((page) => page + ONE_BYTE),
    at.map((page) => page + 4095 * ONE_BYTE),
    fc.constantFrom(-1, TWO_TO_47, TWO_TO_47 - 1, TWO_TO_47 - 2, TWO_TO_47 + ONE_BYTE, 2 ** 35),
  );
  // At most 2^34: a longer range would reach memory that the process itself needs.
  const oddPages = fc.oneof(
    pages,
    pages.map((count) => count - 4095 * ONE_BYTE),
    fc.constantFrom(0, ONE_BYTE, WRAPPING, 2 ** 34),
  );
  const odd = { at: oddAt, pages: oddPages };
  // Otherwise the kernel would have to map terabytes: only lengths that are impossible, or short.
  const mappable = fc.oneof(
    oddPages.filter((count) => count < 2 ** 30 || count > 2 ** 35),
    fc.constantFrom(2 ** 35, 2 ** 35 - 2 ** 32),
  );
  const oddMmap = mmap({ at: oddAt, pages: mappable });
  const flags = fc.constantFrom(
    ['anonymous', 'fixed'],
    ['private', 'shared', 'anonymous', 'fixed'],
    ['shared', 'anonymous', 'growsdown', 'fixed'],
    ['private', 'fixed'],
    ['fixed'],
    ['private', 'anonymous', 'fixed', 'fixed_noreplace'],
  );
  const mmapFlags = fc.record({
    op: fc.constant('mmap' as const),
    at,
    pages,
    prot,
    flags,
    file: fc.constant(-1),
    offset: fc.constantFrom(0, ONE_BYTE),
  });
  const mremapFlags = fc.record({
    op: fc.constant('mremap' as const),
    at: oddAt,
    pages: oddPages,
    newPages: mappable,
    flags: fc.constantFrom(
      [],
      ['fixed'],
      ['dontunmap'],
      ['maymove', 'dontunmap', 'fixed'],
      ['maymove', 'fixed'],
    ),
    newAt: oddAt,
  });
  return weighted<Action>(
    [2, oddMmap],
    [2, mmapFlags],
    [3, mremapFlags],
    [6, fc.oneof(...ranges(odd).map(([, arbitrary]) => arbitrary))],
  );
}

/** `isWanted` omits calls that the other side does not have. */
export function historyOf(
  shape: Shape,
  isWanted: (action: Action) => boolean = () => true,
): fc.Arbitrary<History> {
  const where = places(shape);
  const heapAt = Math.floor(shape.window / 2);
  const brk = fc
    .tuple(fc.integer({ min: -2, max: heapAt + 2 }), fc.constantFrom(0, 0, ONE_BYTE, 0.5))
    .map(([page, bytes]) => ({ op: 'brk' as const, at: heapAt + page + bytes }));
  const action = weighted<Action>(
    [28, mmap(where)],
    [16, mremap(where)],
    [28, accesses(where)],
    ...ranges(where).map(([weight, call]) => [2 * weight, call] as const),
    [4, fc.constant<Action>({ op: 'fork' })],
    [1, fc.constant<Action>({ op: 'exit' })],
    [2, fc.constant<Action>({ op: 'contents' })],
    [6, badCalls(shape)],
    ...(shape.hasHeap ? ([[8, brk]] as const) : []),
  ).filter(isWanted);
  const step: fc.Arbitrary<Step> = fc
    .tuple(action, fc.nat({ max: 7 }))
    .map(([what, process]) => ({ ...what, process }));
  const heap: Step = { op: 'heap', at: heapAt, process: 0 };
  const isWithHeap = shape.hasHeap && isWanted(heap);
  const steps = fc.array(step, { minLength: 1, maxLength: shape.maxSteps, size: 'max' });
  return fc.tuple(opening(shape), steps).map(([first, rest]) => {
    const mappings = first.filter(isWanted).map((action) => ({ ...action, process: 0 }));
    return { files: FILES, steps: [...(isWithHeap ? [heap] : []), ...mappings, ...rest] };
  });
}
