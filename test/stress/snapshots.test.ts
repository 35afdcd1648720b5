/**
 * Invariants checked, while four threads store by TLBs and by system calls, map, unmap and take
 * snapshots, and the main thread takes snapshots, dumps, rewinds, reclaims and merges pages:
 *  - a snapshot, and a dump that pauses for one, is of one instant: along the chain of pages in which
 *    a thread counts, no count is larger than the one before it, and the first is at most one ahead
 *  - that instant lies between what the threads had published before and after
 *  - every image of one snapshot is the same, however long the threads went on
 *  - after a rewind, the memory holds the counts that the images of the snapshot hold, and TLBs that
 *    were filled before find them
 *  - pages that have changed between two looks are among the dirty pages of the second
 *  - afterwards all counts are true, no lock is held, and nothing is left once all has exited
 *  - a thread that is terminated anywhere either poisons the machine for everybody, or is not missed
 *
 * MMDUMP_SEED repeats the choices, but not the timing. MMDUMP_LONG=1 makes 50 times as many.
 */
import { once } from 'node:events';
import { createDumper, type Dumper, MiB, memorySink } from 'mmdump';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { assertTablesTrue } from '../support/machine/invariants.ts';
import { asSource, assertNobodyIsThere, leftAfterExit } from './after.ts';
import { Operations } from './snapshot-operations.ts';
import { countsBy, insist, SnapshotRun, THREADS } from './snapshot-run.ts';

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

const runs: SnapshotRun[] = [];
afterEach(async () => {
  for (const run of runs.splice(0)) await run.terminate();
});

function runOf(seed: number, memory = 48 * MiB): SnapshotRun {
  const run = new SnapshotRun(seed, memory);
  runs.push(run);
  return run;
}

describe('four threads that store, and snapshots of their address space', () => {
  it.each([
    ['with plenty of memory', 48 * MiB],
    ['short of memory', 3 * MiB],
  ])(
    'are seen at instants only, and go back to them: %s',
    async (name, memory) => {
      const run = runOf(SEED, memory);
      const operations = new Operations(run, dumper, SEED);
      run.start();
      for (let operation = 0; operation < 60 * SCALE; operation++) {
        await operations.step();
        if (operation % 4 === 0) await run.advance();
      }
      for (const { kind, message } of await run.stop()) expect(kind, message).toBe('done');
      console.log(name, operations.did, run.published(1));
      expect(operations.compared).toBeGreaterThan(0);
      expect(operations.rewound).toBeGreaterThan(0);
      assertTablesTrue(asSource(run.machine));
      await operations.end();
      assertTablesTrue(asSource(run.machine));
      assertNobodyIsThere(run.machine);
      const counts = await countsBy((at, into) => run.space.read(at, into));
      expect(counts).toEqual(run.published(1).map((count) => [count, count, count]));
      expect(leftAfterExit(run.machine)).toEqual({ frames: 0, slots: 0 });
      assertTablesTrue(asSource(run.machine));
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
  const run = runOf(seed);
  const { machine, space } = run;
  const victim = seed % THREADS;
  run.start(victim, seed % 200);
  const snapshot = await insist(() => machine.snapshotAsync({ spaces: [space] }));
  await Promise.race([once(run.workers[victim]!, 'message'), run.endings[victim]]);
  const attempts = [
    dumper.dump(snapshot, { to: memorySink() }),
    snapshot.rewindAsync(),
    dumper.dump(space, { to: memorySink(), pause: 'fork' }),
  ].map(refusal);
  await run.workers[victim]!.terminate();
  machine.threadGone(run.ids[victim]!);
  const outcomes = await Promise.all(attempts);
  const endings = await run.stop();
  const isPoisoned = asSource(machine).parts.threads.isPoisoned;
  for (const outcome of outcomes) {
    expect(isPoisoned ? ['MACHINE_POISONED', 'nothing'] : ['nothing']).toContain(outcome);
  }
  for (const [thread, { kind, message }] of endings.entries()) {
    // A rewind takes back what a thread has just stored, which it may find.
    if (thread === victim || message?.includes('stored') === true) continue;
    expect(isPoisoned ? ['poisoned', 'done'] : ['done'], message).toContain(kind);
  }
  if (isPoisoned) {
    expect(await refusal(machine.snapshotAsync())).toBe('MACHINE_POISONED');
    expect(await refusal(snapshot.rewindAsync())).toBe('MACHINE_POISONED');
    return true;
  }
  assertNobodyIsThere(machine);
  await snapshot.rewindAsync();
  await snapshot.dropAsync();
  await dumper.dump(space, { to: memorySink() });
  return false;
}

describe('a thread that is terminated among snapshots', () => {
  it(
    'poisons the machine for everybody, or is not missed',
    async () => {
      let poisoned = 0;
      const rounds = 4 * SCALE;
      for (let round = 0; round < rounds; round++) if (await killOne(SEED + 7 * round)) poisoned++;
      console.log(`terminated: ${poisoned} of ${rounds} machines poisoned`);
    },
    TIMEOUT,
  );
});
