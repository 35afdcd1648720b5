/**
 * Threads for what benchmarks are measured against. A job is claimed chunk by chunk, so that no
 * thread waits for one that the system has put aside, and is timed from the first thread's start to
 * the last one's end by a clock that they share: what messages take does not count.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

interface CopyJob {
  readonly arena: object;
  /** Byte offset of the list of frames in the arena. */
  readonly list: number;
  readonly count: number;
  readonly kernel: string;
  readonly chunk: number; // frames
}

/** What a job reads, by its name in `threads/floor-worker.mjs`. */
export interface FloorJobs {
  readonly copy: CopyJob;
  readonly copyAndCrc: CopyJob;
  readonly crc: {
    /** Of an image in memory: views of shared memory. */
    readonly chunks: readonly Uint8Array[];
    readonly chunkBytes: number;
    readonly bytes: number;
    readonly chunk: number; // bytes
  };
  readonly touch: { readonly buffer: SharedArrayBuffer; readonly chunk: number };
  readonly readProcess: {
    readonly pid: number;
    readonly start: number; // address
    readonly bytes: number;
    readonly buffer: SharedArrayBuffer;
    readonly chunk: number; // bytes
  };
}

type Answer = { readonly start: number; readonly end: number } | { readonly failed: string };

export class FloorThreads {
  readonly count: number;
  readonly #threads: readonly Worker[];
  /** What is left to claim; reset before each job. */
  readonly #claims = new Int32Array(new SharedArrayBuffer(64));

  private constructor(threads: readonly Worker[]) {
    this.count = threads.length;
    this.#threads = threads;
  }

  static async create(count: number): Promise<FloorThreads> {
    const url = new URL('./threads/floor-worker.mjs', import.meta.url);
    const threads = Array.from({ length: count }, () => new Worker(url));
    await Promise.all(threads.map((thread) => once(thread, 'online')));
    return new FloorThreads(threads);
  }

  /** Runs a job on all threads; resolves with the milliseconds from first start to last end. */
  async run<J extends keyof FloorJobs>(job: J, message: FloorJobs[J]): Promise<number> {
    Atomics.store(this.#claims, 0, 0);
    const answers = await Promise.all(
      this.#threads.map(async (thread): Promise<Answer> => {
        const answer = once(thread, 'message');
        thread.postMessage({ job, message, claims: this.#claims });
        return (await answer)[0];
      }),
    );
    const starts: number[] = [];
    const ends: number[] = [];
    for (const answer of answers) {
      if ('failed' in answer) throw new Error(`${job}: ${answer.failed}`);
      starts.push(answer.start);
      ends.push(answer.end);
    }
    return Math.max(...ends) - Math.min(...starts);
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }
}
