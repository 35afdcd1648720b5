/**
 * Random histories of several forked mms, run on a machine and on the model at the same time, for
 * the property test forked-mms.
 */
import { mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect } from 'vitest';
import { BACKING_KIND } from '../../../src/mmu/backing/backing-table.ts';
import { mapBacked } from '../../../src/mmu/backing/map-backed.ts';
import { encodePlaces } from '../../../src/mmu/files/file-places.ts';
import { FILE_KIND } from '../../../src/mmu/files/file-record.ts';
import { cacheContext, putFile, unlinkFile } from '../../../src/mmu/files/page-cache.ts';
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import { runOn } from '../../../src/mmu/machine/enter.ts';
import type { Machine } from '../../../src/mmu/machine/machine.ts';
import { holdGate } from '../../../src/mmu/mm/hold.ts';
import { PG } from '../../../src/mmu/physical/page-struct.ts';
import { isBacked } from '../../../src/mmu/tables/pte.ts';
import { prepareAnonVma } from '../../../src/mmu/vma/anon-vma.ts';
import { MmdumpError } from '../../../src/shared/errors.ts';
import { MiB, PAGE_SIZE, vpnOf } from '../../../src/shared/page.ts';
import { assertTablesTrue, leaves } from './invariants.ts';
import { codeOf, testMachine } from './machine.ts';
import * as model from './model-mm.ts';

const BASE = 0x4000_0000 - 64 * PAGE_SIZE; // crosses the boundary of two granules
const MMS_MAX = 4;
const FILE_PAGES = 40;

export interface Shape {
  readonly name: string;
  readonly pages: number;
  readonly memory: number;
  readonly steps: number;
  readonly runs: number;
  /** What the runs must encounter. */
  readonly meets: readonly string[];
}

export function operations({ pages }: Shape) {
  const mm = fc.nat(MMS_MAX - 1);
  const page = fc.nat(pages - 1);
  const count = fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: pages }));
  const prot = fc.constantFrom<model.ModelProt>('', 'r', 'rw', 'rw', 'rw', 'rx');
  const what = fc.constantFrom(
    ...['anonymous', 'anonymous', 'backed', 'shared', 'file', 'shared file'],
    ...['placed file', 'shared placed file'],
  );
  const range = { mm, page, count };
  const advice = fc.constantFrom(
    ...(['dontneed', 'pageout', 'pageout', 'guard_install', 'guard_remove'] as const),
    ...(['hugepage', 'hugepage', 'mergeable', 'mergeable', 'unmergeable', 'cold'] as const),
  );
  return fc.oneof(
    { weight: 3, arbitrary: fc.record({ op: fc.constant('map' as const), ...range, prot, what }) },
    { weight: 1, arbitrary: fc.record({ op: fc.constant('unmap' as const), ...range }) },
    { weight: 1, arbitrary: fc.record({ op: fc.constant('protect' as const), ...range, prot }) },
    { weight: 2, arbitrary: fc.record({ op: fc.constant('move' as const), ...range, to: page }) },
    { weight: 4, arbitrary: fc.record({ op: fc.constant('advise' as const), ...range, advice }) },
    {
      weight: 8,
      arbitrary: fc.record({ op: fc.constant('write' as const), ...range, value: fc.nat(3) }),
    },
    { weight: 3, arbitrary: fc.record({ op: fc.constant('read' as const), ...range }) },
    {
      weight: 3,
      arbitrary: fc.record({
        op: fc.constantFrom(...(['fork', 'fork', 'exit', 'merge', 'merge'] as const)),
        mm,
      }),
    },
    { weight: 1, arbitrary: fc.record({ op: fc.constant('reclaim' as const), mm, count }) },
  );
}
export type Operation = ReturnType<typeof operations> extends fc.Arbitrary<infer T> ? T : never;

const BACKING_PAGES = 64;
let backingFd = -1;

/** A file without a name whose page n is filled with n + 1; it is open until the process ends. */
function backingFile(): number {
  if (backingFd >= 0) return backingFd;
  const folder = mkdtempSync(join(tmpdir(), 'mmdump-backing-'));
  const path = join(folder, 'pages');
  const bytes = new Uint8Array(BACKING_PAGES * PAGE_SIZE);
  writeFileSync(
    path,
    bytes.map((_, at) => Math.floor(at / PAGE_SIZE) + 1),
  );
  backingFd = openSync(path, 'r');
  rmSync(folder, { recursive: true });
  return backingFd;
}

/** Creates a memory-backed file with a name, whose page n is that of the backing. Returns its id. */
function createPlacedFile({ parts }: Machine, backing: number): number {
  const content = encodePlaces([{ index: 8, pages: FILE_PAGES - 8, backing, place: 8 }]);
  const kind = FILE_KIND.MEMORY | FILE_KIND.NAMED;
  const size = FILE_PAGES * PAGE_SIZE;
  const fields = { path: Buffer.from('/memfd:placed'), kind, backing: 0, size, content };
  return holdGate(parts, parts.thread, () => parts.files.create(fields, parts.thread));
}

interface Process {
  readonly space: AddressSpace;
  readonly pages: model.ModelMm;
}

function addressAt(page: number): number {
  return BASE + page * PAGE_SIZE;
}

/** The files and shared memory of one run. */
export class Run {
  readonly machine: Machine;
  readonly processes: Process[] = [];
  readonly #limit: number;
  readonly #file: number;
  readonly #backing: number;
  /** A file in memory, of which pages 8 to 39 lie in a backing. */
  readonly #placedFile: number;
  readonly #placed: model.ModelObject = {
    initial: (index) => (index >= 8 && index < FILE_PAGES ? index + 1 : 0),
    pages: new Map(),
  };
  readonly #object: model.ModelObject = {
    initial: (index) => (index < FILE_PAGES ? index + 10 : 0),
    pages: new Map(),
  };

  constructor({ pages, memory }: Shape) {
    this.machine = testMachine({ memory, swap: 16 * MiB, maxAddressSpaces: MMS_MAX });
    this.#limit = pages;
    const content = new Uint8Array(FILE_PAGES * PAGE_SIZE);
    for (let page = 0; page < FILE_PAGES; page++) {
      content.fill(page + 10, page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
    }
    this.#file = this.machine.createFile({ path: '/data', content }).id;
    const { backings } = this.machine.parts;
    this.#backing = backings.add({ kind: BACKING_KIND.PROCESS, fd: backingFile(), pid: 1 });
    this.#placedFile = createPlacedFile(this.machine, this.#backing);
    this.processes.push({ space: this.machine.createAddressSpace(), pages: new Map() });
  }

  apply(step: Operation): void {
    const process = this.processes[step.mm % this.processes.length]!;
    switch (step.op) {
      case 'fork':
        if (this.processes.length === MMS_MAX) return;
        this.#fork(process);
        return;
      case 'exit':
        if (this.processes.length === 1) return;
        this.processes.splice(this.processes.indexOf(process), 1);
        process.space.exit();
        return;
      case 'merge':
        this.machine.mergePages();
        return;
      case 'reclaim': {
        const before = this.#backedEntries();
        this.machine.reclaim(step.count * PAGE_SIZE);
        if (this.#backedEntries() > before) this.seen.add('pages put back');
        return;
      }
      case 'write':
      case 'read':
        this.#access(process, step);
        return;
      default:
        this.#change(process, step);
    }
  }

  #fork({ space, pages }: Process): void {
    try {
      this.processes.push({ space: space.fork(), pages: model.fork(pages) });
    } catch (error) {
      if (!(error instanceof MmdumpError) || error.code !== 'ENOMEM') throw error;
    }
  }

  /** Accesses page by page, because an access may fail half-way. */
  #access({ space, pages }: Process, step: Operation & { op: 'write' | 'read' }): void {
    const last = Math.min(this.#limit, step.page + step.count);
    const bytes = new Uint8Array(PAGE_SIZE);
    for (let page = step.page; page < last; page++) {
      const at = addressAt(page);
      const there = pages.get(page);
      const write = step.op === 'write';
      const found = write
        ? codeOf(() => space.fill(at, PAGE_SIZE, step.value))
        : codeOf(() => space.read(at, bytes));
      if (found === 'ENOMEM') return; // nothing is left to reclaim, and nothing changed
      expect(found).toBe(model.accessOutcome(there, write));
      if (found !== 'nothing') return;
      if (write) model.store(there!, step.value);
      else assertAll(bytes, model.contentOf(there!), page);
    }
  }

  #change(
    process: Process,
    step: Operation & { op: 'map' | 'unmap' | 'protect' | 'move' | 'advise' },
  ) {
    const { space, pages } = process;
    const { page: from } = step;
    const to = Math.min(this.#limit, from + step.count);
    const length = (to - from) * PAGE_SIZE;
    const at = addressAt(from);
    switch (step.op) {
      case 'map':
        this.#map(process, step.what, from, to, step.prot);
        return;
      case 'unmap':
        space.munmap(at, length);
        model.unmap(pages, from, to);
        return;
      case 'protect':
        expect(codeOf(() => space.mprotect(at, length, step.prot))).toBe(
          model.protect(pages, from, to, step.prot),
        );
        return;
      case 'move': {
        const isApart = step.to + (to - from) <= from || to <= step.to;
        const fits = step.to + (to - from) <= this.#limit;
        if (!isApart || !fits) return;
        const flags = ['maymove', 'fixed'] as const;
        expect(codeOf(() => space.mremap(at, length, length, flags, addressAt(step.to)))).toBe(
          model.move(pages, from, to - from, step.to),
        );
        return;
      }
      default:
        expect(codeOf(() => space.madvise(at, length, step.advice))).toBe(
          model.advise(pages, from, to, (page) => {
            if (step.advice === 'dontneed') model.dontNeed(page);
            else if (step.advice === 'guard_install') model.guard(page);
            else if (step.advice === 'guard_remove') page.isGuard = false;
          }),
        );
    }
  }

  #map(
    { space, pages }: Process,
    what: string,
    from: number,
    wanted: number,
    prot: model.ModelProt,
  ): void {
    const isShared = what.startsWith('shared');
    const flags = [isShared ? 'shared' : 'private', 'fixed'] as const;
    if (what.endsWith('file')) {
      const offset = from % 7;
      const to = Math.min(wanted, from + FILE_PAGES - offset); // not beyond the end of the file
      const length = (to - from) * PAGE_SIZE;
      const isPlaced = what.endsWith('placed file');
      const file = isPlaced ? this.#placedFile : this.#file;
      const object = isPlaced ? this.#placed : this.#object;
      const address = addressAt(from);
      space.mmap({ address, length, prot, flags, file, offset: offset * PAGE_SIZE });
      model.map(pages, from, to, { prot, isShared, object, offset });
      if (isPlaced) this.seen.add('placed files');
      return;
    }
    const length = (wanted - from) * PAGE_SIZE;
    space.mmap({ address: addressAt(from), length, prot, flags: [...flags, 'anonymous'] });
    const object = isShared ? { initial: () => 0, pages: new Map<number, number>() } : null;
    model.map(pages, from, wanted, { prot, isShared, object, offset: 0 });
    if (what === 'backed') this.#back(space, pages, from, wanted);
  }

  /** Lets new pages lie in a backing. What has no place in page tables any more stays zeros. */
  #back({ mm, reference }: AddressSpace, pages: model.ModelMm, from: number, to: number): void {
    runOn(mm, reference, 'write', (own) => {
      for (let page = from; page < to; page++) {
        const vpn = vpnOf(addressAt(page));
        const place = page % BACKING_PAGES;
        const failed = codeOf(() => {
          prepareAnonVma(own, own.vmas.lookup(vpn));
          mapBacked(own, vpn, 1, this.#backing, place);
        });
        if (failed === 'ENOMEM') return;
        expect(failed).toBe('nothing');
        pages.get(page)!.own = place + 1;
      }
    });
    this.seen.add('backed pages');
  }

  /** Ends all processes and the file in memory: nothing keeps its pages any more. */
  end(): void {
    for (const { space } of this.processes) space.exit();
    const { parts } = this.machine;
    const context = cacheContext(parts, parts.thread);
    holdGate(parts, parts.thread, () => unlinkFile(context, this.#placedFile));
    holdGate(parts, parts.thread, () => putFile(context, this.#placedFile));
  }

  #backedEntries(): number {
    const all = this.processes.flatMap(({ space }) => leaves(this.machine, space));
    return all.filter(({ low }) => isBacked(low)).length;
  }

  assertTrue(): void {
    assertTablesTrue(this.machine);
    this.#notice();
    for (const { space, pages } of this.processes) assertCovered(space, pages);
  }

  /** What the run encountered, to prove that the runs test something. */
  readonly seen: Set<string> = new Set();

  #notice(): void {
    const { machine, seen } = this;
    if (machine.swap.free < machine.swap.total) seen.add('swapped pages');
    for (let pfn = 2; pfn < machine.parts.device.first; pfn++) {
      const flags = machine.parts.pages.flags(pfn);
      if (machine.parts.pages.references(pfn) === 0) continue;
      if ((flags & PG.KSM) !== 0) seen.add('merged pages');
      if ((flags & PG.HUGE) !== 0) seen.add('huge pages');
      if ((flags & PG.ZERO) !== 0) seen.add('the huge zero page');
      if ((flags & PG.ANON) !== 0 && machine.parts.pages.mapCount(pfn) > 2) seen.add('forks');
    }
  }

  /** Checks what every process sees at the end, page by page. */
  assertContent(): void {
    const bytes = new Uint8Array(PAGE_SIZE);
    for (const { space, pages } of this.processes) {
      for (const [page, content] of pages) {
        const outcome = codeOf(() => space.read(addressAt(page), bytes));
        if (outcome === 'ENOMEM') continue;
        expect(outcome).toBe(model.accessOutcome(content, false));
        if (outcome === 'nothing') assertAll(bytes, model.contentOf(content), page);
      }
    }
  }
}

function assertAll(bytes: Uint8Array, value: number, page: number): void {
  const at = bytes.findIndex((byte) => byte !== value);
  if (at >= 0) throw new Error(`page ${page}, byte ${at}: ${bytes[at]}, expected ${value}`);
}

function assertCovered(space: AddressSpace, pages: model.ModelMm): void {
  let covered = 0;
  for (const { start, end, prot } of space.vmas()) {
    for (let at = start; at < end; at += PAGE_SIZE) {
      const page = pages.get((at - BASE) / PAGE_SIZE);
      const found = prot.slice(0, 3).replaceAll('-', '') + prot[3];
      const expected = page === undefined ? 'nothing' : page.prot + (page.isShared ? 's' : 'p');
      if (found !== expected) throw new Error(`page at ${at}: ${found}, expected ${expected}`);
      covered++;
    }
  }
  expect(covered).toBe(pages.size);
}
