/**
 * One thread of a pool: a piscina of its own, so that each starts when it is wanted, the next one
 * takes its place when it is lost, and the tasks of a phase never queue behind each other.
 */
import { createRequire } from 'node:module';
import type { Piscina } from 'piscina';
import type { PhaseName } from '../../shared/faults.ts';
import { tasksUrl } from '../package/places.ts';

/** Of the threads of tests: to fill a heap of the usual size takes seconds. */
const LITTLE_HEAP = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 8 } as const;

export class WorkerThread {
  readonly #pool: Piscina;
  /** The module that the thread has loaded. */
  readonly #filename: string;
  readonly #ready: Promise<void>;
  #isUp = false;
  /** Tasks that were given to the thread and are not done. */
  #tasks = 0;
  /** It has had a task since it last let go. */
  #hasWorked = false;
  #gone: Promise<void> = Promise.resolve();

  /** Starts the thread. `hasLittleHeap`: for tests that fill it. */
  constructor(hasLittleHeap: boolean) {
    const filename = tasksUrl(); // before all else: it says so where the package was bundled
    this.#filename = filename;
    // Loaded with the first thread: small jobs need none. At once, so that the thread starts now.
    const require = createRequire(import.meta.url);
    const { Piscina: Pool } = require('piscina') as { readonly Piscina: typeof Piscina };
    this.#pool = new Pool({
      minThreads: 1,
      maxThreads: 1,
      concurrentTasksPerWorker: 2, // 'ready', and behind it the task of a phase: both are lost with the thread
      idleTimeout: Number.POSITIVE_INFINITY,
      recordTiming: false,
      ...(hasLittleHeap && { resourceLimits: LITTLE_HEAP }),
    });
    // It may be lost between two tasks, too. There is another then, and nobody to be told.
    this.#pool.on('error', () => {});
    const up = (): void => {
      this.#isUp = true;
    };
    // A thread that cannot even start says so when it gets a task.
    this.#ready = this.#pool.run(null, { filename, name: 'ready' }).then(up, () => {});
  }

  /** Its modules are loaded: a task begins at once. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** What the task returns; rejects if it throws, or the thread is lost. */
  async run<T>(message: unknown, name: PhaseName): Promise<T> {
    this.#tasks++;
    this.#hasWorked = true;
    try {
      return await this.#pool.run(message, { filename: this.#filename, name });
    } finally {
      this.#tasks--;
    }
  }

  /**
   * Makes the thread let go of machines that have ended; resolves when it has. One that is at work
   * does it afterwards, and is not waited for. It collects its garbage, which takes about 20 ms and
   * lets go of every machine that has ended by then: of many at once, it does so once. Best effort: a
   * thread that is lost has let go, too.
   */
  async letGo(): Promise<void> {
    const isIdle = this.#tasks === 0;
    if (this.#hasWorked) {
      this.#hasWorked = false;
      const gone = this.#pool.run({}, { filename: this.#filename, name: 'letGo' });
      this.#gone = gone.catch(() => {});
    }
    if (isIdle) await this.#gone;
  }

  /**
   * Ends the thread, once its modules are loaded: to end it in the middle of that can end the whole
   * process (Node 22: "v8::Module::IsGraphAsync must be used on an instantiated module").
   */
  async end(): Promise<void> {
    await this.#ready;
    await this.#pool.destroy();
  }
}
