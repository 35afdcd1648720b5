/**
 * One thread of a pool. It is a piscina of its own, so that each thread starts when it is wanted, a
 * new one replaces it when it is lost, and the tasks of a phase never queue behind each other.
 */
import { createRequire } from 'node:module';
import type { Piscina } from 'piscina';
import type { PhaseName } from '../../shared/faults.ts';
import { tasksUrl } from '../package/places.ts';

/** Heap limits in tests, since it takes seconds to fill a heap of the usual size. */
const LITTLE_HEAP = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 8 } as const;

export class WorkerThread {
  readonly #pool: Piscina;
  /** The module that the thread has loaded. */
  readonly #filename: string;
  readonly #ready: Promise<void>;
  #isUp = false;
  /** Tasks that the thread was given and has not finished. */
  #tasks = 0;
  /** The thread has had a task since it last dropped machines. */
  #hasWorked = false;
  /** Settles when the thread has dropped machines for the last time that it was asked to. */
  #gone: Promise<void> = Promise.resolve();

  /** Starts the thread. `hasLittleHeap` serves tests that fill the heap. */
  constructor(hasLittleHeap: boolean) {
    const filename = tasksUrl(); // comes first, since it throws PACKAGE_BUNDLED
    this.#filename = filename;
    // piscina is loaded with the first thread, since small jobs need none. The load is synchronous,
    // so that the thread starts now.
    const require = createRequire(import.meta.url);
    const { Piscina: Pool } = require('piscina') as { readonly Piscina: typeof Piscina };
    this.#pool = new Pool({
      minThreads: 1,
      maxThreads: 1,
      // The thread has 'ready' and, behind it, the task of a phase. Both are lost with the thread.
      concurrentTasksPerWorker: 2,
      idleTimeout: Number.POSITIVE_INFINITY,
      recordTiming: false,
      ...(hasLittleHeap && { resourceLimits: LITTLE_HEAP }),
    });
    // The thread can also die while it is idle. The pool replaces it, and no task has to fail.
    this.#pool.on('error', () => {});
    const up = (): void => {
      this.#isUp = true;
    };
    // If the thread cannot start, its first task of a phase fails and tells why.
    this.#ready = this.#pool.run(null, { filename, name: 'ready' }).then(up, () => {});
  }

  /** Whether its modules are loaded, so that a task begins at once. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /**
   * Resolves with what the task returns. Rejects if the task throws or the thread is lost. `signal`
   * ends the thread if the task runs, and another one takes its place.
   */
  async run<T>(message: unknown, name: PhaseName, signal?: AbortSignal): Promise<T> {
    this.#tasks++;
    this.#hasWorked = true;
    try {
      const task = { filename: this.#filename, name };
      return await this.#pool.run(message, signal === undefined ? task : { ...task, signal });
    } finally {
      this.#tasks--;
    }
  }

  /**
   * Makes the thread drop machines that have ended, and resolves when it has. A thread that is at
   * work does so after its task and is not waited for. The thread collects its garbage, which
   * takes about 20 ms and frees every machine that has ended by then, so it collects only once when
   * several end together. This is best effort: a thread that is lost has dropped them as well.
   */
  async dropMachines(): Promise<void> {
    const isIdle = this.#tasks === 0;
    if (this.#hasWorked) {
      this.#hasWorked = false;
      const gone = this.#pool.run({}, { filename: this.#filename, name: 'dropMachines' });
      this.#gone = gone.catch(() => {});
    }
    if (isIdle) await this.#gone;
  }

  /**
   * Ends the thread once its modules are loaded. To end it while it loads them can end the whole
   * process (Node 22: "v8::Module::IsGraphAsync must be used on an instantiated module").
   */
  async end(): Promise<void> {
    await this.#ready;
    await this.#pool.destroy();
  }
}
