/**
 * The copy limit: what the machine gives when every worker does nothing but copy frames, in the same
 * scatter as the dump beside it, with the best bulk copy there is. No classification, no records.
 *
 * Frames, copies and the list of frames lie in one shared wasm memory, because that is where
 * memory.copy works on Node 20; all of it was written before anything is timed.
 */
import { readFile } from 'node:fs/promises';
import wabt from 'wabt';
import { digestKernel } from './digest-kernel.ts';
import type { FloorThreads } from './floor-threads.ts';
import { type Samples, samplesOf, type Tasks } from './measure.ts';
import { median } from './statistics.ts';

const PAGE = 4096;
const WASM_PAGE = 65536;
/** Frames of a claim: 1 MiB, as a dump's segments. */
const CHUNK = 256;
/** The same where a digest follows: 64 KiB. */
const DIGEST_CHUNK = 16;

/** What of WebAssembly is used here; Node's types leave it to the DOM's. */
interface SharedMemory {
  readonly buffer: SharedArrayBuffer;
}
const { WebAssembly: wasm } = globalThis as unknown as {
  readonly WebAssembly: {
    readonly Memory: new (descriptor: {
      initial: number;
      maximum: number;
      shared: true;
    }) => SharedMemory;
    compile(bytes: Uint8Array): Promise<unknown>;
  };
};

/** The ways to copy; `threads/floor-worker.mjs` has them. Which is best depends on the scatter. */
const KERNELS = ['memory.copy', 'four at once', 'Uint8Array.set', 'Buffer.copy'] as const;
const PREFIX = 'copy limit: ';

/** What was reached at best, and how. */
export interface BestCopy {
  readonly name: string;
  /** Milliseconds by round. */
  readonly samples: readonly number[];
}

export class CopyLimit {
  /** Bytes of frames at most. */
  readonly bytes: number;
  readonly #arena: object;
  readonly #words: Int32Array;
  #count = 0;

  private constructor(bytes: number, memory: SharedMemory, module: unknown) {
    this.bytes = bytes;
    this.#arena = { id: nextId++, memory, module, bytes };
    this.#words = new Int32Array(memory.buffer);
  }

  /** Room for `bytes` of frames, at most 1 GiB. */
  static async create(bytes: number): Promise<CopyLimit> {
    const listBytes = (bytes / PAGE) * 4;
    const pages = Math.ceil((2 * bytes + listBytes) / WASM_PAGE);
    const memory = new wasm.Memory({ initial: pages, maximum: pages, shared: true });
    const limit = new CopyLimit(bytes, memory, await compileKernels());
    limit.#words.fill(1, 0, (2 * bytes) / 4);
    return limit;
  }

  /** What is copied from now on: these frames, one behind the other. */
  setFrames(frames: Int32Array): void {
    if (frames.length * PAGE > this.bytes) throw new RangeError('more frames than there is room');
    this.#words.set(frames, (2 * this.bytes) / 4);
    this.#count = frames.length;
  }

  /** Copies everything once; milliseconds. */
  run(threads: FloorThreads, kernel: (typeof KERNELS)[number]): Promise<number> {
    const list = 2 * this.bytes;
    const count = this.#count;
    return threads.run('copy', { arena: this.#arena, list, count, kernel, chunk: CHUNK });
  }

  /** Copies everything once and digests each part while it is in the cache; milliseconds. */
  runWithDigest(threads: FloorThreads, kernel: (typeof KERNELS)[number]): Promise<number> {
    const list = 2 * this.bytes;
    const count = this.#count;
    const arena = this.#arena;
    const message = { arena, list, count, kernel, chunk: DIGEST_CHUNK, digests: digestKernel() };
    return threads.run('copyAndDigest', message);
  }

  /** A task for each way to copy. `scale`: what was asked for is so many times what is copied. */
  tasks(threads: FloorThreads, scale = 1): Tasks {
    return Object.fromEntries(
      KERNELS.map((kernel) => [
        PREFIX + kernel,
        async () => ({ ms: scale * (await this.run(threads, kernel)) }),
      ]),
    );
  }
}

let nextId = 0;

/** The best of the copies that were measured: the one with the lowest median. */
export function bestCopy(samples: Samples): BestCopy {
  const all = KERNELS.map((kernel) => {
    return { name: `copy limit (${kernel})`, samples: samplesOf(samples, PREFIX + kernel) };
  });
  return all.reduce((best, each) => (median(each.samples) < median(best.samples) ? each : best));
}

async function compileKernels(): Promise<unknown> {
  const text = await readFile(new URL('./threads/copy-limit.wat', import.meta.url), 'utf8');
  const features = { threads: true, bulk_memory: true, simd: true };
  const parsed = (await wabt()).parseWat('copy-limit.wat', text, features);
  return wasm.compile(parsed.toBinary({}).buffer);
}
