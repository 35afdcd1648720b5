/**
 * A machine with one mm in which several threads count (`snapshot-writer.mjs`), as the main thread
 * sees it: what they have published, how they stand still, and how they ended.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { type AddressSpace, createMachine, type Machine, MiB, PAGE_SIZE } from 'mmdump';
import type { Counts } from './counted.ts';

export const THREADS = 4;
const WORDS = { STOP: 0, PAUSE: 1, PAUSED: 2, THREADS: 16, STRIDE: 16 } as const;
const COUNTERS = 0x1000_0000_0000;
const CHURN = 0x2000_0000_0000;
const CHURN_PAGES = 40;
const GRANULE = 2 * MiB;
const LINKS = 3;
const ANON = { prot: 'rw', flags: ['private', 'anonymous', 'fixed'] } as const;

/** The pages in which a thread counts, one after the other. */
export const linksOf = (thread: number): number[] =>
  Array.from({ length: LINKS }, (_, link) => COUNTERS + link * GRANULE + thread * 5 * PAGE_SIZE);

/** How a thread ended. */
export interface Ending {
  readonly kind: string;
  readonly message?: string;
}

export class SnapshotRun {
  readonly machine: Machine;
  readonly space: AddressSpace;
  readonly workers: Worker[] = [];
  readonly ids: number[] = [];
  readonly endings: Promise<Ending>[] = [];
  readonly #board = new Int32Array(new SharedArrayBuffer((16 + THREADS * 16) * 4));
  readonly #seed: number;

  constructor(seed: number, memory: number) {
    this.#seed = seed;
    const sizes = { memory, swap: 16 * MiB, maxAddressSpaces: 16 };
    this.machine = createMachine({ ...sizes, checks: true });
    this.space = this.machine.createAddressSpace();
    this.space.mmap({ ...ANON, address: COUNTERS, length: LINKS * GRANULE });
    for (let thread = 0; thread < THREADS; thread++) {
      for (const link of linksOf(thread)) this.space.fill(link, PAGE_SIZE, 0);
    }
  }

  start(victim = -1, announceAt = -1): void {
    for (let ordinal = 0; ordinal < THREADS; ordinal++) {
      const thread = this.machine.registerThread();
      const churn = { base: CHURN + ordinal * 64 * MiB, pages: CHURN_PAGES };
      const worker = new Worker(new URL('./snapshot-writer.mjs', import.meta.url), {
        workerData: {
          ...{ handle: this.space.handle, thread, ordinal, seed: this.#seed + ordinal },
          ...{ board: this.#board, words: WORDS, links: linksOf(ordinal), churn },
          announceAt: ordinal === victim ? announceAt : -1,
        },
      });
      this.ids.push(thread);
      this.workers.push(worker);
      this.endings.push(endingOf(worker));
    }
  }

  published(what: 0 | 1): number[] {
    return Array.from({ length: THREADS }, (_, thread) => {
      return Atomics.load(this.#board, WORDS.THREADS + thread * WORDS.STRIDE + what);
    });
  }

  /** Resolves once each thread has counted on, or one has ended. */
  async advance(): Promise<void> {
    const before = this.published(1);
    let isOver = false;
    for (const ending of this.endings) void ending.then(() => (isOver = true));
    while (!isOver && this.published(1).some((count, thread) => count <= before[thread]!)) {
      await nextTurn();
    }
  }

  /** Lets the threads stand still between two operations while `work` runs. */
  async paused(work: () => Promise<void>): Promise<void> {
    Atomics.store(this.#board, WORDS.PAUSE, 1);
    await this.#arePaused(THREADS);
    try {
      await work();
    } finally {
      Atomics.store(this.#board, WORDS.PAUSE, 0);
      Atomics.notify(this.#board, WORDS.PAUSE);
      await this.#arePaused(0);
    }
  }

  async #arePaused(threads: number): Promise<void> {
    let isOver = false;
    for (const ending of this.endings) void ending.then(() => (isOver = true));
    while (!isOver && Atomics.load(this.#board, WORDS.PAUSED) !== threads) await nextTurn();
    if (isOver) throw new Error((await Promise.race(this.endings)).message);
  }

  stop(): Promise<Ending[]> {
    Atomics.store(this.#board, WORDS.STOP, 1);
    return Promise.all(this.endings);
  }

  async terminate(): Promise<void> {
    for (const worker of this.workers) await worker.terminate();
  }
}

async function endingOf(worker: Worker): Promise<Ending> {
  let ending: Ending = { kind: 'gone', message: 'the thread is gone' };
  worker.on('message', (message: Ending) => {
    if (message.kind !== 'announced') ending = message;
  });
  worker.on('error', (error: Error) => {
    ending = { kind: 'failed', message: error.stack ?? String(error) };
  });
  await new Promise((resolve) => worker.once('exit', resolve));
  return ending;
}

/** One word, and its bytes. */
export const WORD: Int32Array<ArrayBuffer> = new Int32Array(1);
const WORD_BYTES = new Uint8Array(WORD.buffer);

/** The counts of all threads in all of their pages, as `read` finds them. */
export async function countsBy(read: (at: number, into: Uint8Array) => unknown): Promise<Counts> {
  const counts: number[][] = [];
  for (let thread = 0; thread < THREADS; thread++) {
    const found: number[] = [];
    for (const link of linksOf(thread)) {
      await read(link, WORD_BYTES);
      found.push(WORD[0]!);
    }
    counts.push(found);
  }
  return counts;
}

/** Tries again when memory is short, or what it needs is busy. */
export async function insist<T>(attempt: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await attempt();
    } catch (error) {
      const { code } = error as { code?: string };
      if ((code !== 'ENOMEM' && code !== 'TOO_MANY_THREADS') || tries === 10_000) throw error;
      await nextTurn();
    }
  }
}
