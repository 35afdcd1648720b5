/**
 * Invariants checked, over random histories of forked address spaces and their snapshots:
 * - every page of every address space has the bytes and the permission of the model, also after a
 *   rewind to any snapshot, in any order, whatever was mapped, moved, swapped or merged in between;
 * - the VMAs are those of the model; LDT, fields and auxiliary vector come back;
 * - counts of frames, swap slots and tables agree with the page tables, those of snapshots included;
 *   no leaf of a private page is writable while another leaf shows its frame;
 * - at the end, when everything was dropped, all frames and slots are free.
 *
 * The model is a full copy of all bytes and mappings per snapshot.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../src/mmu/machine/address-space.ts';
import type { Machine } from '../../src/mmu/machine/machine.ts';
import type { Snapshot } from '../../src/mmu/machine/snapshot.ts';
import { GRANULE_PAGES, KiB, MiB, PAGE_SIZE } from '../../src/shared/page.ts';
import { assertTablesTrue } from '../support/machine/invariants.ts';
import { codeOf, freeFrames, testMachine } from '../support/machine/machine.ts';
import * as model from '../support/machine/model-mm.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
/** Two borders of granules lie inside: a whole granule is between them. */
const BEFORE = 12;

interface Shape {
  readonly name: string;
  readonly pages: number;
  readonly memory: number;
  readonly runs: number;
  readonly steps: number;
}
const SHAPES: readonly Shape[] = [
  { name: 'few pages', pages: 24, memory: 16 * MiB, runs: 10, steps: 50 },
  { name: 'short of memory', pages: 60, memory: MiB + 256 * KiB, runs: 8, steps: 50 },
  { name: 'whole granules', pages: GRANULE_PAGES + 24, memory: 32 * MiB, runs: 1, steps: 40 },
];

const OPERATIONS = [
  ...['map', 'unmap', 'write', 'write', 'write', 'read', 'drop', 'guard', 'pageout', 'hugepage'],
  ...['mergeable', 'merge', 'reclaim', 'protect', 'move', 'auxv', 'fork', 'exit', 'snapshot'],
  ...['snapshot', 'rewind', 'rewind', 'rewind', 'forget'],
];

interface Operation {
  readonly op: string;
  /** Which address space or snapshot, modulo their number. */
  readonly which: number;
  readonly page: number;
  readonly count: number;
  /** Only of 'move': where to. */
  readonly to: number;
  readonly prot: model.ModelProt;
}

function operations({ pages }: Shape): fc.Arbitrary<Operation> {
  const page = fc.integer({ min: 0, max: pages - 1 });
  return fc.record({
    op: fc.constantFrom(...OPERATIONS),
    which: fc.nat(20),
    page,
    count: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constant(pages)),
    to: page,
    prot: fc.constantFrom('r' as const, 'rw' as const, '' as const),
  });
}

interface Life {
  readonly space: AddressSpace;
  pages: model.ModelMm;
  auxv: number;
}
interface Kept {
  readonly snapshot: Snapshot;
  readonly lives: readonly {
    readonly life: Life;
    readonly pages: model.ModelMm;
    readonly auxv: number;
  }[];
}

/** The letters of a private mapping in a maps file. */
function lettersOf(prot: model.ModelProt): string {
  return `${prot.includes('r') ? 'r' : '-'}${prot.includes('w') ? 'w' : '-'}-p`;
}

class Run {
  readonly machine: Machine;
  readonly lives: Life[] = [];
  readonly kept: Kept[] = [];
  readonly #shape: Shape;
  readonly #base: number;
  #value = 0;
  readonly met = new Set<string>();

  constructor(shape: Shape) {
    this.#shape = shape;
    this.#base = 0x4000_0000 + (GRANULE_PAGES - BEFORE) * PAGE_SIZE;
    const { memory } = shape;
    this.machine = testMachine({ memory, swap: 8 * MiB, maxAddressSpaces: 24 });
    this.lives.push({ space: this.machine.createAddressSpace(), pages: new Map(), auxv: 0 });
  }

  at(page: number): number {
    return this.#base + page * PAGE_SIZE;
  }

  step(step: Operation): void {
    const life = this.lives[step.which % Math.max(1, this.lives.length)];
    switch (step.op) {
      case 'merge':
        codeOf(() => this.machine.mergePages());
        return;
      case 'reclaim':
        codeOf(() => this.machine.reclaim(8 * PAGE_SIZE));
        return;
      case 'rewind':
        this.#rewind(step.which);
        return;
      case 'forget':
        this.#forget(step.which);
        return;
      case 'snapshot':
        this.#snapshot(step.which);
        return;
    }
    if (life === undefined) return;
    switch (step.op) {
      case 'fork':
        if (this.lives.length < 4) {
          this.lives.push({ ...life, space: life.space.fork(), pages: model.fork(life.pages) });
        }
        return;
      case 'exit':
        if (this.lives.length < 2) return;
        life.space.exit();
        this.lives.splice(this.lives.indexOf(life), 1);
        return;
      case 'auxv':
        life.auxv = ++this.#value & 0xff;
        life.space.setAuxv(Uint8Array.of(life.auxv));
        life.space.modifyLdt({ entryNumber: 1, baseAddr: life.auxv, limit: 1 });
        return;
    }
    this.#change(life, step);
  }

  #change({ space, pages }: Life, step: Operation): void {
    const from = step.page;
    const count = Math.min(step.count, this.#shape.pages - from);
    const to = from + count;
    const address = this.at(from);
    const length = count * PAGE_SIZE;
    switch (step.op) {
      case 'map':
        space.mmap({ length, prot: 'rw', flags: ['private', 'anonymous', 'fixed'], address });
        model.map(pages, from, to, { prot: 'rw', isShared: false, object: null, offset: 0 });
        break;
      case 'unmap':
        space.munmap(address, length);
        model.unmap(pages, from, to);
        break;
      case 'protect':
        codeOf(() => space.mprotect(address, length, step.prot));
        model.protect(pages, from, to, step.prot);
        break;
      case 'drop':
        codeOf(() => space.madvise(address, length, 'dontneed'));
        model.advise(pages, from, to, model.dontNeed);
        break;
      case 'guard':
        if (count > 9) return;
        if (codeOf(() => space.madvise(address, length, 'guard_install')) === 'nothing') {
          model.advise(pages, from, to, model.guard);
        } else model.advise(pages, from, to, model.guard);
        break;
      case 'pageout':
      case 'hugepage':
      case 'mergeable':
        codeOf(() => space.madvise(address, length, step.op as 'pageout'));
        break;
      case 'move': {
        const isApart = to <= step.to || step.to + count <= from;
        if (!isApart || step.to + count > this.#shape.pages || !pages.has(from)) return;
        space.mremap(address, length, length, ['maymove', 'fixed'], this.at(step.to));
        model.move(pages, from, count, step.to);
        break;
      }
      case 'read':
      case 'write':
        for (let page = from; page < to; page++)
          this.#access(space, pages, page, step.op as 'read');
    }
  }

  #access(space: AddressSpace, pages: model.ModelMm, page: number, op: 'read' | 'write'): void {
    const found = pages.get(page);
    const value = 1 + (this.#value++ % 5); // few values, so that pages merge
    const bytes = new Uint8Array(1);
    const outcome = codeOf(() => {
      if (op === 'write') space.fill(this.at(page), PAGE_SIZE, value);
      else space.read(this.at(page), bytes);
    });
    expect(outcome).toBe(model.accessOutcome(found, op === 'write'));
    if (outcome !== 'nothing' || found === undefined) return;
    if (op === 'write') model.store(found, value);
    else expect(bytes[0]).toBe(model.contentOf(found));
  }

  #snapshot(which: number): void {
    if (this.kept.length === 3) this.#forget(which);
    const isAll = which % 2 === 0;
    const lives = isAll ? [...this.lives] : [this.lives[which % this.lives.length]!];
    const snapshot = this.machine.snapshot(isAll ? {} : { spaces: [lives[0]!.space] });
    this.kept.push({
      snapshot,
      lives: lives.map((life) => ({ life, pages: model.fork(life.pages), auxv: life.auxv })),
    });
  }

  #rewind(which: number): void {
    const kept = this.kept[which % Math.max(1, this.kept.length)];
    if (kept === undefined) return;
    const isWhole = kept.lives.every(({ life }) => this.lives.includes(life));
    const outcome = codeOf(() => kept.snapshot.rewind());
    expect(outcome).toBe(isWhole ? 'nothing' : 'MM_GONE');
    if (!isWhole) return;
    this.met.add('rewinds');
    for (const { life, pages, auxv } of kept.lives) {
      life.pages = model.fork(pages);
      life.auxv = auxv;
    }
  }

  #forget(which: number): void {
    if (this.kept.length === 0) return;
    const [kept] = this.kept.splice(which % this.kept.length, 1);
    kept!.snapshot.drop();
    expect(kept!.snapshot.isDropped).toBe(true);
  }

  /** Compares everything with the model. Reading faults pages in, so it is not done at each step. */
  check(): void {
    for (const { space, pages, auxv } of this.lives) {
      const mapped = space.vmas().flatMap(({ start, end, prot }) => {
        const first = (start - this.#base) / PAGE_SIZE;
        const count = (end - start) / PAGE_SIZE;
        return Array.from({ length: count }, (_, page) => `${first + page} ${prot}`);
      });
      const known = [...pages].sort(([a], [b]) => a - b);
      expect(mapped).toEqual(known.map(([page, { prot }]) => `${page} ${lettersOf(prot)}`));
      for (const [page] of known) this.#access(space, pages, page, 'read');
      expect([...space.auxv()]).toEqual(auxv === 0 ? [] : [auxv]);
      expect(space.readLdt().length).toBe(auxv === 0 ? 0 : 16);
      if (auxv !== 0) expect(space.readLdt()[10]).toBe(auxv);
    }
  }

  end(): void {
    for (const { snapshot } of this.kept) snapshot.drop();
    for (const { space } of this.lives) space.exit();
  }
}

describe('snapshots', () => {
  it.each(SHAPES.map((shape) => [shape.name, shape] as const))(
    'bring back what was there: %s',
    (_name, shape) => {
      const met = new Set<string>();
      fc.assert(
        fc.property(
          fc.array(operations(shape), { minLength: 20, maxLength: shape.steps, size: 'max' }),
          fc.infiniteStream(fc.nat(7)),
          (steps, checks) => {
            const run = new Run(shape);
            const free = freeFrames(run.machine);
            const begin: Operation = {
              ...{ op: 'map', which: 0, page: 0, count: shape.pages },
              ...{ to: 0, prot: 'rw' },
            };
            run.step(begin);
            run.step({ ...begin, op: 'write' });
            for (const step of steps) {
              run.step(step);
              assertTablesTrue(run.machine);
              if (step.op === 'rewind' || checks.next().value === 0) run.check();
            }
            run.check();
            run.end();
            assertTablesTrue(run.machine);
            expect(freeFrames(run.machine)).toBe(free + 1); // the first pgd
            for (const what of run.met) met.add(what);
          },
        ),
        { numRuns: IS_LONG ? shape.runs * 50 : shape.runs },
      );
      expect([...met]).toContain('rewinds');
    },
  );
});
