/**
 * Invariants checked:
 * - the image of any address spaces equals, byte for byte, the image of a slow reference dumper
 *   that shares no code with the fast one: for every option, number of workers, unit size and sink
 * - this also holds when the machine is not frozen, as long as no thread writes
 * - this also holds when page tables and page structs are damaged; if a damaged page makes the dump
 *   fail, the error names the first such page
 * - every image that is written verifies: it stores no page of a file twice
 * - the random address spaces reach every row of CLASSIFICATION.md, including clones of forks
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  createWorkload,
  type Dumper,
  fileSink,
  GiB,
  importProcess,
  type Machine,
  MiB,
  MmdumpError,
  memorySink,
  WORKLOADS,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FILE_HEAD, PAGES_FLAG, PAGES_RECORD } from '../../src/shared/formats/cpt/records.ts';
import { checkUntil } from '../support/check-until.ts';
import { bytesOf, inMemory } from '../support/images/images.ts';
import { HAS_ZSTD } from '../support/images/zstd.ts';
import { ZERO_PAGE, ZERO_PAGE_WAYS } from '../support/machine/zero-page.ts';
import { ReferenceRefusal } from '../support/reference/reference-classifier.ts';
import { CORRUPTIONS, corrupt } from '../support/reference/reference-corruptions.ts';
import { referenceDump } from '../support/reference/reference-dumper.ts';
import {
  createHistory,
  type History,
  historyArbitrary,
  SWAPPED,
} from '../support/reference/reference-histories.ts';
import type { ReferenceImage, ReferenceOptions } from '../support/reference/reference-records.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';

let dumpers: readonly Dumper[] = [];
let folder = '';

beforeAll(async () => {
  dumpers = await Promise.all(
    (IS_LONG ? [1, 2, 3] : [1, 3]).map((workers) => createDumper({ workers })),
  );
  folder = mkdtempSync(join(tmpdir(), 'mmdump-reference-'));
});

afterAll(async () => {
  await Promise.all(dumpers.map((dumper) => dumper.close()));
  rmSync(folder, { recursive: true });
});

const DEFAULTS: ReferenceOptions = {
  zeroPages: 'detect',
  checksum: 'xxh3',
  blocks: 'run',
  unsupported: 'fail',
  hugetlb: 'fail',
  freeze: true,
  dontDump: false,
};

/** Detection of zeros, digests and merging of pages are all off. */
const PLAINEST: ReferenceOptions = {
  ...DEFAULTS,
  zeroPages: 'copy',
  checksum: 'none',
  blocks: 'page',
};

/** On a Node without zstd, all images are plain. */
const COMPRESS: readonly ('none' | 'zstd')[] = HAS_ZSTD ? ['none', 'none', 'zstd'] : ['none'];

const optionsArbitrary: fc.Arbitrary<ReferenceOptions> = fc.record({
  zeroPages: fc.constantFrom('detect', 'detect', 'copy'),
  checksum: fc.constantFrom('xxh3', 'xxh3', 'crc32', 'none'),
  blocks: fc.constantFrom('run', 'run', 'page'),
  unsupported: fc.constantFrom('fail', 'skip', 'copy'),
  hugetlb: fc.constantFrom('fail', 'skip', 'skip', 'copy', 'copy'),
  freeze: fc.constantFrom(true, true, false),
  dontDump: fc.boolean(),
  compress: fc.constantFrom(...COMPRESS),
  state: fc.dictionary(
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }),
    fc.uint8Array({ maxLength: 90 }),
    { maxKeys: 3, noNullPrototype: true },
  ),
});

/** Selects the mms of a history to dump; children may also come before their parents. */
const choice = fc.constantFrom('one' as const, 'all' as const, 'all' as const, 'reversed' as const);

function chosen({ space, others }: History, which: 'one' | 'all' | 'reversed'): AddressSpace[] {
  if (which === 'one') return [space];
  return which === 'all' ? [space, ...others] : [space, ...others].reverse();
}

type Outcome = ReferenceImage | ReferenceRefusal;

function reference(
  machine: Machine,
  spaces: readonly AddressSpace[],
  options: ReferenceOptions,
): Outcome {
  try {
    return referenceDump(machine, spaces, options);
  } catch (error) {
    if (error instanceof ReferenceRefusal) return error;
    throw error;
  }
}

/** Returns the dumper's image, or the error that it rejected with. */
async function dump(
  dumper: Dumper,
  spaces: readonly AddressSpace[],
  options: ReferenceOptions & { readonly unitBytes: number },
): Promise<Buffer | MmdumpError> {
  const sink = memorySink();
  try {
    await dumper.dump(spaces, { to: sink, ...options });
  } catch (error) {
    if (error instanceof MmdumpError) return error;
    throw error;
  }
  return bytesOf(sink.image);
}

/**
 * Names the object with the first differing byte. Checks the head, which holds the length, last.
 */
function describeDifference(found: Buffer, expected: ReferenceImage): string {
  const { bytes, objects } = expected;
  const differs = (_: number, at: number): boolean => found[at] !== bytes[at];
  let at = bytes.findIndex((byte, index) => index >= FILE_HEAD.SIZE && differs(byte, index));
  if (at < 0) at = bytes.findIndex(differs);
  if (at < 0) at = bytes.length; // the image is longer than expected
  const object = objects.findLast(({ offset }) => offset <= at)!;
  const next = objects[objects.indexOf(object) + 1]?.offset ?? bytes.length;
  const part = (from: Buffer): string =>
    from.subarray(object.offset, Math.min(next, object.offset + 96)).toString('hex');
  return (
    `byte ${at} of ${found.length} (expected ${bytes.length}), ` +
    `${at - object.offset} bytes into ${object.name} at ${object.offset}:\n` +
    `expected ${part(bytes)}\nfound    ${part(found)}`
  );
}

function assertAgrees(found: Buffer | MmdumpError, expected: Outcome): void {
  if (expected instanceof ReferenceRefusal) {
    if (!(found instanceof MmdumpError)) throw new Error(`dumped, expected ${expected.message}`);
    expect({ code: found.code, ...found.fields }).toMatchObject(
      expected.code === 'PAGE_UNSUPPORTED'
        ? { code: expected.code, mm: expected.mm, address: expected.address }
        : { code: expected.code, mm: expected.mm, vmaStart: expected.address },
    );
    return;
  }
  if (found instanceof MmdumpError) throw found;
  if (!found.equals(expected.bytes)) throw new Error(describeDifference(found, expected));
}

/** Compares every dumper with the reference; `turn` pairs dumpers with unit sizes. */
async function assertAllAgree(
  machine: Machine,
  spaces: readonly AddressSpace[],
  options: ReferenceOptions,
  turn: number,
): Promise<Outcome> {
  const expected = reference(machine, spaces, options);
  const { buffer } = machine.parts.pages.words;
  const counts = Buffer.from(new Uint8Array(buffer));
  for (const [index, dumper] of dumpers.entries()) {
    const unitBytes = [2, 4, 8][(index + turn) % 3]! * MiB;
    const found = await dump(dumper, spaces, { ...options, unitBytes });
    assertAgrees(found, expected);
    if (index === 0 && Buffer.isBuffer(found)) {
      expect((await dumper.verify(inMemory(found))).problems).toEqual([]);
    }
    if (!options.freeze) expect(counts.equals(new Uint8Array(buffer))).toBe(true); // no pin is left
  }
  return expected;
}

/** Records what the random runs encountered, to prove that they test something. */
class Coverage {
  readonly seen = new Set<string>();

  missed(wanted: readonly string[]): string[] {
    return wanted.filter((each) => !this.seen.has(each));
  }

  add(outcome: Outcome): void {
    if (outcome instanceof ReferenceRefusal) {
      this.seen.add(outcome.code);
      return;
    }
    for (const row of outcome.rows) this.seen.add(`row ${row}`);
    for (const { offset, name } of outcome.objects) {
      const kind = name.split(' 0x')[0]!;
      const flags = kind.startsWith('PAGES')
        ? outcome.bytes.readUInt32LE(offset + PAGES_RECORD.FLAGS) & PAGES_FLAG.FILE_PAGES
        : 0;
      this.seen.add(flags === 0 ? kind : `${kind} FILE_PAGES`);
    }
  }
}

/** In milliseconds: a passing run takes seconds, but shrinking a counterexample takes longer. */
const TIME_TO_SHRINK = 600_000;

describe('the dumper and the reference dumper', () => {
  it(
    'write the same bytes for random address spaces',
    async () => {
      const coverage = new Coverage();
      const zeroPageRows = ZERO_PAGE_WAYS.includes(true) ? [14] : [];
      const rows = [1, 2, 5, 6, 7, 8, 11, 12, ...zeroPageRows, 16, 17, 18, 19];
      const objects = [
        'COPYPAGES',
        'MM',
        'MM_AUXV',
        'STATE',
        'CORE_NOTES',
        'VMA',
        'BITS',
        'PAGES DATA',
        'PAGES ZERO',
      ];
      const flagged = ['PAGES DATA FILE_PAGES', 'PAGES ZERO FILE_PAGES', 'HUGETLB_REFUSED'];
      const wanted = [...rows.map((row) => `row ${row}`), ...objects, ...flagged];
      await checkUntil(
        fc.asyncProperty(
          historyArbitrary,
          optionsArbitrary,
          choice,
          fc.nat(2),
          async (recipe, options, which, turn) => {
            const history = createHistory(recipe);
            const spaces = chosen(history, which);
            coverage.add(await assertAllAgree(history.machine, spaces, options, turn));
          },
        ),
        { runs: IS_LONG ? 5000 : 80, examples: [[SWAPPED, DEFAULTS, 'one', 0]] },
        () => coverage.missed(wanted),
      );
    },
    TIME_TO_SHRINK,
  );

  it(
    'agree about page tables and page structs that are damaged',
    async () => {
      const coverage = new Coverage();
      const damage = fc.record({
        kind: fc.constantFrom(...CORRUPTIONS),
        vma: fc.nat({ max: 40 }),
        page: fc.integer({ min: -12, max: 30 }),
        choice: fc.nat({ max: 100 }),
      });
      const rows = [0, 3, 6, 7, 9, 10, 13, 15, 16].map((row) => `row ${row}`);
      const others = ['PAGES GUARD', 'PAGE_UNSUPPORTED'];
      await checkUntil(
        fc.asyncProperty(
          historyArbitrary,
          fc.array(damage, { minLength: 1, maxLength: 8, size: 'max' }),
          optionsArbitrary,
          choice,
          fc.nat(2),
          async (recipe, damages, options, which, turn) => {
            const history = createHistory(recipe);
            for (const each of damages) corrupt(history, each);
            const spaces = chosen(history, which);
            for (const unsupported of ['skip', 'copy', 'fail'] as const) {
              const policy = { ...options, hugetlb: 'copy', unsupported } as const;
              coverage.add(await assertAllAgree(history.machine, spaces, policy, turn));
            }
          },
        ),
        { runs: IS_LONG ? 4000 : 40 },
        () => coverage.missed([...rows, ...others]),
      );
    },
    TIME_TO_SHRINK,
  );

  it.each(WORKLOADS)('write the same bytes for the workload %s', async (name) => {
    const size = { dense: 6 * MiB, sparse: 64 * GiB, manymaps: 8 * MiB, mixed: 16 * MiB }[name];
    const { machine, space } = await createWorkload(name, { size });
    await assertAllAgree(machine, [space], PLAINEST, 1);
    const expected = await assertAllAgree(machine, [space], DEFAULTS, 0);
    const path = join(folder, `${name}.cpt`);
    await dumpers.at(-1)!.dump(space, { to: fileSink(path) });
    assertAgrees(readFileSync(path), expected);
  });

  it('write the same bytes for a process that was imported', async (ctx) => {
    const script = 'const kept = Buffer.alloc(3e6, 1); setInterval(() => kept, 1e6); console.log()';
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await once(child.stdout, 'data'); // it has started
      const machine = createMachine({
        memory: 512 * MiB,
        maxAddressSpaces: 1,
        zeroPage: ZERO_PAGE,
      });
      const { mms } = await importProcess(machine, child.pid!, { dumper: dumpers[1]! });
      await assertAllAgree(machine, mms, DEFAULTS, 0);
    } catch (error) {
      const isDenied = error instanceof MmdumpError && error.code === 'PROCESS_DENIED';
      ctx.skip(isDenied, `the system does not let us read a process: ${String(error)}`);
      throw error;
    } finally {
      child.kill('SIGKILL');
    }
  });
});
