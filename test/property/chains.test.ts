/**
 * Images with a parent.
 *
 * Invariants checked, for random histories that go on between the dumps (writes, mappings, forks,
 * swapping, files), random options, workers, unit sizes and sinks:
 * - every image of a chain equals, byte for byte, that of the slow reference dumper, whether the
 *   page digests of its parent were kept in memory or are read from the parent
 * - the last image, read through the chain, shows what a whole image shows; restored, it is dumped
 *   as the same bytes as a whole image that was restored
 * - flattened, the chain is a whole dump, byte for byte
 * - the chain verifies
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  fileSink,
  flattenImage,
  type Image,
  MiB,
  type MmdumpError,
  memorySink,
  openImage,
  splitSink,
  streamSink,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bytesOf, imageOf, inMemory } from '../support/images/images.ts';
import { HAS_ZSTD } from '../support/images/zstd.ts';
import { referenceDump } from '../support/reference/reference-dumper.ts';
import {
  continueHistory,
  createHistory,
  historyArbitrary,
  stepsArbitrary,
} from '../support/reference/reference-histories.ts';
import type { ReferenceImage, ReferenceOptions } from '../support/reference/reference-records.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const TIME_TO_SHRINK = 600_000;

let dumpers: readonly Dumper[] = [];
let folder = '';
let files = 0;

beforeAll(async () => {
  dumpers = await Promise.all([1, 3].map((workers) => createDumper({ workers })));
  folder = mkdtempSync(join(tmpdir(), 'mmdump-chains-'));
});

afterAll(async () => {
  await Promise.all(dumpers.map((dumper) => dumper.close()));
  rmSync(folder, { recursive: true });
});

const SINKS = ['memory', 'file', 'parts', 'stream'] as const;

interface DumpChoice {
  readonly sink: (typeof SINKS)[number];
  readonly dumper: number;
  readonly unitBytes: number;
  readonly checksum: ReferenceOptions['checksum'];
  readonly blocks: ReferenceOptions['blocks'];
  readonly zeroPages: ReferenceOptions['zeroPages'];
  readonly freeze: boolean;
  readonly compress: 'none' | 'zstd';
}

const dumpChoice: fc.Arbitrary<DumpChoice> = fc.record({
  sink: fc.constantFrom(...SINKS),
  dumper: fc.nat({ max: 1 }),
  unitBytes: fc.constantFrom(2 * MiB, 4 * MiB, 8 * MiB),
  checksum: fc.constantFrom('xxh3', 'xxh3', 'crc32', 'none'),
  blocks: fc.constantFrom('run', 'run', 'page'),
  zeroPages: fc.constantFrom('detect', 'detect', 'copy'),
  freeze: fc.constantFrom(true, true, false),
  // Without zstd, all images are plain.
  compress: HAS_ZSTD ? fc.constantFrom('none', 'zstd') : fc.constant('none'),
});

/** Dumps to the sink of this choice, and returns the bytes of the image. */
async function bytesIn(
  spaces: readonly AddressSpace[],
  { sink, dumper, unitBytes, ...options }: DumpChoice,
  parent: Image | undefined,
): Promise<Buffer> {
  const all = { ...options, ...POLICIES, unitBytes, parent };
  const on = dumpers[dumper]!;
  if (sink === 'memory') return await imageOf(on, spaces, all);
  if (sink === 'stream') {
    const stream = new PassThrough();
    const [bytes] = await Promise.all([
      buffer(stream),
      on.dump(spaces, { to: streamSink(stream), ...all }).finally(() => stream.end()),
    ]);
    return bytes;
  }
  const path = join(folder, `${files++}.img`);
  if (sink === 'file') {
    await on.dump(spaces, { to: fileSink(path), ...all });
    return readFileSync(path);
  }
  const { image } = await on.dump(spaces, { to: splitSink(path, { parts: 3 }), ...all });
  const parts = Array.from({ length: image.parts! }, (_, part) => `${path}.00${part}`);
  return Buffer.concat(parts.map((part) => readFileSync(part)));
}

const POLICIES = { unsupported: 'skip', hugetlb: 'skip', dontDump: false } as const;

/** What the images of a chain were made of. */
interface Chain {
  readonly images: Buffer[];
  last: ReferenceImage | undefined;
}

/** Makes the next image of a chain and compares it with the reference, in both ways. */
async function addImage(
  chain: Chain,
  history: ReturnType<typeof createHistory>,
  choice: DumpChoice,
): Promise<void> {
  const spaces = [history.space, ...history.others];
  const { checksum, blocks, zeroPages, freeze, compress } = choice;
  const options = { checksum, blocks, zeroPages, freeze, compress, ...POLICIES };
  const expected = referenceDump(history.machine, spaces, options, chain.last);
  const parent = chain.last && (await openImage(inMemory(chain.images.at(-1)!), open(chain)));
  for (const dumper of dumpers.keys()) {
    const found = await bytesIn(spaces, { ...choice, dumper }, parent);
    if (!found.equals(expected.bytes)) {
      const at = found.findIndex((byte, index) => byte !== expected.bytes[index]);
      const object = expected.objects.findLast(({ offset }) => offset <= at);
      throw new Error(`byte ${at} of ${found.length} (${expected.bytes.length}): ${object?.name}`);
    }
  }
  await parent?.close();
  chain.images.push(expected.bytes);
  chain.last = expected;
}

function open({ images }: Chain): { parents: ReturnType<typeof inMemory>[] } {
  return { parents: images.map((bytes) => inMemory(bytes)) };
}

/** A dump of what an image restores to, which has frames of its own. */
async function restored(image: Image): Promise<Buffer> {
  const machine = createMachine({ memory: 64 * MiB, maxAddressSpaces: 4 });
  const { mms } = await dumpers[1]!.restore(image, machine);
  const sink = memorySink();
  await dumpers[1]!.dump(mms, { to: sink, unsupported: 'copy', hugetlb: 'copy' });
  const bytes = bytesOf(sink.image);
  machine.close();
  return bytes;
}

async function assertShowsTheSame(chained: Image, whole: Image): Promise<void> {
  const page = (image: Image, address: number, mm: number): Promise<string> => {
    const into = new Uint8Array(4096);
    return image.read(address, into, { mm }).then(
      () => Buffer.from(into).toString('latin1'),
      (error: unknown) => (error as MmdumpError).code,
    );
  };
  for (const { ordinal: mm, vmas } of whole.mms()) {
    for (const { start, end } of vmas) {
      for (let at = start; at < Math.min(end, start + 32 * 4096); at += 4096) {
        const [a, b] = [await page(chained, at, mm), await page(whole, at, mm)];
        if (a !== b) throw new Error(`mm ${mm}, page ${at.toString(16)} differs`);
      }
    }
  }
}

describe('a chain of images', () => {
  it(
    'equals the reference, and shows what whole images show',
    async () => {
      let inParent = 0;
      await fc.assert(
        fc.asyncProperty(
          historyArbitrary,
          fc.array(fc.tuple(stepsArbitrary, dumpChoice), { minLength: 1, maxLength: 4 }),
          dumpChoice,
          async (recipe, later, first) => {
            const history = createHistory(recipe);
            const chain: Chain = { images: [], last: undefined };
            await addImage(chain, history, first);
            for (const [steps, choice] of later) {
              continueHistory(history, steps);
              await addImage(chain, history, choice);
            }
            const last = inMemory(chain.images.at(-1)!);
            const { problems } = await dumpers[0]!.verify(last, open(chain));
            expect(problems).toEqual([]);
            const { checksum, blocks, zeroPages, freeze } = later.at(-1)![1];
            const spaces = [history.space, ...history.others];
            const options = { checksum, blocks, zeroPages, freeze, ...POLICIES };
            const bytes = await imageOf(dumpers[0]!, spaces, options);
            const whole = await openImage(inMemory(bytes));
            const chained = await openImage(last, open(chain));
            for (const { vmas } of chained.mms()) {
              for (const { pages } of vmas) inParent += pages.parent;
            }
            await assertShowsTheSame(chained, whole);
            const flat = memorySink();
            const { id } = await flattenImage(chained, { to: flat, blocks });
            expect(bytesOf(flat.image).equals(bytes)).toBe(true);
            expect(id).toBe(whole.id);
            expect((await restored(chained)).equals(await restored(whole))).toBe(true);
            await whole.close();
            await chained.close();
            history.machine.close();
          },
        ),
        { numRuns: IS_LONG ? 1000 : 25 },
      );
      expect(inParent).toBeGreaterThan(100);
    },
    TIME_TO_SHRINK,
  );
});
