/**
 * Invariants checked, after every operation of a random history of an address space and its fork:
 * - `dirty.take()` lists exactly the pages that the model calls dirty, and none of them twice;
 * - every page whose bytes differ from a full copy of the last `take` is listed, or shows zeros
 *   again after MADV_DONTNEED.
 *
 * The model knows, for each page, whether its mapping is new and whether its entry was written. A
 * mapping is as new as its newest page. The machine is short of memory in one shape, so that pages
 * go to swap and come back.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../src/mmu/machine/address-space.ts';
import type { Machine } from '../../src/mmu/machine/machine.ts';
import { GRANULE_PAGES, MiB, PAGE_SIZE } from '../../src/shared/page.ts';
import { codeOf, testMachine } from '../support/machine/machine.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const PAGES = 48;
/** Pages that are free in a machine that is short of memory, its page tables included. */
const LEFT = 16;
const BASE = 0x4000_0000 + (GRANULE_PAGES - 20) * PAGE_SIZE; // a border of granules lies inside

interface ModelPage {
  isNew: boolean;
  /** Whether an entry is there, and whether its page was written since the last take. */
  isPresent: boolean;
  isWritten: boolean;
}
type Model = Map<number, ModelPage>;

const page = fc.integer({ min: 0, max: PAGES - 1 });
const range = { page, count: fc.integer({ min: 1, max: 12 }) };
const operation = fc.oneof(
  fc.record({ op: fc.constant('map' as const), ...range }),
  fc.record({ op: fc.constant('unmap' as const), ...range }),
  fc.record({ op: fc.constant('write' as const), ...range }),
  fc.record({ op: fc.constant('write' as const), ...range }),
  fc.record({ op: fc.constant('read' as const), ...range }),
  fc.record({ op: fc.constant('drop' as const), ...range }),
  fc.record({ op: fc.constant('pageout' as const), ...range }),
  fc.record({ op: fc.constant('protect' as const), ...range }),
  fc.record({ op: fc.constant('move' as const), ...range, to: page }),
  fc.record({ op: fc.constant('mark' as const), ...range }),
  fc.record({ op: fc.constant('fork' as const), page }),
  fc.record({ op: fc.constant('take' as const), page }),
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

const at = (index: number): number => BASE + index * PAGE_SIZE;

/** One address space, its model, and a full copy of its bytes at the last take. */
/** Leaves room for page tables and a few pages: what is locked stays in memory. */
function takeMemory(machine: Machine): void {
  const other = machine.createAddressSpace();
  const length = machine.memory.free - LEFT * PAGE_SIZE;
  const at = other.mmap({ length, prot: 'rw', flags: ['private', 'anonymous'] });
  other.mlock(at, length);
}

class Run {
  mm: AddressSpace;
  model: Model = new Map();
  copy = new Map<number, string>();
  value = 0;

  readonly #machine: Machine;

  constructor(isShort: boolean) {
    const memory = isShort ? MiB : 16 * MiB;
    const machine = testMachine({ memory, swap: 4 * MiB, zeroPage: true, maxAddressSpaces: 64 });
    this.#machine = machine;
    this.mm = machine.createAddressSpace();
    if (isShort) takeMemory(machine);
  }

  /** Bytes in swap. */
  get swapped(): number {
    return this.#machine.swap.total - this.#machine.swap.free;
  }

  bytes(): Map<number, string> {
    const found = new Map<number, string>();
    for (const [index, { isPresent }] of this.model) {
      const bytes = new Uint8Array(PAGE_SIZE);
      if (isPresent) found.set(index, `${this.#load(index, bytes)}`);
    }
    return found;
  }

  #load(index: number, bytes: Uint8Array): number {
    this.mm.read(at(index), bytes);
    return bytes[0]!;
  }

  /** A mapping is new if one of its pages is. */
  settle(): void {
    for (const { start, end } of this.mm.vmas()) {
      const all: ModelPage[] = [];
      for (let address = start; address < end; address += PAGE_SIZE) {
        all.push(this.model.get((address - BASE) / PAGE_SIZE)!);
      }
      if (all.some(({ isNew }) => isNew)) for (const one of all) one.isNew = true;
    }
  }

  each(first: number, count: number, visit: (page: ModelPage, index: number) => void): void {
    for (let index = first; index < Math.min(PAGES, first + count); index++) {
      const found = this.model.get(index);
      if (found !== undefined) visit(found, index);
    }
  }

  step(step: Operation): void {
    const { mm, model } = this;
    if (step.op === 'take' || step.op === 'fork') {
      if (step.op === 'take') this.take();
      else this.fork();
      return;
    }
    const count = Math.min(step.count, PAGES - step.page);
    const length = count * PAGE_SIZE;
    const address = at(step.page);
    switch (step.op) {
      case 'map':
        mm.mmap({ length, prot: 'rw', flags: ['private', 'anonymous', 'fixed'], address });
        for (let index = step.page; index < step.page + count; index++) {
          model.set(index, { isNew: true, isPresent: false, isWritten: false });
        }
        break;
      case 'unmap':
        mm.munmap(address, length);
        for (let index = step.page; index < step.page + count; index++) model.delete(index);
        break;
      case 'write':
        this.each(step.page, count, (one, index) => {
          mm.fill(at(index), 1, 1 + (this.value++ % 255));
          one.isPresent = true;
          one.isWritten = true;
        });
        break;
      case 'read':
        this.each(step.page, count, (one, index) => {
          mm.read(at(index), new Uint8Array(1));
          one.isPresent = true;
        });
        break;
      case 'drop':
        codeOf(() => mm.madvise(address, length, 'dontneed'));
        this.each(step.page, count, (one) => {
          one.isPresent = false;
          one.isWritten = false;
        });
        break;
      case 'pageout':
        codeOf(() => mm.madvise(address, length, 'pageout'));
        break;
      case 'protect':
        codeOf(() => mm.mprotect(address, length, 'r'));
        codeOf(() => mm.mprotect(address, length, 'rw'));
        break;
      case 'mark':
        codeOf(() => mm.dirty.mark(address, length));
        this.each(step.page, count, (one) => {
          one.isWritten ||= one.isPresent;
        });
        break;
      case 'move':
        this.#move(step.page, step.to, count);
    }
    this.settle();
  }

  /** A mapping that was only read has no entries in the child (vma_needs_copy). */
  fork(): void {
    const before = this.mm;
    this.mm = before.fork();
    before.exit();
    const { vmas } = this.mm.mm;
    for (const [index, one] of this.model) {
      if (vmas.anonVma(vmas.lookup(at(index) / PAGE_SIZE)) !== 0) continue;
      one.isPresent = false;
      one.isWritten = false;
    }
  }

  #move(from: number, to: number, count: number): void {
    const { model } = this;
    const isApart = from + count <= to || to + count <= from;
    if (!isApart || to + count > PAGES || !model.has(from)) return;
    const length = count * PAGE_SIZE;
    this.mm.mremap(at(from), length, length, ['maymove', 'fixed'], at(to));
    for (let index = 0; index < count; index++) {
      const moved = model.get(from + index);
      // Holes between mappings stay holes, and what lies at their new place stays.
      if (moved === undefined) continue;
      model.delete(from + index);
      model.set(to + index, { ...moved, isWritten: moved.isPresent });
    }
  }

  take(): void {
    const listed: number[] = [];
    for (const { start, end } of this.mm.dirty.take()) {
      for (let address = start; address < end; address += PAGE_SIZE) {
        listed.push((address - BASE) / PAGE_SIZE);
      }
    }
    const known = [...this.model].filter(([, { isNew, isWritten }]) => isNew || isWritten);
    expect(listed).toEqual(known.map(([index]) => index).sort((a, b) => a - b));
    const now = this.bytes();
    for (const [index, byte] of now) {
      if (byte !== '0' && byte !== this.copy.get(index)) expect(listed).toContain(index);
    }
    this.copy = now;
    for (const one of this.model.values()) {
      one.isNew = false;
      one.isWritten = false;
    }
  }
}

describe('dirty pages', () => {
  it.each([
    ['with memory', false],
    ['short of memory', true],
  ] as const)('are those of a model: %s', (_name, isShort) => {
    let pressed = 0; // steps that had to put pages into swap
    fc.assert(
      fc.property(fc.array(operation, { minLength: 20, maxLength: 80, size: 'max' }), (steps) => {
        const run = new Run(isShort);
        run.step({ op: 'map', page: 0, count: PAGES });
        for (const step of steps) {
          const before = run.swapped;
          run.step(step);
          if (step.op !== 'pageout' && run.swapped > before) pressed++;
        }
        run.take();
      }),
      { numRuns: IS_LONG ? 2000 : 40 },
    );
    if (isShort) expect(pressed).toBeGreaterThan(0);
  });
});
