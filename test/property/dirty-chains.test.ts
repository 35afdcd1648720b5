/**
 * Invariants checked, for random histories that go on between the dumps of a chain, also with
 * snapshots, rewinds, swapping, merging and adopted memory:
 * - a dump that finds changes by dirty bits writes the same bytes as one that compares digests,
 *   whether the machine is frozen or the dump pauses for a snapshot (`pause: 'fork'`)
 * - the bits are used if and only if the parent was tracked and nobody has taken dirty pages since
 */
import fc from 'fast-check';
import { type AddressSpace, createDumper, type Dumper, memorySink, openImage } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bytesOf, inMemory } from '../support/images/images.ts';
import { historyArbitrary } from '../support/reference/reference-histories.ts';
import {
  continueTracked,
  createTracked,
  trackedStepsArbitrary,
} from '../support/reference/tracked-histories.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const POLICIES = { unsupported: 'skip', hugetlb: 'skip' } as const;

let dumpers: readonly Dumper[] = [];
beforeAll(async () => {
  dumpers = await Promise.all([1, 2].map((workers) => createDumper({ workers })));
});
afterAll(() => Promise.all(dumpers.map((dumper) => dumper.close())));

const round = fc.record({
  steps: trackedStepsArbitrary,
  zeroPages: fc.constantFrom('detect', 'detect', 'copy'),
  pause: fc.constantFrom(undefined, undefined, 'fork'),
  track: fc.constantFrom(true, true, true, false),
  takes: fc.constantFrom(false, false, false, true),
});

describe('a chain of images by dirty bits', () => {
  it('has the bytes of a chain by digests', async () => {
    let byBits = 0;
    await fc.assert(
      fc.asyncProperty(
        historyArbitrary,
        fc.array(round, { minLength: 3, maxLength: 5 }),
        fc.nat({ max: 1 }),
        async (recipe, rounds, which) => {
          const dumper = dumpers[which]!;
          const tracked = createTracked(recipe);
          const { history } = tracked;
          const images: Buffer[] = [];
          /** The address spaces of the last image if it was tracked. */
          let known: readonly AddressSpace[] | undefined;
          for (const { steps, zeroPages, pause, track, takes } of rounds) {
            continueTracked(tracked, steps);
            const spaces = [history.space, ...history.others];
            if (takes) spaces[0]!.dirty.take();
            const parents = images.map((bytes) => inMemory(bytes));
            const last = images.at(-1);
            const parent = last && (await openImage(inMemory(last), { parents }));
            const options = { ...POLICIES, zeroPages, pause, parent };
            const to = memorySink();
            await dumper.dump(spaces, { ...options, changes: 'digests', to });
            const expected = bytesOf(to.image);
            const { changes } = await dumper.dump(spaces, { ...options, track, to });
            expect(bytesOf(to.image).equals(expected)).toBe(true);
            const isSame = known?.every((space, at) => (spaces[at] ?? space) === space);
            const isKnown = !takes && isSame && zeroPages !== 'copy';
            if (parent !== undefined) expect(changes).toBe(isKnown ? 'dirty' : 'digests');
            if (changes === 'dirty') byBits++;
            known = track ? spaces : undefined;
            await parent?.close();
            images.push(expected);
          }
          history.machine.close();
        },
      ),
      { numRuns: IS_LONG ? 500 : 12 },
    );
    expect(byBits).toBeGreaterThan(5);
  });
});
