/**
 * Thousands of OpenVZ 6 files that are made to do harm.
 *
 * Invariants checked:
 * - Opening, reading pages, verifying and restoring end in a documented MmdumpError, or show the
 *   pages that a checker finds which was written from the tables of the format alone.
 * - What that checker accepts is opened, unless it is refused for a reason that it does not know.
 * - `verify` finds good what opens, and nothing else.
 * - A restore that fails, and one whose address spaces are destroyed, give all memory back.
 * - Nothing hangs, and no error has more than one line.
 *
 * MMDUMP_LONG=1 runs 20 000 files from a new seed, and MMDUMP_SEED=n repeats those of a seed.
 */
import {
  createDumper,
  createMachine,
  type Dumper,
  type Image,
  MiB,
  MmdumpError,
  memorySink,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KERNEL_CODES, MMDUMP_CODES } from '../../src/shared/errors.ts';
import { createGolden } from '../support/images/golden-spaces.ts';
import { type Random, randomOf } from '../support/images/image-mutations.ts';
import { inMemory } from '../support/images/images.ts';
import { type CheckedFile, checkOpenvz } from '../support/openvz/check-file.ts';
import { hostileOpenvz } from '../support/openvz/mutations.ts';
import { Watchdog } from '../support/programs/watchdog.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const SEED = Number(process.env.MMDUMP_SEED ?? (IS_LONG ? Date.now() & 0x7fff_ffff : 4099));
const CASES = IS_LONG ? 20_000 : 400;
const CODES: ReadonlySet<string> = new Set([...KERNEL_CODES, ...MMDUMP_CODES]);
/** What the checker does not look at. */
const MORE = new RegExp(
  [
    /VM_SHARED is set|pgoff \d+ is beyond|flags of more than 32|type \d+, expected 0 to 3/,
    /is out of range|is no range of pages|is not inside|shared mapping, whose file has an INODE/,
    /process \d+ is one of 32 bits|an LDT of|its path is empty|bytes of bits|which is not supported/,
    /it is not there|sections, expected|at most 1024|already stored|it has no NAME|a header of/,
    /there are 27|shows page 0x\w+ as shared|is in a shared mapping|bytes, expected at most/,
    /overlaps the block before it/,
  ]
    .map(({ source }) => source)
    .join('|'),
);

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

async function dumped(spaces: Parameters<Dumper['dump']>[0]): Promise<Buffer> {
  const to = memorySink();
  await dumper.dump(spaces, { to, format: 'openvz' });
  const bytes = Buffer.concat(to.image.chunks).subarray(0, to.image.bytes);
  return Buffer.from(bytes);
}

/** A family with shared memory, and the spaces of two golden images. */
async function seeds(): Promise<Buffer[]> {
  const machine = createMachine({ memory: 8 * MiB });
  const space = machine.createAddressSpace();
  const at = space.mmap({ length: MiB, prot: 'rw', flags: ['private', 'anonymous'] });
  const shared = space.mmap({ length: MiB, prot: 'rw', flags: ['shared', 'anonymous'] });
  for (const page of [0, 1, 2, 7, 9]) space.fill(at + page * PAGE_SIZE, PAGE_SIZE, page + 1);
  for (const page of [1, 2, 30]) space.fill(shared + page * PAGE_SIZE, PAGE_SIZE, page + 40);
  const child = space.fork();
  child.fill(at + 2 * PAGE_SIZE, PAGE_SIZE, 99);
  const files = [await dumped([space, child])];
  await machine.close();
  for (const name of ['single', 'family'] as const) {
    files.push(await dumped(createGolden(name).spaces));
  }
  return files;
}

function slowly(bytes: Buffer): CheckedFile | Error {
  try {
    return checkOpenvz(bytes);
  } catch (error) {
    return error as Error;
  }
}

/** The error if it is a clean one. Any other error is a defect and is thrown on. */
function clean(error: unknown): MmdumpError {
  const isClean = error instanceof MmdumpError && CODES.has(error.code);
  if (!isClean || error.code === 'WORKER_LOST' || error.code === 'MACHINE_POISONED') throw error;
  expect(error.message).not.toContain('\n');
  return error;
}

async function checkPages(image: Image, file: CheckedFile): Promise<void> {
  expect(image.mms().length).toBe(file.mms.length);
  const page = Buffer.alloc(PAGE_SIZE);
  for (const [mm, { pages, vmas }] of file.mms.entries()) {
    expect(image.vmas({ mm }).map(({ start, end }) => [start, end])).toEqual(
      vmas.map(({ start, end }) => [start, end]),
    );
    for (const [address, expected] of pages) {
      await image.read(address, page, { mm });
      if (!page.equals(expected)) throw new Error(`mm ${mm}: page 0x${address.toString(16)}`);
    }
  }
}

/** Reads what the records promise, and some more. */
async function readSome(random: Random, image: Image): Promise<void> {
  const page = Buffer.alloc(PAGE_SIZE);
  for (const { ordinal: mm, vmas } of image.mms()) {
    for (const part of ['auxv', 'notes', 'ldt'] as const) await image[part]({ mm });
    for (const { start, end } of vmas) {
      const inside = start + random.below((end - start) / PAGE_SIZE) * PAGE_SIZE;
      for (const at of [start, inside, end - PAGE_SIZE]) {
        await image.read(at, page, { mm }).catch((error: unknown) => {
          expect(clean(error).code).toBe('PAGE_ABSENT');
        });
      }
    }
  }
}

async function restored(image: Image): Promise<string> {
  const machine = createMachine({
    ...{ memory: 8 * MiB, maxAddressSpaces: 8, store: MiB, checks: true },
  });
  const { free } = machine.memory;
  let outcome = 'restored';
  try {
    const { mms } = await dumper.restore(image, machine);
    for (const space of mms) machine.destroyAddressSpace(space);
  } catch (error) {
    outcome = `restore: ${clean(error).code}`;
  }
  expect(machine.addressSpaces()).toEqual([]);
  machine.reclaim(MiB);
  expect(machine.memory.free).toBe(free);
  await machine.close();
  return outcome;
}

/** Opens a file and compares what it shows. Returns the outcomes. */
async function runCase(random: Random, bytes: Buffer): Promise<string[]> {
  const slow = slowly(bytes);
  const { ok, problems } = await dumper.verify(inMemory(bytes));
  expect(ok).toBe(problems.length === 0);
  let image: Image;
  try {
    image = await openImage(inMemory(bytes));
  } catch (error) {
    const { code, message } = clean(error);
    expect(ok).toBe(false);
    if (!(slow instanceof Error) && !MORE.test(message)) throw error;
    return [code];
  }
  try {
    expect(ok).toBe(true);
    await readSome(random, image);
    if (!(slow instanceof Error)) await checkPages(image, slow);
    const outcome = slow instanceof Error ? 'opened, other than the checker' : 'opened';
    return random.below(4) > 0 ? [outcome] : [outcome, await restored(image)];
  } finally {
    await image.close();
  }
}

describe('a hostile OpenVZ file', () => {
  it('makes no second line with the name of a file', async () => {
    const machine = createMachine({ memory: 8 * MiB });
    const content = Buffer.alloc(2 * PAGE_SIZE, 1);
    const file = machine.createFile({ path: '/tmp/a\nb\u001b[1m', content });
    const space = machine.createAddressSpace();
    const options = {
      length: 2 * PAGE_SIZE,
      prot: 'r',
      flags: ['private'],
      file: file.id,
    } as const;
    const at = space.mmap({ ...options, offset: 0 });
    const image = await openImage(inMemory(await dumped(space)));
    const error = await image.read(at, Buffer.alloc(8)).catch((reason: Error) => reason);
    expect(error).toMatchObject({ code: 'PAGE_ABSENT' });
    expect((error as Error).message).toMatch(/it is page 0 of \/tmp\/a\?b\?\[1m$/);
    await image.close();
    await machine.close();
  });

  it('is refused with a code, or shows the pages that the checker finds', {
    timeout: 3_600_000,
  }, async () => {
    const files = await seeds();
    for (const bytes of files) {
      expect((await runCase(randomOf(SEED, -1), bytes))[0]).toBe('opened');
    }
    const counts = new Map<string, number>();
    const start = Date.now();
    const watchdog = new Watchdog(60, `hostile OpenVZ files: MMDUMP_SEED=${SEED}`);
    try {
      for (let item = 0; item < CASES; item++) {
        watchdog.beat(item);
        const random = randomOf(SEED, item);
        const { bytes, what } = hostileOpenvz(random, files);
        const outcomes = await runCase(random, bytes).catch((error: unknown) => {
          const message = `MMDUMP_SEED=${SEED}, case ${item} (${what}): ${error}`;
          throw new Error(message, { cause: error });
        });
        for (const name of outcomes) counts.set(name, (counts.get(name) ?? 0) + 1);
      }
    } finally {
      watchdog.stop();
    }
    const seconds = ((Date.now() - start) / 1000).toFixed(1);
    const told = [...counts]
      .sort(([, a], [, b]) => b - a)
      .map(([name, count]) => `${name} ${count}`);
    console.log(
      `hostile OpenVZ files: MMDUMP_SEED=${SEED}, ${CASES} cases, ${seconds} s: ${told.join(', ')}`,
    );
    for (const name of ['opened', 'opened, other than the checker', 'IMAGE_CORRUPT']) {
      expect(counts.get(name) ?? 0, name).toBeGreaterThan(CASES / 50);
    }
    for (const name of ['IMAGE_TRUNCATED', 'IMAGE_VERSION', 'IMAGE_NOT_RECOGNISED', 'restored']) {
      expect(counts.get(name) ?? 0, name).toBeGreaterThan(0);
    }
  });
});
