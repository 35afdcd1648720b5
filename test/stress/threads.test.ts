/**
 * Invariants checked, while four threads change one mm and its forks, and others read, fork, dump,
 * merge and reclaim; once with so little memory that pages go to swap all the time, and once with
 * plenty:
 *  - a thread that alone maps and writes a region reads back what it wrote, at every moment, and in
 *    a fork what was there when it forked
 *  - a page is stored and copied as a whole, whatever is mapped over it meanwhile
 *  - a thread counts in several pages, one after the other, and is seen to do so: in a frozen dump
 *    and in a fork the counts do not rise along its chain of pages, and the first is at most 1
 *    ahead of the last
 *  - the counts in a dump or fork lie between those that the thread had published before the dump
 *    or fork began and those after it ended, and never go backwards from dump to fork to dump
 *  - every image verifies, and reads the same when it is restored into another machine
 *  - afterwards all counts are true, no lock is held and no thread id is taken; once all mms have
 *    exited, every frame and every swap slot is free
 *  - a thread that is terminated anywhere either poisons the machine, for all threads; or the
 *    others go on, no content is lost, and nothing is used twice
 *
 * MMDUMP_SEED repeats the choices of the threads, but not their timing. MMDUMP_LONG=1 runs 50 times
 * as many.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type Image,
  type Machine,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { VM } from '../../src/shared/vm-flags.ts';
import { assertTablesTrue } from '../support/machine/invariants.ts';
import { ZERO_PAGE } from '../support/machine/zero-page.ts';
import { asSource, assertNobodyIsThere, assertNothingIsUsedTwice, leftAfterExit } from './after.ts';
import {
  assertInstant,
  assertNoEarlier,
  type Counts,
  countsInFork,
  countsInImage,
} from './counted.ts';
import { createData, type Ending, type StressOptions, StressRun, THREADS } from './stress-run.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const SCALE = IS_LONG ? 50 : 1;
const SEED = Number(process.env.MMDUMP_SEED ?? (IS_LONG ? Date.now() % 1_000_000 : 2008));
const TIMEOUT = 300_000 * SCALE;
console.log(`stress: MMDUMP_SEED=${SEED}`);

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

const runs: StressRun[] = [];
function runOf(options: StressOptions): StressRun {
  const run = new StressRun(options);
  runs.push(run);
  return run;
}
/** After a failure the threads would go on for ever. */
afterEach(async () => {
  for (const run of runs.splice(0)) await run.terminate();
});

/** Dumps the run's mm, verifies the image, and compares its counts with those published. */
async function dumpCounts(run: StressRun): Promise<{ image: Image; counts: Counts }> {
  const sink = memorySink();
  const least = run.published('DONE');
  await dumper.dump(run.space, { to: sink });
  const most = run.published('BEGUN');
  expect((await dumper.verify(sink.image)).problems).toEqual([]);
  const image = await openImage(sink.image);
  const counts = await countsInImage(image, run.chains);
  assertInstant('dump', counts, least, most);
  return { image, counts };
}

/**
 * Tries again when memory is short. This thread must not block, so reclaim skips mms that are busy
 * and may find nothing.
 */
async function insist<T>(attempt: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await attempt();
    } catch (error) {
      if ((error as { code?: string }).code !== 'ENOMEM' || tries === 10_000) throw error;
      await nextTurn();
    }
  }
}

/** Dumps, forks and dumps again: three instants in order. */
async function watch(run: StressRun): Promise<{ image: Image; child: AddressSpace }> {
  const first = await dumpCounts(run);
  const least = run.published('DONE');
  const child = await insist(() => run.space.forkAsync());
  const most = run.published('BEGUN');
  const counts = await insist(() => countsInFork(child, run.chains));
  assertInstant('fork', counts, least, most);
  assertNoEarlier('fork after dump', counts, first.counts);
  const second = await dumpCounts(run);
  assertNoEarlier('dump after fork', second.counts, counts);
  assertNoEarlier('dump after dump', second.counts, first.counts);
  const again = await insist(() => countsInFork(child, run.chains));
  expect(again).toEqual(counts); // whatever the parent has done since
  return { image: second.image, child };
}

/** Checks that every page that the image stores reads the same in the restored mm. */
async function assertReadsTheSame(image: Image, restored: AddressSpace): Promise<number> {
  const expected = new Uint8Array(PAGE_SIZE);
  const found = new Uint8Array(PAGE_SIZE);
  let pages = 0;
  for (const { start, end, flags } of image.vmas()) {
    if ((flags & (VM.READ | VM.WRITE | VM.EXEC)) === 0) continue;
    for (let at = start; at < end; at += PAGE_SIZE) {
      const { kind } = image.page(at);
      if (kind !== 'copy' && kind !== 'zero') continue;
      await image.read(at, expected);
      restored.read(at, found);
      if (Buffer.compare(found, expected) !== 0) throw new Error(`page at ${at} differs`);
      pages++;
    }
  }
  return pages;
}

function otherMachine(): Machine {
  const machine = createMachine({ memory: 64 * MiB, maxAddressSpaces: 2, zeroPage: ZERO_PAGE });
  createData(machine); // the dumped mm maps it, too
  return machine;
}

/**
 * Checks that a fork equals what is restored from its dump. First it unmaps the fork's shared
 * memory, so that the fork stands still.
 */
async function assertRestores(image: Image, child: AddressSpace): Promise<void> {
  const other = otherMachine();
  const { mms } = await dumper.restore(image, other);
  expect(await assertReadsTheSame(image, mms[0]!)).toBeGreaterThan(THREADS);
  for (const { start, end, prot } of await child.vmasAsync()) {
    if (prot.endsWith('s')) await insist(() => child.munmapAsync(start, end - start));
  }
  const sink = memorySink();
  await dumper.dump(child, { to: sink });
  const still = await openImage(sink.image);
  const twin = (await dumper.restore(still, other)).mms[0]!;
  expect(await dumper.compare(child, twin)).toMatchObject({ equal: true, difference: null });
}

/** Adds up what the threads say they did. All must have ended as they should. */
function summed(endings: readonly Ending[]): Record<string, number> {
  for (const { kind, message } of endings) expect(kind, message).toBe('done');
  const sums: Record<string, number> = {};
  for (const { done } of endings) {
    for (const [what, count] of Object.entries(done)) sums[what] = (sums[what] ?? 0) + count;
  }
  return sums;
}

/**
 * Checks that the mm holds the counts that the threads have published, and that nothing is left
 * after it has exited.
 */
async function assertAllIsWell(run: StressRun): Promise<void> {
  const { machine, space } = run;
  assertTablesTrue(asSource(machine));
  assertNobodyIsThere(machine);
  const { image, counts } = await dumpCounts(run);
  expect(counts).toEqual(run.published('DONE').map((count) => [count, count, count, count]));
  const { mms } = await dumper.restore(image, otherMachine());
  expect(await dumper.compare(space, mms[0]!)).toMatchObject({ equal: true, difference: null });
  expect(leftAfterExit(machine)).toEqual({ frames: 0, slots: 0 });
  assertTablesTrue(asSource(machine));
  assertNobodyIsThere(machine);
}

describe('four threads and one mm', () => {
  it.each([
    ['short of memory', { memory: 5 * MiB, swap: 32 * MiB }],
    ['with plenty of memory', { memory: 128 * MiB, swap: 32 * MiB }],
  ])(
    'are seen at instants only, and leave nothing behind: %s',
    async (name, sizes) => {
      const isShort = name === 'short of memory';
      const run = runOf({ ...sizes, seed: SEED, operations: 400 * SCALE });
      const { machine } = run;
      await run.start();
      const rounds = 4 * SCALE;
      for (let round = 1; round < rounds; round++) {
        await run.progress(round / rounds);
        const { image, child } = await watch(run);
        if (round % 3 === 0) await assertRestores(image, child);
        // Others hold what these take, and this thread must not wait: the plain forms would be EAGAIN.
        await machine.mergePagesAsync();
        await machine.reclaimAsync(MiB);
        await child.exitAsync();
      }
      const did = summed(await run.stop());
      console.log(name, did);
      expect(did.forks).toBeGreaterThan(THREADS);
      expect(did.merged).toBeGreaterThan(0);
      // The ballast of all threads is larger than the memory of the small machine.
      if (isShort) expect(machine.swap.total - machine.swap.free).toBeGreaterThan(MiB);
      else expect(did.shortages).toBe(0);
      await assertAllIsWell(run);
    },
    TIMEOUT,
  );
});

/** Returns the code that an attempt is refused with, or 'nothing'. */
async function refusal(attempt: Promise<unknown>): Promise<string> {
  return attempt.then(
    () => 'nothing',
    (error: { code?: string }) => error.code ?? String(error),
  );
}

/** Terminates one thread in the middle of its work. Returns true if that poisoned the machine. */
async function killOne(seed: number): Promise<boolean> {
  const operations = 150;
  const run = runOf({ memory: 12 * MiB, swap: 32 * MiB, seed, operations });
  const { machine, space } = run;
  const victim = seed % THREADS;
  const announceAt = Array.from({ length: THREADS }, (_, at) => (at === victim ? seed % 120 : -1));
  await run.start(announceAt);
  await run.announced(victim);
  const dump = seed % 3 === 0 ? refusal(dumper.dump(space, { to: memorySink() })) : undefined;
  await run.workers[victim]!.terminate();
  machine.threadGone(run.ids[victim]!);
  const dumped = await dump;
  const endings = await run.stop();
  const isPoisoned = asSource(machine).parts.threads.isPoisoned;
  for (const [thread, { kind, message }] of endings.entries()) {
    const expected = isPoisoned ? ['poisoned', 'done'] : ['done'];
    if (thread === victim) expect(kind).toBe('gone');
    else expect(expected, message).toContain(kind);
  }
  expect(isPoisoned ? ['MACHINE_POISONED', 'nothing'] : ['nothing']).toContain(dumped ?? 'nothing');
  if (isPoisoned) {
    const attempts = [space.forkAsync(), dumper.dump(space, { to: memorySink() })];
    for (const attempt of attempts) expect(await refusal(attempt)).toBe('MACHINE_POISONED');
    return true;
  }
  assertNobodyIsThere(machine);
  assertNothingIsUsedTwice(machine);
  await dumpCounts(run);
  // The victim may have had a fork, and may have held a huge page, a leaf's frame or a swap slot.
  const { frames, slots } = leftAfterExit(machine);
  expect(frames).toBeLessThan(1024);
  expect(slots).toBeLessThan(512);
  return false;
}

describe('a thread that is terminated', () => {
  it(
    'poisons the machine for everybody, or is not missed',
    async () => {
      let poisoned = 0;
      const rounds = 3 * SCALE; // every third one is dumped meanwhile
      for (let round = 0; round < rounds; round++) {
        if (await killOne(SEED + 7 * round)) poisoned++;
      }
      console.log(`terminated: ${poisoned} of ${rounds} machines poisoned`);
    },
    TIMEOUT,
  );
});
