/**
 * Invariants checked, for random operations on a family that was restored on demand and on one that
 * was loaded, side by side:
 * - every operation returns the same bytes or address, or fails with the same code and message
 * - a dump of the one is, byte for byte, a dump of the other, also where mms share pages that some
 *   of them have read, and for every checksum, block size and number of parts of the first image,
 *   and for images whose pages lie in their ancestors
 * - the tables and counts of the machine are sound, and pages under memory pressure go back
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type DumpOptions,
  fileSink,
  type Machine,
  MiB,
  MmdumpError,
  openImage,
  PAGE_SIZE,
  splitSink,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { imageOf } from '../support/images/images.ts';
import { HAS_ZSTD } from '../support/images/zstd.ts';
import {
  createFamily,
  FAMILY_PAGES,
  FILE_PATH,
  familyFile,
  type Kind,
} from '../support/machine/family-model.ts';
import { assertTablesTrue } from '../support/machine/invariants.ts';
import { ZERO_PAGE } from '../support/machine/zero-page.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const MMS_MAX = 5;

const FORMS: readonly Omit<DumpOptions, 'to'>[] = [
  {},
  { checksum: 'crc32' },
  { checksum: 'none' },
  { blocks: 'page' },
  { zeroPages: 'copy' },
  ...(HAS_ZSTD ? ([{ compress: 'zstd' }, { compress: 'zstd', checksum: 'none' }] as const) : []),
];

const folder = mkdtempSync(join(tmpdir(), 'mmdump-demand-'));
let dumper: Dumper;
let starts: { readonly [kind in Kind]: number };
/** Paths of the images: by form, in parts, and the images of a chain. */
const images: string[] = [];
const IMAGES = FORMS.length + 3;

beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
  const family = createFamily();
  ({ starts } = family);
  for (const [at, options] of FORMS.entries()) {
    const path = join(folder, `${at}.cpt`);
    await dumper.dump(family.spaces, { to: fileSink(path), ...options });
    images.push(path);
  }
  const path = join(folder, 'parts.cpt');
  await dumper.dump(family.spaces, { to: splitSink(path, { partBytes: MiB }) });
  images.push(path);
  await addChain(family.spaces);
});
afterAll(async () => {
  await dumper.close();
  rmSync(folder, { recursive: true });
});

/** Two more images, which leave out what has not changed. The second one has ancestors in parts. */
async function addChain(spaces: readonly AddressSpace[]): Promise<void> {
  const compress = HAS_ZSTD ? 'zstd' : 'none';
  const forms = [
    { blocks: 'page', checksum: 'crc32' },
    { checksum: 'none', compress },
  ] as const;
  for (const [generation, options] of forms.entries()) {
    for (let at = generation; at < FAMILY_PAGES; at += 11) {
      const address = starts.private + at * PAGE_SIZE;
      spaces[at % spaces.length]!.fill(address, PAGE_SIZE, 1 + ((at + generation) % 250));
    }
    const parents = generation === 0 ? [] : [join(folder, 'parts.cpt')];
    const parent = await openImage(images.at(-1)!, { parents });
    const path = join(folder, `chain-${generation}.cpt`);
    await dumper.dump(spaces, { to: fileSink(path), parent, ...options });
    await parent.close();
    images.push(path);
  }
}

const page = fc.nat(FAMILY_PAGES - 1);
const range = {
  mm: fc.nat(MMS_MAX - 1),
  kind: fc.constantFrom<Kind>('private', 'private', 'private file', 'shared'),
  page,
  count: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 60 })),
};
const operation = fc.record({
  ...range,
  op: fc.constantFrom(
    ...(['read', 'read', 'read', 'write', 'write', 'protect', 'unmap', 'move'] as const),
    ...(['dontneed', 'guard_install', 'guard_remove', 'free', 'fork', 'exit'] as const),
    ...(['prefetch', 'prefetch all', 'lock', 'populate_read', 'populate_write'] as const),
  ),
  value: fc.integer({ min: 0, max: 255 }),
  prot: fc.constantFrom(...(['r', 'rw', '', 'rx'] as const)),
  to: page,
});
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

/** Every history begins so: some mms have read pages that they share, and others have not. */
const BEGINNING: readonly Operation[] = [0, 1, 2].map((mm) => {
  const rest = { value: 0, prot: 'r', to: 0 } as const;
  return { op: 'read', mm, kind: 'private', page: mm * 60, count: 100, ...rest };
});

interface Side {
  readonly machine: Machine;
  readonly spaces: AddressSpace[];
}

async function restored(path: string, load: 'now' | 'on-demand'): Promise<Side> {
  const machine = createMachine({
    memory: 24 * MiB,
    maxAddressSpaces: MMS_MAX,
    checks: true,
    zeroPage: ZERO_PAGE,
  });
  machine.createFile({ path: FILE_PATH, content: familyFile() });
  const image = await openImage(path);
  const { mms } = await dumper.restore(image, machine, { load });
  await image.close(); // the pages that stay there can be read all the same
  return { machine, spaces: [...mms] };
}

/** What an operation returns, as text. */
async function outcome(side: Side, step: Operation): Promise<string> {
  try {
    return String((await apply(side, step)) ?? 'done');
  } catch (error) {
    if (error instanceof MmdumpError) return `${error.code}: ${error.message}`;
    throw error;
  }
}

async function apply({ spaces }: Side, step: Operation): Promise<unknown> {
  const space = spaces[step.mm % spaces.length]!;
  const address = starts[step.kind] + step.page * PAGE_SIZE;
  const length = Math.min(step.count, FAMILY_PAGES - step.page) * PAGE_SIZE;
  switch (step.op) {
    case 'read': {
      const bytes = Buffer.alloc(length);
      space.read(address, bytes);
      return bytes.toString('latin1');
    }
    case 'write':
      return space.fill(address + 1, length - 1, step.value);
    case 'protect':
      return space.mprotect(address, length, step.prot);
    case 'unmap':
      return space.munmap(address, length);
    case 'move': {
      const to = starts[step.kind] + (step.to + FAMILY_PAGES * 4) * PAGE_SIZE;
      return space.mremap(address, length, length, ['maymove', 'fixed'], to);
    }
    case 'fork':
      if (spaces.length < MMS_MAX) spaces.push(space.fork());
      return;
    case 'exit':
      if (spaces.length > 1) spaces.splice(spaces.indexOf(space), 1)[0]!.exit();
      return;
    case 'prefetch':
      await space.prefetch({ address, length });
      return;
    case 'prefetch all':
      await space.prefetch();
      return;
    case 'lock':
      return space.mlock(address, length);
    default:
      return space.madvise(address, length, step.op);
  }
}

describe('an address space on demand', () => {
  it('is the same as a loaded one, whatever is done to both', async () => {
    const seen = new Set<string>();
    const forms = new Set<number>();
    let returned = 0; // pages that went back to the image
    await fc.assert(
      fc.asyncProperty(
        fc.nat(IMAGES - 1),
        fc.array(operation, { maxLength: 40, size: 'max' }),
        fc.boolean(),
        async (form, steps, isPressed) => {
          const path = images[form]!;
          forms.add(form);
          const loaded = await restored(path, 'now');
          const onDemand = await restored(path, 'on-demand');
          for (const step of [...BEGINNING, ...steps]) {
            const expected = await outcome(loaded, step);
            expect(await outcome(onDemand, step), step.op).toBe(expected);
            seen.add(/^[A-Z]+:/.exec(expected)?.[0] ?? step.op);
          }
          if (isPressed) returned += onDemand.machine.reclaim(24 * MiB);
          assertTablesTrue(onDemand.machine as never);
          const image = await imageOf(dumper, onDemand.spaces);
          expect(image.equals(await imageOf(dumper, loaded.spaces))).toBe(true);
          await loaded.machine.close();
          await onDemand.machine.close();
        },
      ),
      { numRuns: IS_LONG ? 600 : 12 },
    );
    expect(Math.max(...forms)).toBeGreaterThan(FORMS.length); // a chain was among them
    expect([...seen]).toEqual(expect.arrayContaining(['read', 'fork', 'SIGSEGV:']));
    expect(returned).toBeGreaterThan(0);
  });
});
