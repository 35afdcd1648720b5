/**
 * A machine with one mm that several threads change at the same time (`mutator.mjs`), as the main
 * thread sees it: where things lie, what the threads have published, and how they ended.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { type AddressSpace, createMachine, type Machine, MiB, PAGE_SIZE } from 'mmdump';
import { ZERO_PAGE } from '../support/machine/zero-page.ts';

export const THREADS = 4;
const GRANULE = 2 * MiB;
const COUNTER_GRANULES = 3;
const COUNTERS = 0x1000_0000_0000;
const SHARED = 0x1100_0000_0000;
const REGIONS = 0x2000_0000_0000;
const REGION_PAGES = 600; // two borders of granules, and a whole granule between them
const BALLASTS = 0x2800_0000_0000;
const BALLAST_PAGES = 400; // 6 MiB for all threads together
const PLAYGROUND = 0x3000_0000_0000 - 40 * PAGE_SIZE;
const PLAYGROUND_PAGES = 620;
const FILE = { pages: 40, first: 10 }; // page n holds the byte 10 + n
const ANON = { prot: 'rw', flags: ['private', 'anonymous', 'fixed'] } as const;

/** Words of the board, which is plain shared memory outside the simulated machine. */
const WORDS = { READY: 0, START: 1, STOP: 2, OPERATIONS: 3 } as const;
const BOARD = { THREADS: 16, STRIDE: 16, BEGUN: 0, DONE: 1 } as const;

/** A thread's count is stored into each of these pages, one after the other. */
export interface Chain {
  readonly at: number; // index of a word on the board
  readonly links: readonly number[]; // addresses
}

/** Links 0 to PRIVATE_LINKS - 1 are private memory, and the last one is shared. */
export const PRIVATE_LINKS: number = COUNTER_GRANULES;

const CHAINS: readonly Chain[] = Array.from({ length: THREADS }, (_, thread) => {
  const page = (thread * 8 + 3) * PAGE_SIZE;
  const granules = Array.from({ length: COUNTER_GRANULES }, (_, granule) => granule * GRANULE);
  const links = [...granules.map((granule) => COUNTERS + granule + page), SHARED + page];
  return { at: BOARD.THREADS + thread * BOARD.STRIDE, links };
});

export interface StressOptions {
  readonly memory: number;
  readonly swap: number;
  readonly seed: number;
  /** Operations per thread, at least: a thread goes on until it is told to stop as well. */
  readonly operations: number;
}

/**
 * Creates the file that all threads map and returns its id. It can be reached by its name, so
 * images do not hold it.
 */
export function createData(machine: Machine): number {
  const content = new Uint8Array(FILE.pages * PAGE_SIZE);
  for (let page = 0; page < FILE.pages; page++) {
    content.fill(FILE.first + page, page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  }
  return machine.createFile({ path: '/data', content }).id;
}

/** How a thread ended. */
export interface Ending {
  readonly kind: 'done' | 'poisoned' | 'failed' | 'gone';
  readonly message: string;
  readonly done: { readonly [what: string]: number };
}

export class StressRun {
  readonly machine: Machine;
  readonly space: AddressSpace;
  readonly chains: readonly Chain[] = CHAINS;
  readonly workers: Worker[] = [];
  readonly ids: number[] = [];
  readonly #board = new Int32Array(
    new SharedArrayBuffer((BOARD.THREADS + THREADS * BOARD.STRIDE) * 4),
  );
  readonly #endings: Promise<Ending>[] = [];
  readonly #options: StressOptions;
  readonly #file: number;

  constructor(options: StressOptions) {
    this.#options = options;
    const { memory, swap } = options;
    this.machine = createMachine({
      memory,
      swap,
      maxAddressSpaces: 8,
      checks: true,
      zeroPage: ZERO_PAGE,
    });
    this.#file = createData(this.machine);
    this.space = this.machine.createAddressSpace();
    const length = COUNTER_GRANULES * GRANULE;
    this.space.mmap({ ...ANON, address: COUNTERS, length });
    const flags = ['shared', 'anonymous', 'fixed'] as const;
    this.space.mmap({ prot: 'rw', flags, address: SHARED, length: THREADS * 8 * PAGE_SIZE });
  }

  /** Starts the threads, and lets them run once all are ready. `announceAt`: see `announced`. */
  async start(announceAt: readonly number[] = []): Promise<void> {
    for (let ordinal = 0; ordinal < THREADS; ordinal++) {
      this.#startThread(ordinal, announceAt[ordinal] ?? -1);
    }
    await this.#reaches(WORDS.READY, THREADS);
    Atomics.store(this.#board, WORDS.START, 1);
    Atomics.notify(this.#board, WORDS.START);
  }

  #startThread(ordinal: number, announceAt: number): void {
    const thread = this.machine.registerThread();
    const worker = new Worker(new URL('./mutator.mjs', import.meta.url), {
      workerData: {
        handle: this.space.handle,
        thread,
        ordinal,
        seed: this.#options.seed + ordinal,
        operations: this.#options.operations,
        board: this.#board,
        words: WORDS,
        layout: this.#layout(),
        announceAt,
      },
    });
    this.ids.push(thread);
    this.workers.push(worker);
    this.#endings.push(endingOf(worker));
  }

  #layout(): object {
    const file = { id: this.#file, ...FILE };
    const regions = Array.from({ length: THREADS }, (_, thread) => {
      const base = REGIONS + thread * 64 * MiB - 44 * PAGE_SIZE;
      return { base, count: REGION_PAGES };
    });
    const ballasts = Array.from({ length: THREADS }, (_, thread) => {
      return { base: BALLASTS + thread * 64 * MiB, count: BALLAST_PAGES };
    });
    const heap = { start: this.space.addresses().start_brk, pages: 64 };
    const playground = { base: PLAYGROUND, count: PLAYGROUND_PAGES, file, heap };
    const counters = { counters: COUNTERS, counterGranules: COUNTER_GRANULES };
    const chains = { chains: CHAINS, privateLinks: PRIVATE_LINKS };
    return { ...counters, ...chains, file, regions, ballasts, playground };
  }

  /** Resolves when the threads have done this share of their operations, or when one has ended. */
  progress(share: number): Promise<void> {
    return this.#reaches(WORDS.OPERATIONS, share * THREADS * this.#options.operations);
  }

  async #reaches(word: number, wanted: number): Promise<void> {
    let hasEnded = false;
    const ended = Promise.race(this.#endings).then(() => {
      hasEnded = true;
    });
    while (!hasEnded) {
      const seen = Atomics.load(this.#board, word);
      if (seen >= wanted) return;
      const wait = Atomics.waitAsync(this.#board, word, seen);
      if (wait.async) await Promise.race([wait.value, ended]);
    }
  }

  /** Resolves when the thread reaches the operation that it was told to announce, or ends. */
  announced(ordinal: number): Promise<unknown> {
    return Promise.race([once(this.workers[ordinal]!, 'message'), this.#endings[ordinal]]);
  }

  /** Tells the threads to end once they have done their operations. Resolves to how they ended. */
  stop(): Promise<Ending[]> {
    Atomics.store(this.#board, WORDS.STOP, 1);
    return Promise.all(this.#endings);
  }

  async terminate(): Promise<void> {
    for (const worker of this.workers) await worker.terminate();
  }

  /** The counts that are stored in every link by now (DONE), or begun to be stored (BEGUN). */
  published(what: 'DONE' | 'BEGUN'): number[] {
    return CHAINS.map(({ at }) => Atomics.load(this.#board, at + BOARD[what]));
  }
}

async function endingOf(worker: Worker): Promise<Ending> {
  let ending: Ending = { kind: 'gone', message: 'the thread is gone', done: {} };
  worker.on('message', (message: Ending | { readonly kind: 'announced' }) => {
    if (message.kind === 'announced') return;
    ending = { ...ending, ...message };
  });
  worker.on('error', (error: Error) => {
    ending = { ...ending, kind: 'failed', message: error.stack ?? String(error) };
  });
  await new Promise((resolve) => worker.once('exit', resolve));
  return ending;
}
