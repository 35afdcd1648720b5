/**
 * Threads that measure limits and floors. They claim a job chunk by chunk, so that none waits for a
 * thread that the system has taken off its core. The time runs from the start of the first thread
 * to the end of the last one, by a clock that they share, so messages do not count.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { MachineHandle } from 'mmdump';
import type { KernelModules } from '../src/shared/kernels.ts';
import type { WasmMemory, WasmModule } from '../src/shared/wasm.ts';

interface CopyJob {
  readonly arena: object;
  /** Byte offset of the list of frames in the arena. */
  readonly list: number;
  readonly count: number;
  readonly kernel: string;
  readonly chunk: number; // frames
}

/** The message of each job, by the job's name in `threads/floor-worker.mjs`. */
export interface FloorJobs {
  readonly copy: CopyJob;
  readonly copyAndDigest: CopyJob & { readonly digests: WasmModule };
  readonly digest: {
    readonly digests: WasmModule;
    /** The chunks of an image in memory, as views of shared memory. */
    readonly chunks: readonly Uint8Array[];
    readonly chunkBytes: number;
    readonly bytes: number;
    readonly chunk: number; // bytes
  };
  readonly touch: { readonly buffer: SharedArrayBuffer; readonly chunk: number };
  readonly readFile: { readonly path: string; readonly bytes: number; readonly chunk: number };
  readonly readProcess: {
    readonly pid: number;
    readonly start: number; // address
    readonly bytes: number;
    readonly buffer: SharedArrayBuffer;
    readonly chunk: number; // bytes
  };
}

/** The clock: for time that passes, or for processor time where one thread works alone. */
type Clock = 'wall' | 'processor';

/** The messages of the jobs in `threads/digest-worker.mjs`, which runs the package's own code. */
export interface DigestJobs {
  readonly digest: {
    readonly id: number;
    readonly way: string;
    readonly clock: Clock;
    readonly memory: WasmMemory;
    readonly at: number; // byte of the memory
    readonly bytes: number;
    readonly times: number;
    readonly digests: KernelModules;
  };
  readonly copyAndDigest: {
    readonly id: number;
    readonly way: string;
    readonly clock: Clock;
    readonly handle: MachineHandle;
    /** Frame numbers, in the order of the copies. */
    readonly sources: SharedArrayBuffer;
    readonly count: number;
    readonly window: { readonly memory: WasmMemory; readonly at: number; readonly bytes: number };
    readonly copies: KernelModules;
    readonly digests: KernelModules;
  };
}

type Answer = { readonly start: number; readonly end: number } | { readonly failed: string };

export class FloorThreads<Jobs = FloorJobs> {
  readonly count: number;
  readonly #threads: readonly Worker[];
  /** The first item that no thread has claimed yet; set to 0 before each job. */
  readonly #claims = new Int32Array(new SharedArrayBuffer(64));

  private constructor(threads: readonly Worker[]) {
    this.count = threads.length;
    this.#threads = threads;
  }

  static create(count: number): Promise<FloorThreads> {
    return FloorThreads.#start(count, 'floor-worker');
  }

  /** Threads for digests, with and without a copy. */
  static createDigesting(count: number): Promise<FloorThreads<DigestJobs>> {
    return FloorThreads.#start(count, 'digest-worker');
  }

  static async #start<J>(count: number, program: string): Promise<FloorThreads<J>> {
    const url = new URL(`./threads/${program}.mjs`, import.meta.url);
    const threads = Array.from({ length: count }, () => new Worker(url));
    await Promise.all(threads.map((thread) => once(thread, 'online')));
    return new FloorThreads<J>(threads);
  }

  /** Runs a job on all threads; resolves with the milliseconds from first start to last end. */
  async run<J extends keyof Jobs>(job: J, message: Jobs[J]): Promise<number> {
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
      if ('failed' in answer) throw new Error(`${String(job)}: ${answer.failed}`);
      starts.push(answer.start);
      ends.push(answer.end);
    }
    return Math.max(...ends) - Math.min(...starts);
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }
}
