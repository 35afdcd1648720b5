/** Measures how long it takes to take and release a lock, alone and with a second thread. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { createMachine, MiB } from 'mmdump';
import type { BenchCase } from '../case.ts';
import type { Fixtures } from '../fixtures.ts';
import { type Line, toLine } from '../line.ts';
import { measure, samplesOf, type Task, type Tasks } from '../measure.ts';

const LOCKS = [
  'mmap lock, reading',
  'mmap lock, writing',
  'LDT lock',
  'page-table lock',
  'freeze gate',
] as const;
/** Pairs by threads. Two threads that want one lock sleep and wake each other: µs per pair. */
const PAIRS = { 1: 200_000, 2: 20_000 } as const;
const FREEZES = 5_000;

const worker = new URL('../threads/lock-worker.mjs', import.meta.url);

async function contended(fixtures: Fixtures, threads: 1 | 2): Promise<Line[]> {
  const machine = createMachine({ memory: 16 * MiB });
  const { handle } = machine.createAddressSpace();
  const start = new SharedArrayBuffer(4);
  const workers = Array.from({ length: threads }, () => {
    return new Worker(worker, { workerData: { handle, thread: machine.registerThread(), start } });
  });
  await Promise.all(workers.map((each) => once(each, 'online')));
  const tasks = Object.fromEntries(
    LOCKS.map((lock): [string, Task] => [
      lock,
      async () => {
        Atomics.store(new Int32Array(start), 0, 0);
        const message = { lock, threads, pairs: PAIRS[threads] };
        const answers = await Promise.all(
          workers.map(async (each): Promise<number> => {
            const answer = once(each, 'message');
            each.postMessage(message);
            return (await answer)[0];
          }),
        );
        return { ms: answers.reduce((sum, each) => sum + each, 0) / threads };
      },
    ]),
  );
  try {
    const samples = await measure(tasks as Tasks, fixtures.options.rounds);
    return LOCKS.map((lock) => lineOf(lock, threads, samplesOf(samples, lock)));
  } finally {
    await Promise.all(workers.map((each) => each.terminate()));
  }
}

/** Closes the gate as a dump does: asynchronously, from a thread that must not block. */
async function freezes(fixtures: Fixtures): Promise<Line> {
  const machine = createMachine({ memory: 16 * MiB });
  const freezeAndThaw: Task = async () => {
    const start = performance.now();
    for (let done = 0; done < FREEZES; done++) (await machine.freeze()).thaw();
    return { ms: ((performance.now() - start) * 1e6) / FREEZES };
  };
  const samples = await measure({ freezeAndThaw }, fixtures.options.rounds);
  return lineOf('freeze and thaw', 1, samplesOf(samples, 'freezeAndThaw'));
}

function lineOf(name: string, threads: number, samples: readonly number[]): Line {
  return toLine('locks', { name, parameters: { threads }, unit: 'ns', samples });
}

export const locks: BenchCase = {
  name: 'locks',
  about: 'a lock taken and given back, as one of the threads that want it sees it',
  async run(fixtures) {
    const lines = [...(await contended(fixtures, 1)), await freezes(fixtures)];
    return { lines: [...lines, ...(await contended(fixtures, 2))] };
  },
};
