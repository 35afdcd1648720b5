/**
 * Invariants checked, after every operation of a random history:
 *  - an access succeeds exactly where the model has a page with that permission, and returns its
 *    bytes
 *  - VMAs are sorted, disjoint, maximally merged, and cover exactly the model's pages
 *  - every present leaf lies in a VMA, and the counts of its frame equal the number of leaves that
 *    map it
 *  - free frames + used frames = all, and everything is free once all is unmapped
 *
 * The model is a Map from page to protection and bytes. It knows nothing of frames and tables.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../src/mmu/machine/address-space.ts';
import type { Machine } from '../../src/mmu/machine/machine.ts';
import { MiB, PAGE_SIZE } from '../../src/shared/page.ts';
import { assertTablesTrue } from '../support/machine/invariants.ts';
import { codeOf, freeFrames, testMachine } from '../support/machine/machine.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';

const BASE = 0x4000_0000;
/** Two granules and a bit, so that operations cross granules. */
const PAGES = 1100;
const PROTS = ['', 'r', 'rw', 'rx'] as const;

interface ModelPage {
  prot: (typeof PROTS)[number];
  /** First byte of the page; the rest equals it. */
  value: number;
}

type Model = Map<number, ModelPage>;

const page = fc.integer({ min: 0, max: PAGES - 1 });
const count = fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: PAGES }));
const prot = fc.constantFrom(...PROTS);
const operation = fc.oneof(
  fc.record({ op: fc.constant('map' as const), page, count, prot, huge: fc.boolean() }),
  fc.record({ op: fc.constant('unmap' as const), page, count }),
  fc.record({ op: fc.constant('protect' as const), page, count, prot }),
  fc.record({ op: fc.constant('write' as const), page, value: fc.integer({ min: 0, max: 255 }) }),
  fc.record({ op: fc.constant('read' as const), page }),
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

function addressAt(index: number): number {
  return BASE + index * PAGE_SIZE;
}

function apply(space: AddressSpace, model: Model, step: Operation): void {
  const at = addressAt(step.page);
  if (step.op === 'write') {
    const outcome = codeOf(() => space.fill(at, PAGE_SIZE, step.value));
    const there = model.get(step.page);
    expect(outcome).toBe(there?.prot === 'rw' ? 'nothing' : 'SIGSEGV');
    if (there?.prot === 'rw') there.value = step.value;
    return;
  }
  if (step.op === 'read') {
    const bytes = new Uint8Array(PAGE_SIZE);
    const there = model.get(step.page);
    const isReadable = there !== undefined && there.prot !== '';
    expect(codeOf(() => space.read(at, bytes))).toBe(isReadable ? 'nothing' : 'SIGSEGV');
    if (isReadable) expect(bytes.every((byte) => byte === there.value)).toBe(true);
    return;
  }
  const last = Math.min(PAGES, step.page + step.count);
  const length = (last - step.page) * PAGE_SIZE;
  if (step.op === 'map') {
    const flags = ['private', 'anonymous', 'fixed'] as const;
    space.mmap({ address: at, length, prot: step.prot, flags });
    if (step.huge) space.madvise(at, length, 'hugepage');
    for (let index = step.page; index < last; index++) {
      model.set(index, { prot: step.prot, value: 0 });
    }
  } else if (step.op === 'unmap') {
    space.munmap(at, length);
    for (let index = step.page; index < last; index++) model.delete(index);
  } else {
    const outcome = codeOf(() => space.mprotect(at, length, step.prot));
    let hole = step.page;
    while (hole < last && model.has(hole)) {
      model.get(hole)!.prot = step.prot;
      hole++;
    }
    expect(outcome).toBe(hole === last ? 'nothing' : 'ENOMEM');
  }
}

function assertVmas(space: AddressSpace, model: Model): void {
  const vmas = space.vmas();
  const covered = new Map<number, string>();
  let before: (typeof vmas)[number] | undefined;
  for (const vma of vmas) {
    expect(vma.start).toBeLessThan(vma.end);
    if (before !== undefined) {
      expect(before.end).toBeLessThanOrEqual(vma.start);
      expect(before.end === vma.start && before.flags === vma.flags).toBe(false);
    }
    before = vma;
    for (let at = vma.start; at < vma.end; at += PAGE_SIZE) {
      covered.set((at - BASE) / PAGE_SIZE, vma.prot.slice(0, 3).replaceAll('-', ''));
    }
  }
  expect(covered.size).toBe(model.size);
  for (const [index, { prot: expected }] of model) expect(covered.get(index)).toBe(expected);
}

function assertContent(space: AddressSpace, model: Model): void {
  const first = new Uint8Array(1);
  for (const [index, { prot: access, value }] of model) {
    if (access === '') continue;
    space.read(addressAt(index), first);
    expect(first[0]).toBe(value);
  }
}

function runHistory(machine: Machine, steps: readonly Operation[]): void {
  const before = freeFrames(machine);
  const space = machine.createAddressSpace();
  const model: Model = new Map();
  for (const step of steps) {
    apply(space, model, step);
    assertVmas(space, model);
    assertTablesTrue(machine);
  }
  assertContent(space, model);
  machine.destroyAddressSpace(space);
  expect(freeFrames(machine)).toBe(before);
}

describe('an address space', () => {
  it('agrees with a map from page to bytes over random histories', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 40 }), (steps) => {
        runHistory(testMachine({ memory: 24 * MiB, maxAddressSpaces: 1 }), steps);
      }),
      { numRuns: IS_LONG ? 1200 : 80 },
    );
  });
});
