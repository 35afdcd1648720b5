/**
 * Every public function and method of the package: its arguments, and a call that works. A test
 * compares this list with the exports of the package, so that no new function is forgotten.
 */
import { Writable } from 'node:stream';
import {
  type AddressSpace,
  attach,
  compareAddressSpaces,
  createDumper,
  createMachine,
  createTlb,
  createTlbWindow,
  createWorkload,
  type Dumper,
  diff,
  diffImages,
  explainImagePage,
  explainPage,
  fileSink,
  flattenImage,
  type Image,
  imageReport,
  importCore,
  importProcess,
  type Machine,
  MiB,
  memorySink,
  memoryUsage,
  openImage,
  PAGE_SIZE,
  readPageStruct,
  readPte,
  searchImage,
  searchSpaces,
  spacePages,
  spaceRuns,
  splitSink,
  streamSink,
  verifyImage,
  writePageStruct,
  writePte,
} from 'mmdump';
import { NUMBERS, VIEWS } from './wrong-values.ts';

/** The objects that a call needs: all are small, and are made anew after a call changes them. */
export interface CallFixture {
  readonly machine: Machine;
  readonly space: AddressSpace;
  readonly other: AddressSpace;
  /** Address of four pages of `space`, one of them written. */
  readonly heap: number;
  readonly file: ReturnType<Machine['createFile']>;
  readonly dumper: Dumper;
  readonly image: Image;
  readonly memoryImage: ReturnType<typeof memorySink>['image'];
  /** Path of a core file. */
  readonly core: string;
  /** A process that may be stopped. */
  readonly pid: number;
}

/** An argument: a valid value, and the names of the wrong values that it accepts as well. */
export interface Argument {
  readonly valid: unknown;
  readonly accepts: readonly string[];
  /** Wrong values that the test does not try. */
  readonly skips?: readonly string[];
  /** An options object: every key is an argument of its own. */
  readonly keys?: { readonly [key: string]: Argument };
}

export interface PublicCall {
  readonly arguments: readonly Argument[];
  call(...args: unknown[]): unknown;
}

/** Arguments by type. */
const count = (valid: number): Argument => ({ valid, accepts: [] });
/** The system call decides which numbers make sense. */
const number = (valid: number): Argument => ({ valid, accepts: NUMBERS });
const bytes = (valid: unknown = new Uint8Array([1, 2])): Argument => ({ valid, accepts: VIEWS });
const flag: Argument = { valid: true, accepts: ['true'] };
const path = (valid = '/nowhere/image'): Argument => ({
  valid,
  accepts: ['string', 'numeric string'],
});
const text: Argument = {
  valid: 'name',
  accepts: ['empty string', 'string', 'string with NUL', 'numeric string'],
};
const name = (valid: string): Argument => ({ valid, accepts: [] });
const names = (valid: readonly string[]): Argument => ({ valid, accepts: ['empty array'] });
/** An error that a listener throws belongs to the caller that passed it. */
const listener: Argument = { valid: () => {}, accepts: ['function'], skips: ['class'] };
const signal: Argument = { valid: new AbortController().signal, accepts: [] };
const object = (valid: unknown): Argument => ({ valid, accepts: [] });

/** The argument may be left out. */
const optional = (argument: Argument): Argument => ({
  ...argument,
  accepts: [...argument.accepts, 'undefined'],
});

/** Images that another image needs. */
const PARENTS: Argument = {
  valid: undefined,
  accepts: ['undefined', 'empty array', 'array of strings'],
};

/** An options object whose keys are all optional, except those named in `required`. */
function options(keys: { readonly [key: string]: Argument }): Argument {
  const isFree = Object.values(keys).every(({ accepts }) => accepts.includes('undefined'));
  const valid = Object.fromEntries(Object.entries(keys).map(([key, value]) => [key, value.valid]));
  const accepts = isFree ? ['empty object', 'null prototype'] : [];
  return { valid, accepts, keys };
}

function call(args: readonly Argument[], action: (...args: never[]) => unknown): PublicCall {
  return { arguments: args, call: action as (...args: unknown[]) => unknown };
}

/** A method and its twin whose name ends in Async. */
function twins<T extends object>(
  className: string,
  method: keyof T & string,
  args: readonly Argument[],
  of: T,
  last: readonly Argument[] = [],
): [string, PublicCall][] {
  return [
    method1(className, method, args, of),
    method1(className, `${method}Async` as keyof T & string, [...args, ...last], of),
  ];
}

function method1<T extends object>(
  className: string,
  method: keyof T & string,
  args: readonly Argument[],
  of: T,
): [string, PublicCall] {
  const action = (...given: unknown[]): unknown =>
    (of[method] as (...args: unknown[]) => unknown).apply(of, given);
  return [`${className}.${method}`, { arguments: args, call: action }];
}

function addressSpaceCalls({ machine, space, heap, file }: CallFixture): [string, PublicCall][] {
  const twin = (
    method: keyof AddressSpace & string,
    args: readonly Argument[],
    last: readonly Argument[] = [],
  ): [string, PublicCall][] => twins('AddressSpace', method, args, space, last);
  const range = [number(heap), number(PAGE_SIZE)];
  const access = {
    length: number(PAGE_SIZE),
    prot: { valid: 'rw', accepts: ['empty string', 'string'] },
  };
  const cancel = [optional(signal)];
  const desc = {
    entryNumber: number(1),
    baseAddr: number(0),
    limit: number(0),
    seg32bit: optional(flag),
    contents: optional(number(0)),
    readExecOnly: optional(flag),
    limitInPages: optional(flag),
    segNotPresent: optional(flag),
    useable: optional(flag),
  };
  const vma = {
    start: heap / PAGE_SIZE + 1000,
    end: heap / PAGE_SIZE + 1001,
    flags: 0x73,
    file: 0,
    pgoff: 0,
    anonVma: 0,
    kind: 0,
  };
  const addresses = Object.keys(space.addresses()).map(
    (key) => [key, optional({ valid: 0, accepts: ['2^53'] })] as const,
  );
  return [
    ...twin('mmap', [
      options({
        ...access,
        flags: names(['private', 'anonymous']),
        address: optional(number(0)),
        file: optional(number(file.id)),
        offset: optional(number(0)),
        readOnly: optional(flag),
      }),
    ]),
    ...twin('mapFrames', [
      options({
        ...access,
        bank: optional(number(0)),
        offset: optional(number(0)),
        address: optional(number(0)),
        flags: optional(names(['locked'])),
      }),
    ]),
    ...twin('mapDevice', [
      options({
        ...access,
        offset: optional(number(0)),
        io: optional(flag),
        address: optional(number(0)),
      }),
    ]),
    ...twin('munmap', range),
    ...twin('mprotect', [...range, { valid: 'r', accepts: ['empty string', 'string'] }]),
    ...twin('mremap', [
      ...range,
      number(2 * PAGE_SIZE),
      optional(names(['maymove'])),
      optional(number(0)),
    ]),
    ...twin('brk', [number(0)]),
    ...twin('madvise', [...range, name('dontneed')]),
    ...twin('mlock', [...range, optional(names(['onfault']))]),
    ...twin('munlock', range),
    ...twin('mlockall', [names(['current'])]),
    ...twin('munlockall', []),
    ...twin('mincore', range),
    ...twin('msync', [...range, optional(names(['sync']))]),
    ...twin('fork', []),
    ...twin('exit', []),
    ...twin('read', [number(heap), bytes(new Uint8Array(8))]),
    ...twin('write', [number(heap), bytes()]),
    ...twin('fill', [number(heap), count(8), count(255)]),
    ...twin('counters', []),
    method1('AddressSpace', 'epoch', [], space),
    method1('AddressSpace', 'inside', [listener], space),
    [
      'AddressSpace.translate',
      call([number(heap), name('read')], (address: number, access: 'read') => {
        return space.inside(() => space.translate(address, access));
      }),
    ],
    ...twin('modifyLdt', [options(desc), optional(flag)]),
    ...twin('readLdt', []),
    ...twin('loadLdt', [bytes(new Uint8Array(8))], cancel),
    ...twin('insertMappings', [{ valid: [vma], accepts: ['empty array'] }], cancel),
    ...twin('vmas', []),
    ...twin('addresses', []),
    ...twin('setAddresses', [options(Object.fromEntries(addresses))], cancel),
    ...twin('auxv', []),
    ...twin('setAuxv', [bytes()], cancel),
    ...twin('notes', []),
    ...twin('setNotes', [bytes()], cancel),
    method1(
      'AddressSpace',
      'prefetch',
      [
        optional(options({ address: count(heap), length: count(PAGE_SIZE) })),
        optional(options({ signal: optional(signal), onProgress: optional(listener) })),
      ],
      space,
    ),
    ['new AddressSpace', construct(space, [object(machine), count(0), count(1)])],
  ];
}

/** A class whose objects only other functions create: no arguments are valid. */
function construct(example: object, args: readonly Argument[]): PublicCall {
  const type = example.constructor as new (...args: unknown[]) => unknown;
  return { arguments: args, call: (...given) => new type(...given) };
}

function machineCalls({ machine, space, heap, file }: CallFixture): [string, PublicCall][] {
  const method = (
    called: keyof Machine & string,
    args: readonly Argument[],
  ): [string, PublicCall] => method1('Machine', called, args, machine);
  const rawPath: Argument = { ...path('/file'), accepts: [...path().accepts, ...VIEWS] };
  const snapshot = machine.snapshot({ spaces: [space] });
  const snapshotOptions = options({
    spaces: optional(object([space])),
    state: optional({
      valid: { cpu: new Uint8Array(4) },
      accepts: ['empty object', 'null prototype', 'throwing getters'], // which has no keys
    }),
    maxStateBytes: optional(count(64)),
  });
  const fileOptions = options({
    path: rawPath,
    content: optional(bytes()),
    memoryBacked: optional({ valid: undefined, accepts: [] }),
    deleted: optional(flag),
  });
  return [
    method('createAddressSpace', []),
    method('createAddressSpaceAsync', [optional(signal)]),
    method('addressSpaces', []),
    method('destroyAddressSpace', [object(space)]),
    method('destroyAddressSpaceAsync', [object(space)]),
    method('mergePages', []),
    method('mergePagesAsync', [optional(signal)]),
    method('reclaim', [count(PAGE_SIZE)]),
    method('reclaimAsync', [count(PAGE_SIZE), optional(signal)]),
    ...twins('Machine', 'snapshot', [optional(snapshotOptions)], machine, [optional(signal)]),
    ...twins('Snapshot', 'rewind', [], snapshot, [optional(signal)]),
    method1('Snapshot', 'drop', [], snapshot),
    method1('Snapshot', 'dropAsync', [], snapshot),
    ['new Snapshot', construct(snapshot, [object(undefined)])],
    method('close', []),
    method('on', [name('fault'), listener]),
    method('off', [name('fault'), listener]),
    method('createFile', [fileOptions]),
    method('createFileAsync', [fileOptions, optional(signal)]),
    method('hostFile', [path('/proc/self/exe')]),
    method('hostFileAsync', [path('/proc/self/exe'), optional(signal)]),
    method('lookupFile', [rawPath]),
    method('freeze', [optional(options({ signal: optional(signal) }))]),
    method('registerThread', []),
    method('threadGone', [count(200)]),
    method('detach', []),
    ['new Machine', construct(machine, [object(undefined)])],
    method1('SimulatedFile', 'unlink', [], file),
    method1('SimulatedFile', 'unlinkAsync', [optional(signal)], file),
    method1('SimulatedFile', 'close', [], file),
    method1('SimulatedFile', 'closeAsync', [optional(signal)], file),
    [
      'createMachine',
      call(
        [
          options({
            memory: count(2 * MiB),
            deviceMemory: optional(count(0)),
            swap: optional(count(0)),
            banks: optional(names([])),
            store: optional(count(MiB)),
            maxAddressSpaces: optional(count(1)),
            zeroPage: optional(flag),
            checks: optional(flag),
          }),
        ],
        createMachine,
      ),
    ],
    ['attach', attachCall(machine, space)],
    ['createTlb', call([object(space)], createTlb)],
    ['createTlbWindow', call([object(space), number(heap)], createTlbWindow)],
    ['readPte', call([object(space), number(0)], readPte)],
    [
      'writePte',
      call(
        [object(space), number(0), options({ level: count(4), low: count(0), high: count(0) })],
        writePte,
      ),
    ],
    ['readPageStruct', call([object(machine), number(5)], readPageStruct)],
    [
      'writePageStruct',
      call(
        [
          object(machine),
          number(5),
          options({
            flags: optional(names(['anon'])),
            mapping: optional(count(0)),
            index: optional(count(0)),
          }),
        ],
        writePageStruct,
      ),
    ],
  ];
}

function attachCall({ handle }: Machine, space: AddressSpace): PublicCall {
  const keys = (valid: object): { [key: string]: Argument } =>
    Object.fromEntries(
      Object.entries(valid).map(([key, value]) => {
        if (key === 'checks') return [key, flag];
        if (key === 'swapBanks') return [key, { valid: value, accepts: ['empty array'] }];
        return [key, key === 'machine' ? { ...object(value), keys: keys(value) } : object(value)];
      }),
    );
  const own = options({ mayBlock: optional(flag), thread: optional(object(undefined)) });
  const target = { ...options(keys(space.handle)), accepts: [] };
  return {
    arguments: [target, optional(own)],
    call: (given, also) => {
      const attached = attach(given as typeof handle, also as object);
      const parts = 'parts' in attached ? attached.parts : undefined;
      (parts ?? (attached as unknown as AddressSpace).reference.machine).detach();
    },
  };
}

function imageCalls({ image, memoryImage }: CallFixture): [string, PublicCall][] {
  const method = (called: keyof Image & string, args: readonly Argument[]): [string, PublicCall] =>
    method1('Image', called, args, image);
  const mm = optional(count(0));
  const choice = optional(options({ mm }));
  const mappings = {
    mm,
    range: optional(options({ address: count(0), length: count(2 ** 40) })),
    prot: optional({ valid: 'r', accepts: ['empty string', 'string'] }),
  };
  const pages = {
    ...mappings,
    kind: optional({ valid: 'copy', accepts: ['empty array'] }),
    class: optional({ valid: ['copy'], accepts: ['empty array'] }),
  };
  const { start } = image.vmas()[0]!;
  const from = object(memoryImage);
  const fromKeys = { ...from, accepts: path().accepts, keys: imageKeys(memoryImage) };
  return [
    method('mms', []),
    method('mm', [optional(count(0))]),
    method('mmAt', [number(0)]),
    method('vmas', [optional(options(mappings))]),
    method('runs', [optional(options(pages))]),
    method('pages', [optional(options({ ...pages, bytes: optional(flag) }))]),
    method('stream', [
      options({ address: count(start), length: count(8) }),
      optional(options({ mm, holes: optional(name('skip')), signal: optional(signal) })),
    ]),
    method('cString', [
      count(start + PAGE_SIZE),
      optional(options({ mm, most: optional(count(9)), encoding: optional(name('latin1')) })),
    ]),
    method('page', [count(start), choice]),
    method('read', [count(start), bytes(new Uint8Array(8)), choice]),
    method('ldt', [choice]),
    method('auxv', [choice]),
    method('notes', [choice]),
    method('readState', [{ ...name('cpu'), accepts: [] }]),
    ['new Image', construct(image, [object(undefined)])],
    ['memoryUsage', call([object(image)], memoryUsage)],
    [
      'imageReport',
      call(
        [
          object(image),
          optional(
            options({
              run: optional(object(dumpOf(image.id))),
              embedBytes: optional(count(0)),
              signal: optional(signal),
            }),
          ),
        ],
        imageReport,
      ),
    ],
    [
      'flattenImage',
      call(
        [
          object(image),
          options({
            signal: optional(signal),
            timeoutMs: optional({ valid: 60_000, accepts: ['0.5'] }),
            to: object(memorySink()),
            blocks: optional(name('page')),
            onProgress: optional(listener),
          }),
        ],
        flattenImage,
      ),
    ],
    [
      'openImage',
      call(
        [
          fromKeys,
          optional(
            options({
              signal: optional(signal),
              maxIndexBytes: optional(count(MiB)),
              cacheBytes: optional(count(0)),
              parents: PARENTS,
            }),
          ),
        ],
        openImage,
      ),
    ],
  ];
}

/** The least that `dump --json` prints and a report reads. */
function dumpOf(id: string): object {
  return { image: { id }, workers: 1, workersReason: '1 as asked', ms: {}, perWorker: [] };
}

function imageKeys({ bytes: length, chunks, chunkBytes }: CallFixture['memoryImage']): {
  readonly [key: string]: Argument;
} {
  return { bytes: count(length), chunks: object(chunks), chunkBytes: count(chunkBytes) };
}

const PATH_OPTIONS = {
  force: optional(flag),
  sparse: optional(flag),
  sync: optional(flag),
  faults: optional({ valid: undefined, accepts: [] }),
};

function sinkCalls({ machine }: CallFixture): [string, PublicCall][] {
  const { faults } = PATH_OPTIONS;
  const memory = optional(
    options({
      chunkBytes: optional(count(PAGE_SIZE)),
      machine: optional(object(machine)),
      faults,
    }),
  );
  const stream = object(new Writable({ write: (_chunk, _encoding, done) => done() }));
  const streamOptions = optional(options({ end: optional(flag), name: optional(text), faults }));
  const sink = memorySink();
  return [
    ['fileSink', call([path(), optional(options(PATH_OPTIONS))], fileSink)],
    [
      'splitSink',
      call(
        [
          path(),
          options({ ...PATH_OPTIONS, parts: count(2), partBytes: optional(object(undefined)) }),
        ],
        splitSink,
      ),
    ],
    ['memorySink', call([memory], memorySink)],
    ['new MemorySink', construct(sink, [memory])],
    method1('MemorySink', 'release', [], sink),
    ['streamSink', call([stream, streamOptions], streamSink)],
    ['new StreamSink', construct(streamSink(stream.valid as Writable), [stream, streamOptions])],
  ];
}

function jobCalls(fixture: CallFixture): [string, PublicCall][] {
  const { dumper, space, other, machine, heap, image, memoryImage, pid } = fixture;
  const method = (called: keyof Dumper & string, args: readonly Argument[]): [string, PublicCall] =>
    method1('Dumper', called, args, dumper);
  const timeoutMs = optional({ valid: 60_000, accepts: ['0.5'] });
  const job = { signal: optional(signal), timeoutMs, onProgress: optional(listener) };
  const own = { dumper: optional(object(dumper)), workers: optional(object(undefined)) };
  const policy = optional(name('fail'));
  const estimate = {
    ...job,
    zeroPages: optional(name('copy')),
    checksum: optional(name('none')),
    format: optional(name('elf')),
    blocks: optional(name('page')),
    unsupported: policy,
    hugetlb: policy,
    freeze: optional(flag),
    dontDump: optional(flag),
    sizeLimit: optional(count(MiB)),
    parent: optional(object(undefined)),
    state: optional(object(undefined)), // a core file has none
    unitBytes: optional(count(2 * MiB)),
    source: optional({ ...text, accepts: [...text.accepts, 'empty array', 'array of strings'] }),
  };
  const verify = {
    ...job,
    maxIndexBytes: optional(count(MiB)),
    maxProblems: optional(count(9)),
    parents: PARENTS,
  };
  const isFull = (value: string): boolean => !value.startsWith('empty');
  const pattern = { valid: 'text', accepts: [...text.accepts, ...VIEWS].filter(isFull) };
  const searches = {
    ...job,
    mm: optional(count(0)),
    start: optional(count(0)),
    end: optional(count(2 ** 40)),
    prot: optional({ valid: 'rw', accepts: ['empty string', 'string'] }),
    kind: optional({ valid: ['copy'], accepts: ['empty array'] }),
    class: optional({ valid: 'copy', accepts: ['empty array'] }),
    maxMatchBytes: optional(count(9)),
    maxMatches: optional(count(9)),
    range: optional({ valid: undefined, accepts: [] }), // not beside start and end
  };
  const { kind: _kind, class: _class, ...inSpaces } = searches;
  const spacePart = {
    mm: optional(count(0)),
    range: optional(options({ address: count(0), length: count(2 ** 40) })),
    prot: optional({ valid: 'r', accepts: ['empty string', 'string'] }),
    class: optional({ valid: 'copy', accepts: ['empty array'] }),
  };
  const diffs = { ...job, maxPages: optional(count(9)) };
  const imports = { ...job, children: optional(flag), freeze: optional(flag) };
  const from = { ...object(memoryImage), accepts: path().accepts, keys: imageKeys(memoryImage) };
  const target = { ...object(machine), accepts: [], skips: ['class'] };
  const process = { valid: pid, accepts: [] };
  const core = { ...path(), valid: fixture.core };
  const cores = { ...job, load: optional(name('now')) };
  return [
    method('dump', [object([space]), options({ ...estimate, to: object(memorySink()) })]),
    method('estimate', [object(space), optional(options(estimate))]),
    method('restore', [
      object(image),
      object(machine),
      optional(
        options({
          ...job,
          into: optional(object(undefined)),
          load: optional(name('now')),
          maxStateBytes: optional(count(64)),
        }),
      ),
    ]),
    method('verify', [from, optional(options(verify))]),
    method('importProcess', [target, process, optional(options(imports))]),
    method('importCore', [target, core, optional(options(cores))]),
    method('compare', [object(space), object(other), optional(options(job))]),
    method('search', [object(image), pattern, optional(options(searches))]),
    [
      'searchImage',
      call([object(image), pattern, optional(options({ ...searches, ...own }))], searchImage),
    ],
    method('searchSpaces', [object([space]), pattern, optional(options(inSpaces))]),
    [
      'searchSpaces',
      call([object([space]), pattern, optional(options({ ...inSpaces, ...own }))], searchSpaces),
    ],
    method('diffImages', [object(image), object(image), optional(options(diffs))]),
    method('diff', [object([space]), object(image), optional(options(diffs))]),
    [
      'diffImages',
      call([object(image), object(image), optional(options({ ...diffs, ...own }))], diffImages),
    ],
    ['diff', call([object([space]), object(image), optional(options({ ...diffs, ...own }))], diff)],
    [
      'explainPage',
      call(
        [
          object([space]),
          count(heap),
          optional(
            options({
              signal: optional(signal),
              timeoutMs,
              mm: optional(count(0)),
              zeroPages: optional(name('copy')),
              hugetlb: optional(name('skip')),
              dontDump: optional(flag),
            }),
          ),
        ],
        explainPage,
      ),
    ],
    ['spaceRuns', call([object([space]), optional(options(spacePart))], spaceRuns)],
    ['spacePages', call([object([space]), optional(options(spacePart))], spacePages)],
    [
      'explainImagePage',
      call(
        [object(image), count(heap), optional(options({ mm: optional(count(0)) }))],
        explainImagePage,
      ),
    ],
    ['createDumper', dumperCall((given) => createDumper(given))],
    ['new Dumper', dumperCall((given) => new (dumper.constructor as typeof Dumper)(given))],
    [
      'importProcess',
      call([target, process, optional(options({ ...imports, ...own }))], importProcess),
    ],
    ['importCore', call([target, core, optional(options({ ...cores, ...own }))], importCore)],
    ['verifyImage', call([from, optional(options({ ...verify, ...own }))], verifyImage)],
    [
      'compareAddressSpaces',
      call(
        [object(space), object(other), optional(options({ ...job, ...own }))],
        compareAddressSpaces,
      ),
    ],
    [
      'createWorkload',
      call(
        [
          name('dense'),
          optional(
            options({
              size: optional(count(MiB)),
              seed: optional(count(1)),
              memory: optional(count(32 * MiB)),
              signal: optional(signal),
            }),
          ),
        ],
        createWorkload,
      ),
    ],
  ];
}

function dumperCall(create: (given: object) => Dumper | Promise<Dumper>): PublicCall {
  const keys = {
    workers: optional(count(1)),
    expectedBytes: optional(count(0)),
    rendezvous: optional(flag),
    faults: PATH_OPTIONS.faults,
  };
  return {
    arguments: [optional(options(keys))],
    call: async (given) => (await create(given as object)).close(),
  };
}

export function publicCalls(fixture: CallFixture): ReadonlyMap<string, PublicCall> {
  return new Map([
    ...addressSpaceCalls(fixture),
    ...machineCalls(fixture),
    ...imageCalls(fixture),
    ...sinkCalls(fixture),
    ...jobCalls(fixture),
  ]);
}
