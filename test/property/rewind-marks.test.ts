/**
 * Invariant checked, for random histories of two address spaces that map pages of one adopted bank:
 * after a rewind that trusts marks, all pages that the snapshot has copied have the bytes that they
 * had when it was taken, whoever has stored meanwhile, taken dirty pages, mapped the pages or
 * rewound another snapshot. The owner marks what it stores.
 *
 * The mutants are rules of `adopted-marks.ts` that are not obeyed. Each of them has to be found.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../src/mmu/machine/address-space.ts';
import type { Snapshot } from '../../src/mmu/machine/snapshot.ts';
import type { AdoptedMarks } from '../../src/mmu/physical/adopted-marks.ts';
import { MiB, PAGE_SIZE } from '../../src/shared/page.ts';
import { testMachine } from '../support/machine/machine.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const PAGES = 6;
const AT = 0x4000_0000;

const page = fc.nat({ max: PAGES - 1 });
const space = fc.nat({ max: 1 });
const value = fc.integer({ min: 1, max: 255 });
const operation = fc.oneof(
  fc.record({ op: fc.constantFrom('own' as const, 'store' as const), page, space, value }),
  fc.record({
    op: fc.constantFrom('map' as const, 'unmap' as const, 'take' as const),
    page: fc.constant(0),
    space,
    value,
  }),
  fc.record({
    op: fc.constantFrom('snapshot' as const, 'rewind' as const, 'rewind' as const),
    page: fc.constant(0),
    space: fc.constant(0),
    value,
  }),
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

/** Runs a history, and returns the page that is wrong after a rewind. */
function run(steps: readonly Operation[], mutate: (marks: AdoptedMarks) => void): string | null {
  const memory = new SharedArrayBuffer(PAGES * PAGE_SIZE);
  const marks = new Uint8Array(new SharedArrayBuffer(PAGES));
  const banks = [{ memory, dirty: marks }];
  const machine = testMachine({ memory: 8 * MiB, maxAddressSpaces: 16, banks });
  mutate(machine.parts.adoptedMarks!);
  const ram = new Uint8Array(memory);
  const mms = [machine.createAddressSpace(), machine.createAddressSpace()];
  const map = (mm: AddressSpace): void => {
    mm.mapFrames({ length: PAGES * PAGE_SIZE, prot: 'rw', address: AT, flags: ['fixed'] });
  };
  map(mms[0]!);
  const taken: { snapshot: Snapshot; bytes: Uint8Array | undefined }[] = [];
  const isMapped = (mm: AddressSpace): boolean => mm.vmas().length > 0;
  try {
    for (const step of steps) {
      const mm = mms[step.space]!;
      const at = step.page * PAGE_SIZE;
      if (step.op === 'own') {
        ram[at] = step.value;
        marks[step.page] = 1;
      } else if (step.op === 'store') {
        if (isMapped(mm)) mm.fill(AT + at, 1, step.value);
      } else if (step.op === 'map') map(mm);
      else if (step.op === 'unmap') mm.munmap(AT, PAGES * PAGE_SIZE);
      else if (step.op === 'take') mm.dirty.take();
      else if (step.op === 'snapshot') {
        if (taken.length === 4) continue;
        const snapshot = machine.snapshot({ spaces: [mm], trustMarks: true });
        taken.push({ snapshot, bytes: isMapped(mm) ? ram.slice() : undefined });
      } else if (taken.length > 0) {
        const { snapshot, bytes } = taken[step.value % taken.length]!;
        snapshot.rewind();
        if (bytes === undefined) continue;
        const wrong = ram.findIndex((byte, index) => byte !== bytes[index]);
        if (wrong >= 0) return `byte ${wrong}`;
      }
    }
    return null;
  } finally {
    machine.close();
  }
}

const steps = fc.array(operation, { minLength: 10, maxLength: 60, size: 'max' });

const MUTANTS: { readonly [name: string]: (marks: AdoptedMarks) => void } = {
  'a mapping is not noted': (marks) => {
    marks.noteMapping = () => {};
  },
  'what a rewind changes is not noted': (marks) => {
    marks.noteChange = () => {};
  },
  'a mark is cleared without a step': (marks) => {
    const settle = marks.settle.bind(marks);
    marks.settle = (pfn, isSoft, since) => settle(pfn, isSoft, since, 0);
  },
  'frames that are mapped twice are trusted': (marks) => {
    marks.isKnown = () => true;
  },
};

describe('a rewind that trusts marks', () => {
  it('brings all adopted pages back', () => {
    fc.assert(
      fc.property(steps, (history) => {
        expect(run(history, () => {})).toBeNull();
      }),
      { numRuns: IS_LONG ? 3000 : 60 },
    );
  });

  it.each(Object.entries(MUTANTS))('finds the mutant: %s', (_name, mutate) => {
    const { failed } = fc.check(
      fc.property(steps, (history) => run(history, mutate) === null),
      { numRuns: 500, endOnFailure: true },
    );
    expect(failed).toBe(true);
  });
});
