/**
 * Measures single accesses to an mm: small reads and writes, hits of a TLB and hits by a window
 * beside a plain typed array, an interpreter on all three, and two threads that write one mm.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { createMachine, KiB, MiB } from 'mmdump';
import type { BenchCase } from '../case.ts';
import type { Fixtures } from '../fixtures.ts';
import { type Line, toLine } from '../line.ts';
import { measure, samplesOf, type Task, type Tasks } from '../measure.ts';
import { TARGETS, type Target } from '../targets.ts';

const AT = 0x1000_0000;
const BYTES = 256 * KiB;
const script = new URL('../threads/access-worker.mjs', import.meta.url);

/** What is measured, and how often a sample does it. */
const WAYS = {
  'mm.read 8': 200_000,
  'mm.write 8': 200_000,
  'mm.read 64': 200_000,
  'plain load': 2_000_000,
  'TLB load': 2_000_000,
  'window load': 2_000_000,
  'plain store': 2_000_000,
  'TLB store': 2_000_000,
  'window store': 2_000_000,
  'plain interpreter': 1_000_000,
  'TLB interpreter': 1_000_000,
  'window interpreter': 1_000_000,
} as const;
type Way = keyof typeof WAYS;

/** Threads on one mm of their own, each with a thread id. */
class Crew {
  readonly #machine = createMachine({ memory: 16 * MiB });
  readonly #space = this.#machine.createAddressSpace();
  readonly #gate = new Int32Array(new SharedArrayBuffer(4));
  readonly #workers: Worker[] = [];

  constructor() {
    const flags = ['private', 'anonymous', 'fixed'] as const;
    this.#space.mmap({ address: AT, length: 2 * BYTES, prot: 'rw', flags });
    this.#space.fill(AT, 2 * BYTES, 1);
  }

  async add(way: Way, at: number): Promise<Worker> {
    const thread = this.#machine.registerThread();
    const { handle } = this.#space;
    const workerData = { handle, thread, at, bytes: BYTES, way, gate: this.#gate };
    const worker = new Worker(script, { workerData });
    this.#workers.push(worker);
    await once(worker, 'online');
    return worker;
  }

  /** Nanoseconds per access, of threads that work at the same time. */
  async run(workers: readonly Worker[], times: number): Promise<number> {
    Atomics.store(this.#gate, 0, 0);
    const answers = await Promise.all(
      workers.map(async (worker): Promise<number> => {
        const answer = once(worker, 'message');
        worker.postMessage({ times, threads: workers.length });
        return (await answer)[0].ns;
      }),
    );
    return answers.reduce((sum, ns) => sum + ns, 0) / answers.length;
  }

  async end(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
    await this.#machine.close();
  }
}

async function alone({ options }: Fixtures): Promise<Line[]> {
  const crew = new Crew();
  try {
    const tasks: { [way: string]: Task } = {};
    for (const [way, times] of Object.entries(WAYS)) {
      // Apart from the ways that store: they would store over the program.
      const at = way.endsWith('interpreter') ? AT + BYTES : AT;
      const worker = await crew.add(way as Way, at);
      tasks[way] = async () => ({ ms: await crew.run([worker], times) });
    }
    const samples = await measure(tasks as Tasks, options.rounds);
    const of = (way: Way): readonly number[] => samplesOf(samples, way);
    const beside = (way: Way, plain: Way, target?: Target): Line => {
      const limit = { name: plain, samples: of(plain) };
      return toLine('access', { name: way, unit: 'ns', samples: of(way), limit, target });
    };
    const small = (way: Way, target?: Target): Line =>
      toLine('access', { name: way, unit: 'ns', samples: of(way), target });
    return [
      small('mm.read 8', TARGETS.smallRead),
      small('mm.write 8'),
      small('mm.read 64'),
      beside('TLB load', 'plain load'),
      beside('window load', 'plain load', TARGETS.tlbHit),
      beside('TLB store', 'plain store'),
      beside('window store', 'plain store', TARGETS.tlbHit),
      beside('TLB interpreter', 'plain interpreter'),
      beside('window interpreter', 'plain interpreter', TARGETS.interpreter),
    ];
  } finally {
    await crew.end();
  }
}

/** How many times as many writes two threads make as one. */
async function together({ options }: Fixtures): Promise<Line> {
  const crew = new Crew();
  try {
    const one = await crew.add('mm.write 8', AT);
    const other = await crew.add('mm.write 8', AT + BYTES);
    const task = (workers: readonly Worker[]): Task => {
      return async () => ({ ms: await crew.run(workers, WAYS['mm.write 8']) });
    };
    const samples = await measure({ one: task([one]), two: task([one, other]) }, options.rounds);
    const two = samplesOf(samples, 'two');
    const times = samplesOf(samples, 'one').map((ns, round) => (2 * ns) / two[round]!);
    const name = 'writes to one mm, two threads against one';
    const target = TARGETS.twoWriters;
    return toLine('access', { name, unit: '×', samples: times, target });
  } finally {
    await crew.end();
  }
}

export const access: BenchCase = {
  name: 'access',
  about: 'single accesses: mm.read and mm.write, a TLB, a window, an interpreter, two threads',
  async run(fixtures) {
    return { lines: [...(await alone(fixtures)), await together(fixtures)] };
  },
};
