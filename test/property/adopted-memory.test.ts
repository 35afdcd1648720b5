/**
 * Invariants checked, after every operation of a random history on a machine with adopted memory:
 * - every page of every address space has the bytes of the model, and an access succeeds exactly
 *   where the model allows it;
 * - the caller's memory has the bytes of the model: no operation but a store changes it;
 * - counts, VMAs and lists of free frames agree with the page tables.
 *
 * The model knows three things: what the caller's memory holds, for each page of an mm its place
 * (a page of the caller's memory, or bytes of its own), and its protection.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../src/mmu/machine/address-space.ts';
import type { Machine } from '../../src/mmu/machine/machine.ts';
import { MiB, PAGE_SIZE } from '../../src/shared/page.ts';
import { Memory } from '../../src/shared/wasm.ts';
import { privateMemory } from '../support/machine/adopted.ts';
import { assertTablesTrue } from '../support/machine/invariants.ts';
import { codeOf, testMachine } from '../support/machine/machine.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const BASE = 0x4000_0000 + 500 * PAGE_SIZE; // a border of two granules lies among the pages
const PAGES = 24;
/** Pages of each of the two banks. */
const RAM = 16;

/** A place of the caller's memory: bank * RAM + page. Or a cell of the mm's own. */
type Place = number | { value: number };
interface ModelPage {
  writable: boolean;
  place: Place;
}
type Model = Map<number, ModelPage>;

const page = fc.integer({ min: 0, max: PAGES - 1 });
const count = fc.integer({ min: 1, max: 8 });
const value = fc.integer({ min: 0, max: 255 });
const prot = fc.constantFrom('r' as const, 'rw' as const);
const bank = fc.constantFrom(0, 1);
const frame = fc.integer({ min: 0, max: RAM - 8 });
const operation = fc.oneof(
  fc.record({ op: fc.constant('frames' as const), page, count, prot, bank, frame }),
  fc.record({ op: fc.constant('map' as const), page, count, prot }),
  fc.record({ op: fc.constant('unmap' as const), page, count }),
  fc.record({ op: fc.constant('protect' as const), page, count, prot }),
  fc.record({ op: fc.constant('drop' as const), page, count }),
  fc.record({ op: fc.constant('free' as const), page, count }),
  fc.record({ op: fc.constant('pageout' as const), page, count }),
  fc.record({ op: fc.constant('move' as const), page, count, to: page }),
  fc.record({ op: fc.constant('merge' as const), page, count }),
  fc.record({ op: fc.constant('write' as const), page, value }),
  fc.record({ op: fc.constant('store' as const), page: fc.nat(2 * RAM - 1), value }),
  fc.record({ op: fc.constant('fork' as const), page }),
  fc.record({ op: fc.constant('switch' as const), page }),
  fc.record({ op: fc.constant('reclaim' as const), page }),
  fc.record({ op: fc.constant('grow' as const), page }),
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

function at(index: number): number {
  return BASE + index * PAGE_SIZE;
}

interface Growing {
  readonly buffer: ArrayBufferLike;
  grow(pages: number): number;
}

/** A machine with two address spaces at most, and the model of everything. */
class Run {
  /** The memories, whose views are made anew each time, since memory that has grown is detached. */
  readonly #memories: readonly [SharedArrayBuffer | ArrayBuffer, Growing];
  readonly machine: Machine;
  readonly spaces: { space: AddressSpace; model: Model }[];
  /** First byte of each page of the caller's memory; the rest equals it. */
  readonly held = new Array<number>(2 * RAM).fill(0);
  #current = 0;

  constructor(isShared: boolean) {
    const wasm = isShared
      ? new Memory({ initial: 1, maximum: 64, shared: true })
      : privateMemory(1);
    const plain = new (isShared ? SharedArrayBuffer : ArrayBuffer)(RAM * PAGE_SIZE);
    this.#memories = [plain, wasm];
    this.machine = testMachine({ memory: 2 * MiB, swap: MiB, banks: [wasm, plain] });
    this.spaces = [{ space: this.machine.createAddressSpace(), model: new Map() }];
  }

  /** The caller's view of a bank. */
  ram(bank: number): Uint8Array {
    const [plain, wasm] = this.#memories;
    return new Uint8Array(bank === 0 ? wasm.buffer : plain, 0, RAM * PAGE_SIZE);
  }

  apply(step: Operation): void {
    const { space, model } = this.spaces[this.#current % this.spaces.length]!;
    const address = at(step.page);
    const pages = 'count' in step ? Math.min(step.count, PAGES - step.page) : 1;
    const length = pages * PAGE_SIZE;
    const each = (visit: (index: number, found: ModelPage | undefined) => void): void => {
      for (let index = step.page; index < step.page + pages; index++)
        visit(index, model.get(index));
    };
    switch (step.op) {
      case 'frames': {
        const where = { bank: step.bank, offset: step.frame * PAGE_SIZE };
        space.mapFrames({ ...where, length, prot: step.prot, address, flags: ['fixed'] });
        const first = step.bank * RAM + step.frame - step.page;
        each((index) => {
          model.set(index, { writable: step.prot === 'rw', place: first + index });
        });
        return;
      }
      case 'map':
        space.mmap({ length, prot: step.prot, address, flags: ['private', 'anonymous', 'fixed'] });
        each((index) => {
          model.set(index, { writable: step.prot === 'rw', place: { value: 0 } });
        });
        return;
      case 'unmap':
        space.munmap(address, length);
        each((index) => model.delete(index));
        return;
      case 'protect': {
        const code = codeOf(() => space.mprotect(address, length, step.prot));
        let isWhole = true;
        each((_index, found) => {
          isWhole &&= found !== undefined;
          if (isWhole && found !== undefined) found.writable = step.prot === 'rw';
        });
        expect(code).toBe(isWhole ? 'nothing' : 'ENOMEM');
        return;
      }
      case 'drop':
        codeOf(() => space.madvise(address, length, 'dontneed'));
        each((_index, found) => {
          if (found !== undefined) found.place = { value: 0 };
        });
        return;
      case 'free':
        // Reclaim may make zeros of the pages of the mm's own: so that it does not, write them.
        each((index, found) => {
          if (found === undefined || typeof found.place === 'number')
            codeOf(() => space.madvise(at(index), PAGE_SIZE, 'free'));
        });
        return;
      case 'pageout':
        codeOf(() => space.madvise(address, length, 'pageout'));
        return;
      case 'merge':
        codeOf(() => space.madvise(address, length, 'mergeable'));
        this.machine.mergePages();
        return;
      case 'move':
        this.#move(space, model, step.page, pages, step.to);
        return;
      case 'write': {
        const found = model.get(step.page);
        const code = codeOf(() => space.fill(address, PAGE_SIZE, step.value));
        expect(code).toBe(found?.writable === true ? 'nothing' : 'SIGSEGV');
        if (found?.writable !== true) return;
        if (typeof found.place === 'number') this.held[found.place] = step.value;
        else found.place.value = step.value;
        return;
      }
      case 'store': {
        const from = (step.page % RAM) * PAGE_SIZE;
        this.ram(step.page < RAM ? 0 : 1).fill(step.value, from, from + PAGE_SIZE);
        this.held[step.page] = step.value;
        return;
      }
      case 'fork':
        this.#fork(space, model);
        return;
      case 'grow':
        this.#memories[1].grow(1);
        return;
      case 'switch':
        this.#current++;
        return;
      case 'reclaim':
        codeOf(() => this.machine.reclaim(8 * PAGE_SIZE));
        return;
    }
  }

  #move(space: AddressSpace, model: Model, from: number, pages: number, to: number): void {
    const isApart = to + pages <= from || from + pages <= to;
    if (!isApart || to + pages > PAGES) return;
    const length = pages * PAGE_SIZE;
    const code = codeOf(() => space.mremap(at(from), length, length, ['maymove', 'fixed'], at(to)));
    const moved = Array.from({ length: pages }, (_, page) => model.get(from + page));
    if (code !== 'nothing') {
      // Like Linux, mremap unmaps the target, or not, before it finds what is wrong. What the
      // failed call did to the mappings is not the matter of this test.
      expect(moved.includes(undefined)).toBe(true);
      this.#adoptMappings(space, model);
      return;
    }
    for (const [page, found] of moved.entries()) {
      model.delete(from + page);
      if (found === undefined) model.delete(to + page);
      else model.set(to + page, found);
    }
  }

  /** Removes from the model what is not mapped any more. */
  #adoptMappings(space: AddressSpace, model: Model): void {
    const vmas = space.vmas();
    for (const index of [...model.keys()]) {
      if (!vmas.some(({ start, end }) => start <= at(index) && at(index) < end))
        model.delete(index);
    }
  }

  #fork(space: AddressSpace, model: Model): void {
    const old = this.spaces[1];
    if (old !== undefined) {
      old.space.exit();
      this.spaces.pop();
      if (old.space === space) return;
    }
    const copy: Model = new Map();
    for (const [index, { writable, place }] of model) {
      const bytes = typeof place === 'number' ? this.held[place]! : place.value;
      copy.set(index, { writable, place: { value: bytes } });
    }
    this.spaces.push({ space: space.fork(), model: copy });
  }

  check(): void {
    const bytes = new Uint8Array(PAGE_SIZE);
    for (const { space, model } of this.spaces) {
      for (let index = 0; index < PAGES; index++) {
        const found = model.get(index);
        const code = codeOf(() => space.read(at(index), bytes));
        expect(code).toBe(found === undefined ? 'SIGSEGV' : 'nothing');
        if (found === undefined) continue;
        const { place } = found;
        const expected = typeof place === 'number' ? this.held[place] : place.value;
        if (!bytes.every((byte) => byte === expected)) {
          expect([index, bytes[0], bytes.at(-1)]).toEqual([index, expected, expected]);
        }
      }
    }
    for (const [place, value] of this.held.entries()) {
      const from = (place % RAM) * PAGE_SIZE;
      const held = this.ram(place < RAM ? 0 : 1).subarray(from, from + PAGE_SIZE);
      if (!held.every((byte) => byte === value)) expect([place, held[0]]).toEqual([place, value]);
    }
    assertTablesTrue(this.machine);
  }
}

describe.each([
  ['shared', true],
  ['not shared', false],
])('a random history on adopted memory: %s', (_name, isShared) => {
  it('agrees with the model after every operation', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 40 }), (steps) => {
        const run = new Run(isShared);
        for (const step of steps) {
          run.apply(step);
          run.check();
        }
      }),
      { numRuns: IS_LONG ? 2000 : 60 },
    );
  });
});
