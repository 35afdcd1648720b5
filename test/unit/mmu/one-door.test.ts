/**
 * Every change of a machine passes the freeze gate.
 *
 * Invariants checked: on a frozen machine, each operation that changes something gives EAGAIN to a
 * thread that must not wait, and changes nothing · the asynchronous twin waits for the thaw, and an
 * AbortSignal ends the wait · a change that bypasses the gate, or the lock that it needs, fails an
 * assertion if `checks` is on
 */
import { describe, expect, it } from 'vitest';
import { loadLdt, writeLdt } from '../../../src/mmu/calls/ldt.ts';
import { populateRange } from '../../../src/mmu/fault/populate.ts';
import { shrinkCache } from '../../../src/mmu/files/write-back.ts';
import { writePageStruct, writePte } from '../../../src/mmu/machine/debug.ts';
import type { Machine } from '../../../src/mmu/machine/machine.ts';
import { setBlob } from '../../../src/mmu/mm/blobs.ts';
import type { Mm } from '../../../src/mmu/mm/mm.ts';
import { moveEntries } from '../../../src/mmu/tables/move.ts';
import { protectRange } from '../../../src/mmu/tables/protect.ts';
import { zapRange } from '../../../src/mmu/tables/zap.ts';
import { addVma, mergeRange, unmapRange } from '../../../src/mmu/vma/vma-edit.ts';
import { MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { isSettled } from '../../support/machine/locks.ts';
import { codeOf, pageOf, testMachine } from '../../support/machine/machine.ts';

const LENGTH = 4 * PAGE_SIZE;
const ANON = { prot: 'rw', flags: ['private', 'anonymous'], length: LENGTH } as const;
const DESC = { entryNumber: 0, baseAddr: 0, limit: 0 } as const;
const CONTENT = new Uint8Array(LENGTH).fill(7);

/** A machine with one object of every kind. */
function newFixture() {
  const machine = testMachine({
    swap: MiB,
    deviceMemory: 4 * PAGE_SIZE,
    banks: [new SharedArrayBuffer(PAGE_SIZE)],
  });
  const space = machine.createAddressSpace();
  const at = space.mmap(ANON);
  space.write(at, pageOf(1));
  space.write(at + PAGE_SIZE, pageOf(1));
  space.madvise(at, LENGTH, 'mergeable');
  const file = machine.createFile({ path: '/f', content: CONTENT });
  const open = machine.lookupFile('/f')!;
  const closing = machine.lookupFile('/f')!;
  return { machine, space, at, file, open, closing };
}

type Fixture = ReturnType<typeof newFixture>;

/** Each operation, and its twin if it has one. */
const CHANGES: Record<
  string,
  readonly [(f: Fixture) => unknown, ((f: Fixture, signal?: AbortSignal) => Promise<unknown>)?]
> = {
  createAddressSpace: [
    (f) => f.machine.createAddressSpace(),
    (f, signal) => f.machine.createAddressSpaceAsync(signal),
  ],
  'exit of an mm': [(f) => f.space.exit()],
  createFile: [
    (f) => f.machine.createFile({ path: '/g', content: CONTENT }),
    (f, signal) => f.machine.createFileAsync({ path: '/g', content: CONTENT }, signal),
  ],
  hostFile: [
    (f) => f.machine.hostFile('package.json'),
    (f, signal) => f.machine.hostFileAsync('package.json', signal),
  ],
  'unlink of a file': [(f) => f.file.unlink(), (f, signal) => f.open.unlinkAsync(signal)],
  'close of a file': [(f) => f.file.close(), (f, signal) => f.closing.closeAsync(signal)],
  mergePages: [(f) => f.machine.mergePages(), (f, signal) => f.machine.mergePagesAsync(signal)],
  reclaim: [(f) => f.machine.reclaim(MiB), (f, signal) => f.machine.reclaimAsync(MiB, signal)],
  setAuxv: [(f) => f.space.setAuxv(CONTENT), (f, signal) => f.space.setAuxvAsync(CONTENT, signal)],
  setNotes: [
    (f) => f.space.setNotes(CONTENT),
    (f, signal) => f.space.setNotesAsync(CONTENT, signal),
  ],
  mapDevice: [
    (f) => f.space.mapDevice({ length: PAGE_SIZE, prot: 'r' }),
    (f) => f.space.mapDeviceAsync({ length: PAGE_SIZE, prot: 'r' }),
  ],
  mapFrames: [
    (f) => f.space.mapFrames({ length: PAGE_SIZE, prot: 'r' }),
    (f) => f.space.mapFramesAsync({ length: PAGE_SIZE, prot: 'r' }),
  ],
  'fork of an mm': [(f) => f.space.fork(), (f) => f.space.forkAsync()],
  'mmap of shared anonymous memory': [
    (f) => f.space.mmap({ ...ANON, flags: ['shared', 'anonymous'] }),
    (f) => f.space.mmapAsync({ ...ANON, flags: ['shared', 'anonymous'] }),
  ],
  writePageStruct: [(f) => writePageStruct(f.machine, 40, { index: 5 })],
  writePte: [(f) => writePte(f.space, f.at, { level: 1, low: 0, high: 0 })],
};

/** All state of the machine that these changes could change. */
function stateOf({ machine }: Fixture): object {
  const { files, handle } = machine.parts;
  return {
    memory: machine.memory,
    swap: machine.swap,
    store: machine.store,
    pages: Buffer.from(new Uint8Array(handle.pages)).toString('base64'),
    mms: machine.addressSpaces().map(({ handle: { slot, generation } }) => [slot, generation]),
    files: Array.from({ length: 8 }, (_, at) => [files.references(at + 1), files.kind(at + 1)]),
  };
}

describe('fault 3: every change passes the freeze gate', () => {
  it.each(Object.entries(CHANGES))('%s is refused on a frozen machine', async (_name, [change]) => {
    const scene = newFixture();
    const before = stateOf(scene);
    const freeze = await scene.machine.freeze();
    expect(codeOf(() => change(scene))).toBe('EAGAIN');
    expect(stateOf(scene)).toEqual(before);
    freeze.thaw();
    expect(codeOf(() => change(scene))).toBe('nothing');
  });

  const twins = Object.entries(CHANGES).flatMap(([name, [, twin]]) => {
    return twin === undefined ? [] : [[name, twin] as const];
  });
  it.each(twins)('the asynchronous twin of %s waits for the thaw', async (_name, twin) => {
    const scene = newFixture();
    const before = stateOf(scene);
    const freeze = await scene.machine.freeze();
    const pending = twin(scene);
    expect(await isSettled(pending)).toBe(false);
    expect(stateOf(scene)).toEqual(before);
    freeze.thaw();
    await pending;
    const { threads, thread } = scene.machine.parts;
    for (let id = 0; id < threads.highWater; id++) expect(threads.isLive(id)).toBe(id === thread);
  });

  it.each(twins.filter(([, twin]) => twin.length > 1))(
    'the asynchronous twin of %s gives up when its signal fires',
    async (_name, twin) => {
      const scene = newFixture();
      const before = stateOf(scene);
      const freeze = await scene.machine.freeze();
      const controller = new AbortController();
      const pending = twin(scene, controller.signal);
      controller.abort();
      await expect(pending).rejects.toMatchObject({ code: 'ABORT_ERR' });
      expect(stateOf(scene)).toEqual(before);
      freeze.thaw();
      await twin(scene); // as if no earlier call had been made
    },
  );
});

describe('fault 3: a change beside the gate is an assertion', () => {
  const beside: Record<string, (machine: Machine) => unknown> = {
    'a frame is taken': ({ parts }) => parts.allocator.allocate(parts.thread),
    'a huge page is taken': ({ parts }) => parts.allocator.tryAllocateHuge(parts.thread, false),
    'a frame is given back': ({ parts }) => parts.allocator.put(40, parts.thread),
    'a swap slot is taken': ({ parts }) => parts.swap.allocate(parts.thread),
    'a file is created': ({ parts }) =>
      parts.files.create({ path: CONTENT, kind: 0, backing: 0, size: 0 }, parts.thread),
    'a name is removed': ({ parts }) => parts.files.unlink(1, parts.thread),
    'a reference to a file is dropped': ({ parts }) => parts.files.dropReference(1, parts.thread),
    'bytes are stored': ({ parts }) => parts.store.add(CONTENT, parts.thread),
  };
  it.each(Object.entries(beside))('%s', (_name, change) => {
    const { machine } = newFixture();
    expect(() => change(machine)).toThrow(/^freeze gate: thread 0 is outside and makes a change/);
  });

  const unlocked: Record<string, (mm: Mm) => unknown> = {
    'a VMA is added': (mm) => addVma(mm, mm.vmas.fields(mm.vmas.slot(0))),
    'VMAs are merged': (mm) => mergeRange(mm, 0, 1),
    'pages are unmapped': (mm) => unmapRange(mm, 0, 1),
    'pages are zapped': (mm) => zapRange(mm, 0, 1),
    'leaves get another protection': (mm) => protectRange(mm, 0, 1, 0),
    'entries are moved': (mm) => moveEntries(mm, 0, 1, 1, { done: 0 }),
    'pages are faulted in': (mm) => populateRange(mm, 0, 1, false, { done: 0 }),
    'a page cache shrinks': (mm) => shrinkCache(mm, 1, 1),
    'an LDT entry is written': (mm) => writeLdt(mm, DESC, false),
    'an LDT is replaced': (mm) => loadLdt(mm, CONTENT),
    'a byte string is replaced': (mm) => setBlob(mm, 0, 0, CONTENT),
  };
  it.each(Object.entries(unlocked))('as is one without its lock: %s', (what, change) => {
    const { mm } = newFixture().space;
    expect(() => change(mm)).toThrow(new RegExp(`^locks: thread 0 holds 0x0, not .*: ${what}$`));
  });

  it('as is a second entry of one thread', () => {
    const { machine } = newFixture();
    const { gate, thread } = machine.parts;
    gate.tryEnter(thread);
    expect(() => machine.createFile({ path: '/g', content: CONTENT })).toThrow(/^lock order/);
  });
});
