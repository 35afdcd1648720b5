/**
 * Invariants checked, for random histories of two machines side by side, of which one has its pages
 * in a backing and the other has loaded them:
 * - every operation has the same outcome, and every read shows the same bytes
 * - in between and at the end, the image of all mms is the same, byte for byte
 * - reclaim changes nothing of that, although it puts pages back
 * - the tables of both machines are true after every operation
 */
import fc from 'fast-check';
import { createDumper, createMachine, type Dumper, MiB, PAGE_SIZE } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../src/mmu/machine/address-space.ts';
import type { Machine } from '../../src/mmu/machine/machine.ts';
import { imageOf } from '../support/images/images.ts';
import { BackingFile } from '../support/machine/backed.ts';
import { assertTablesTrue } from '../support/machine/invariants.ts';
import { codeOf } from '../support/machine/machine.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const BASE = 0x4000_0000 - 40 * PAGE_SIZE; // crosses the boundary of two granules
const PAGES = 80;
const MMS_MAX = 4;
const ANON = ['private', 'anonymous', 'fixed'] as const;

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

const RANGE = {
  mm: fc.nat(MMS_MAX - 1),
  page: fc.nat(PAGES - 1),
  count: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: PAGES })),
};
const STEP = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constant('read' as const), ...RANGE }) },
  {
    weight: 4,
    arbitrary: fc.record({ op: fc.constant('write' as const), ...RANGE, value: fc.nat(255) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constantFrom(
        ...(['dontneed', 'pageout', 'unmap', 'protect', 'unprotect', 'move'] as const),
      ),
      ...RANGE,
      to: fc.nat(PAGES - 1),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constantFrom(...(['fork', 'exit', 'reclaim', 'reclaim', 'dump'] as const)),
      ...RANGE,
    }),
  },
);
type Step = typeof STEP extends fc.Arbitrary<infer T> ? T : never;

/** Pages that differ, except that every ninth is zeros. */
function content(): Uint8Array {
  const bytes = new Uint8Array(PAGES * PAGE_SIZE);
  for (let page = 0; page < PAGES; page++) {
    if (page % 9 !== 4) bytes.fill(page + 1, page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  }
  return bytes;
}

/** One of the two machines, and its processes. */
class Side {
  readonly machine: Machine;
  readonly spaces: AddressSpace[] = [];
  /** Bytes that reclaim has freed. */
  returned = 0;
  readonly #file: BackingFile | undefined;

  constructor(isBacked: boolean) {
    this.machine = createMachine({ memory: 4 * MiB, maxAddressSpaces: MMS_MAX, checks: true });
    const space = this.machine.createAddressSpace();
    this.spaces.push(space);
    space.mmap({ address: BASE, length: PAGES * PAGE_SIZE, prot: 'rw', flags: ANON });
    this.#file = isBacked ? new BackingFile(this.machine, content()) : undefined;
    if (this.#file === undefined) space.write(BASE, content());
    else this.#file.map(space, BASE, PAGES);
  }

  close(): void {
    this.#file?.close();
  }

  /** What the operation has to show: bytes, or the code of its error. */
  apply(step: Exclude<Step, { op: 'dump' }>): unknown {
    const space = this.spaces[step.mm % this.spaces.length]!;
    const at = BASE + step.page * PAGE_SIZE;
    const length = Math.min(step.count, PAGES - step.page) * PAGE_SIZE;
    switch (step.op) {
      case 'read': {
        const bytes = new Uint8Array(length);
        const outcome = codeOf(() => space.read(at, bytes));
        return `${outcome} ${Buffer.from(bytes).toString('hex')}`;
      }
      case 'write':
        return codeOf(() => space.write(at, new Uint8Array(length).fill(step.value)));
      case 'unmap':
        return codeOf(() => space.munmap(at, length));
      case 'protect':
        return codeOf(() => space.mprotect(at, length, 'r'));
      case 'unprotect':
        return codeOf(() => space.mprotect(at, length, 'rw'));
      case 'move':
        return codeOf(() =>
          space.mremap(at, length, length, ['maymove', 'fixed'], BASE + step.to * PAGE_SIZE),
        );
      case 'fork':
        return codeOf(() => this.spaces.push(space.fork()));
      case 'exit':
        if (this.spaces.length > 1) this.spaces.splice(this.spaces.indexOf(space), 1)[0]!.exit();
        return this.spaces.length;
      case 'reclaim':
        this.returned += this.machine.reclaim(step.count * PAGE_SIZE);
        return 'nothing';
      case 'dump':
        return 'nothing';
      default: {
        const advice = step.op;
        return codeOf(() => space.madvise(at, length, advice));
      }
    }
  }
}

describe('a machine whose pages lie in a backing', () => {
  it(
    'cannot be told from one that has loaded them',
    async () => {
      let returned = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(STEP, { maxLength: 40, size: 'max' }), async (steps) => {
          const loaded = new Side(false);
          const backed = new Side(true);
          const compareImages = async (): Promise<void> => {
            const images = [];
            for (const { spaces } of [loaded, backed]) images.push(await imageOf(dumper, spaces));
            expect(Buffer.compare(images[0]!, images[1]!)).toBe(0);
          };
          try {
            for (const step of steps) {
              if (step.op === 'dump') await compareImages();
              expect(backed.apply(step)).toEqual(loaded.apply(step));
              for (const { machine } of [loaded, backed]) assertTablesTrue(machine);
            }
            await compareImages();
            returned += backed.returned;
          } finally {
            backed.close();
          }
        }),
        { numRuns: IS_LONG ? 1500 : 25 },
      );
      expect(returned).toBeGreaterThan(0);
    },
    IS_LONG ? 3_600_000 : 600_000,
  );
});
