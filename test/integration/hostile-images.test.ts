/**
 * Thousands of images of both versions that are made to do harm.
 *
 * Invariants checked:
 * - Opening, inspecting, reading pages, verifying and restoring end in a documented MmdumpError, or
 *   in an image that a second, slow reader accepts as well: with the same mappings, payloads and
 *   pages.
 * - What the slow reader refuses is refused. What it accepts with good checksums, `verify` finds
 *   good.
 * - An image that opens and verifies is restored into a machine that is large enough, and no other
 *   image is. A restore that fails gives all memory back; one that succeeds shows the pages of the
 *   image.
 * - Nothing hangs, and the memory of the process does not grow.
 *
 * MMDUMP_LONG=1 runs 100 000 images from a new seed, and MMDUMP_SEED=n repeats those of a seed.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  createDumper,
  createMachine,
  type Dumper,
  type Image,
  type Machine,
  MiB,
  MmdumpError,
  openImage,
  PAGE_SIZE,
  type Verification,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KERNEL_CODES, MMDUMP_CODES } from '../../src/shared/errors.ts';
import { hostileSeeds } from '../support/images/hostile-seeds.ts';
import {
  hostileImage,
  type Random,
  randomOf,
  takeApart,
} from '../support/images/image-mutations.ts';
import { inMemory } from '../support/images/images.ts';
import {
  pageSlowly,
  Refused,
  readSlowly,
  type SlowContent,
  type SlowImage,
  vmaAt,
} from '../support/images/slow-image.ts';
import { assertTablesTrue } from '../support/machine/invariants.ts';
import { Watchdog } from '../support/programs/watchdog.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const SEED = Number(process.env.MMDUMP_SEED ?? (IS_LONG ? Date.now() & 0x7fff_ffff : 4098));
const CASES = IS_LONG ? 100_000 : 1000;
const HANG_SECONDS = 60;
/**
 * How much more the process may hold at the end than after a quarter of the cases, when it is warm.
 */
const GROWTH_BYTES = 512 * MiB;
const CODES: ReadonlySet<string> = new Set([...KERNEL_CODES, ...MMDUMP_CODES]);

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

function slowly(bytes: Buffer): SlowImage | Refused {
  try {
    return readSlowly(bytes);
  } catch (error) {
    if (error instanceof Refused) return error;
    throw error;
  }
}

/** Returns the code of a clean failure. Any other error is a defect and is thrown on. */
function cleanCode(error: unknown): string {
  // A worker reports a crash as WORKER_LOST; no image may cause a crash.
  const isClean = error instanceof MmdumpError && CODES.has(error.code);
  if (!isClean || error.code === 'WORKER_LOST' || error.code === 'MACHINE_POISONED') throw error;
  return error.code;
}

async function opened(bytes: Buffer): Promise<Image | string> {
  try {
    return await openImage(inMemory(bytes));
  } catch (error) {
    return cleanCode(error);
  }
}

/** Addresses to look at: the first and last page of mappings, and pages at random. */
function* addresses(random: Random, slow: SlowImage): Generator<[mm: number, address: number]> {
  for (const [ordinal, { vmas }] of slow.mms.entries()) {
    for (const { start, end, pages } of vmas) {
      const stored = [...pages.keys()].slice(0, 12);
      const inside = start + random.below((end - start) / PAGE_SIZE) * PAGE_SIZE;
      const outside = [start - PAGE_SIZE, end].filter((at) => at >= 0 && at < 2 ** 47 - PAGE_SIZE);
      for (const at of [start, end - PAGE_SIZE, inside, ...outside, ...stored]) yield [ordinal, at];
    }
  }
}

async function pageOf(image: Image, mm: number, address: number): Promise<SlowContent> {
  const page = Buffer.alloc(PAGE_SIZE, 0xa5);
  try {
    await image.read(address, page, { mm });
    return page;
  } catch (error) {
    const code = cleanCode(error);
    expect(['PAGE_ABSENT', 'IMAGE_CHECKSUM', 'IMAGE_CORRUPT']).toContain(code);
    return code === 'PAGE_ABSENT' ? null : 'damaged';
  }
}

function isSame(found: SlowContent, expected: SlowContent): boolean {
  if (found instanceof Buffer && expected instanceof Buffer) return found.equals(expected);
  return found === expected;
}

async function checkPages(
  random: Random,
  image: Image,
  bytes: Buffer,
  slow: SlowImage,
): Promise<number> {
  let pages = 0;
  for (const [mm, address] of addresses(random, slow)) {
    const found = await pageOf(image, mm, address);
    const expected = pageSlowly(bytes, slow, slow.mms[mm]!, address);
    if (!isSame(found, expected)) throw new Error(`mm ${mm}: page 0x${address.toString(16)}`);
    pages++;
  }
  return pages;
}

function describeImage(image: Image): unknown {
  return image.mms().map(({ offset, vmas }) => ({
    offset,
    vmas: vmas.map(({ start, end, flags, pgoff, anonvmaid, isVdso, file, pages }) => ({
      ...{ start, end, flags, pgoff, anonvmaid, isVdso, path: file?.path ?? null },
      ...{ copy: pages.copy, zero: pages.zero, clone: pages.clone, guard: pages.guard },
    })),
  }));
}

function describeSlow({ mms }: SlowImage): unknown {
  return mms.map(({ offset, vmas }) => ({
    offset,
    vmas: vmas.map(({ start, end, flags, pgoff, anonvmaid, type, file, pages }) => {
      const count = { copy: 0, zero: 0, clone: 0, guard: 0 };
      for (const { kind } of pages.values()) count[kind]++;
      const path = file?.path.toString() ?? null;
      return { start, end, flags, pgoff, anonvmaid, isVdso: type === 2, path, ...count };
    }),
  }));
}

async function checkBlobs(image: Image, slow: SlowImage): Promise<void> {
  const listed = image.state.map(({ name, bytes }) => ({ name, bytes }));
  expect(listed).toEqual(
    slow.states.map(({ name, bytes }) => ({ name: name.toString(), bytes: bytes.length })),
  );
  for (const { name, bytes } of slow.states) {
    try {
      expect(Buffer.compare(await image.readState(name.toString()), bytes)).toBe(0);
    } catch (error) {
      expect(cleanCode(error)).toBe('IMAGE_CHECKSUM');
      expect(slow.badPayloads.length).toBeGreaterThan(0);
    }
  }
  for (const [mm, { auxv, notes, ldt }] of slow.mms.entries()) {
    for (const [part, expected] of Object.entries({ auxv, notes, ldt })) {
      try {
        const found = await image[part as 'auxv' | 'notes' | 'ldt']({ mm });
        expect(Buffer.compare(found, expected ?? Buffer.alloc(0))).toBe(0);
      } catch (error) {
        expect(cleanCode(error)).toBe('IMAGE_CHECKSUM');
        expect(slow.badPayloads.length).toBeGreaterThan(0);
      }
    }
  }
}

function checkVerification(result: Verification, slow: SlowImage | Refused): void {
  const isGood = !(slow instanceof Refused) && slow.badPayloads.length === 0;
  expect(result.ok).toBe(isGood);
  expect(result.problems.length > 0).toBe(!isGood);
  for (const { code, offset } of result.problems) {
    expect(code).toMatch(/^IMAGE_/);
    expect(offset).toBeGreaterThanOrEqual(0);
    expect(offset).toBeLessThanOrEqual(result.bytes);
  }
  if (slow instanceof Refused) return;
  const bad = result.problems.map(({ offset }) => offset);
  expect(bad).toEqual([...slow.badPayloads].sort((a, b) => a - b));
}

/**
 * Memory of the machine that images are restored into. Some images need more than they have bytes;
 * only one that may need more than this machine has is allowed to fail.
 */
const MACHINE_BYTES = 8 * MiB;

function smallMachine(): Machine {
  return createMachine({ memory: MACHINE_BYTES, maxAddressSpaces: 16, store: MiB, checks: true });
}

/** The most memory, in bytes, that a restore of an image needs. */
function memoryFor(image: Image): number {
  let pages = 512; // for the machine itself
  for (const { vmas, blocks } of image.mms()) {
    for (const { pages: stored } of vmas) pages += stored.copy + stored.zero + stored.clone;
    pages += blocks.count * 9; // tables of the mm and nodes of a page cache
  }
  return pages * PAGE_SIZE;
}

/**
 * Whether a process can read a page that the image knows: its mapping is readable and neither VM_IO
 * nor VM_PFNMAP, and the page is not beyond the end of the file.
 */
function isReadable(slow: SlowImage, mm: number, address: number): boolean {
  const { flags, file, pgoff, start } = vmaAt(slow.mms[mm]!, address)!;
  const isInFile = file === null || pgoff * PAGE_SIZE + (address - start) < file.size;
  return (flags & 1) !== 0 && (flags & 0x4400) === 0 && isInFile;
}

/**
 * Does an access and returns whether it succeeded. A refusal must be one that a process can get.
 */
function touched(access: () => void): boolean {
  try {
    access();
    return true;
  } catch (error) {
    expect(['SIGSEGV', 'SIGBUS', 'ENOMEM', 'EOVERFLOW', 'EINVAL']).toContain(cleanCode(error));
    return false;
  }
}

/** Restores into a machine, compares what it shows, and gives it back. Returns the outcome. */
async function checkRestore(
  random: Random,
  image: Image,
  bytes: Buffer,
  slow: SlowImage,
): Promise<string> {
  const machine = smallMachine();
  const { free } = machine.memory;
  let outcome = 'restored';
  try {
    const { mms, state } = await dumper.restore(image, machine);
    expect(Object.entries(state)).toEqual(
      slow.states.map(({ name, bytes }) => [name.toString(), Uint8Array.from(bytes)]),
    );
    assertTablesTrue(machine as never);
    for (const [mm, address] of addresses(random, slow)) {
      const expected = pageSlowly(bytes, slow, slow.mms[mm]!, address);
      const found = Buffer.alloc(PAGE_SIZE);
      const isShown = touched(() => mms[mm]!.read(address, found));
      if (expected === null || (!isShown && !isReadable(slow, mm, address))) continue;
      if (isShown && isSame(found, expected)) continue;
      throw new Error(`restored mm ${mm}: page 0x${address.toString(16)} differs`);
    }
    // The restored mms must stand what a process does with them.
    for (const [mm, address] of addresses(random, slow)) {
      touched(() => mms[mm]!.fill(address, 1, 1));
      if (random.below(8) === 0) touched(() => mms[mm]!.munmap(address, PAGE_SIZE));
    }
    assertTablesTrue(machine as never);
    for (const space of mms) machine.destroyAddressSpace(space);
  } catch (error) {
    outcome = cleanCode(error);
  }
  expect(machine.addressSpaces()).toEqual([]);
  machine.reclaim(MiB);
  expect(machine.memory.free).toBe(free);
  return outcome;
}

class Counts {
  readonly #counts = new Map<string, number>();

  add(name: string): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  get(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  toString(): string {
    const sorted = [...this.#counts].sort(([, a], [, b]) => b - a);
    return sorted.map(([name, count]) => `${name} ${count}`).join(', ');
  }
}

async function runCase(random: Random, bytes: Buffer, counts: Counts): Promise<void> {
  const slow = slowly(bytes);
  const image = await opened(bytes);
  checkVerification(await dumper.verify(inMemory(bytes)), slow);
  if (typeof image === 'string') {
    counts.add(image);
    expect(slow, 'the slow reader takes it').toBeInstanceOf(Refused);
    return;
  }
  if (slow instanceof Refused) throw new Error(`opened, though: ${slow.message}`);
  counts.add('opened');
  expect(describeImage(image)).toEqual(describeSlow(slow));
  await checkPages(random, image, bytes, slow);
  await checkBlobs(image, slow);
  if (random.below(2) === 0) {
    const outcome = await checkRestore(random, image, bytes, slow);
    counts.add(`restore: ${outcome}`);
    // Everything that verify finds good is restored, and nothing else is.
    const refusals = ['IMAGE_CHECKSUM', 'IMAGE_CORRUPT', 'ENOMEM'];
    if (slow.badPayloads.length > 0) expect(refusals).toContain(outcome);
    else if (outcome !== 'restored') expect(memoryFor(image)).toBeGreaterThan(MACHINE_BYTES);
  }
}

/** Resident bytes of the process without garbage, whose amount depends on Node's version. */
async function heldBytes(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let pass = 0; pass < 2; pass++) {
    collect();
    // lets the collected memory be given back
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage.rss();
}

describe('a hostile image', () => {
  it('is refused with a code or read as a second reader reads it', {
    timeout: 3_600_000,
  }, async () => {
    const images = await hostileSeeds(dumper);
    const taken = images.map(takeApart);
    for (const bytes of images) {
      const outcome = new Counts();
      await runCase(randomOf(SEED, -1), bytes, outcome);
      expect(outcome.get('opened')).toBe(1);
    }
    const versions = new Counts();
    const counts = new Counts();
    const start = Date.now();
    let before = 0;
    const watchdog = new Watchdog(HANG_SECONDS, `hostile images: MMDUMP_SEED=${SEED}`);
    try {
      for (let item = 0; item < CASES; item++) {
        watchdog.beat(item);
        if (item === CASES / 4) before = await heldBytes();
        const random = randomOf(SEED, item);
        const { bytes, what, version } = hostileImage(random, images, taken);
        versions.add(version === 0 ? 'noise' : `version ${version}`);
        await runCase(random, bytes, counts).catch((error: unknown) => {
          const message = `MMDUMP_SEED=${SEED}, case ${item} (${what}): ${error}`;
          throw new Error(message, { cause: error });
        });
      }
    } finally {
      watchdog.stop();
    }
    const seconds = ((Date.now() - start) / 1000).toFixed(1);
    console.log(`hostile images: MMDUMP_SEED=${SEED}, ${CASES} cases (${versions}), ${seconds} s:`);
    console.log(counts.toString());
    expect((await heldBytes()) - before).toBeLessThan(GROWTH_BYTES);
    // The mutations must reach everything: images that open, and every way to be refused.
    for (const code of ['IMAGE_NOT_RECOGNISED', 'IMAGE_VERSION', 'IMAGE_TRUNCATED']) {
      expect(counts.get(code), code).toBeGreaterThan(CASES / 500);
    }
    for (const code of ['IMAGE_CORRUPT', 'IMAGE_CHECKSUM', 'opened']) {
      expect(counts.get(code), code).toBeGreaterThan(CASES / 50);
    }
    expect(counts.get('restore: restored')).toBeGreaterThan(CASES / 100);
    for (const name of ['version 1', 'version 2']) {
      expect(versions.get(name), name).toBeGreaterThan(CASES / 4);
    }
  });
});
