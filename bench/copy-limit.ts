/**
 * The copy limit: how fast this machine is when every worker does nothing but copy frames, which
 * lie as in the dump beside it, with the best bulk copy there is. There is no classification, and
 * there are no records.
 *
 * Frames, copies and the list of frames lie in one shared wasm memory, because on Node 20
 * memory.copy works inside one memory only. All of it is written before anything is timed.
 */
import { readFile } from 'node:fs/promises';
import wabt from 'wabt';
import { digestKernel } from './digest-kernel.ts';
import type { FloorThreads } from './floor-threads.ts';
import { type Samples, samplesOf, type Tasks } from './measure.ts';
import { median } from './statistics.ts';

const PAGE = 4096;
const WASM_PAGE = 65536;
/** Frames per claim: 1 MiB, as in the segments of a dump. */
const CHUNK = 256;
/** Frames per claim where a digest follows: 64 KiB. */
const DIGEST_CHUNK = 16;

/** The part of WebAssembly that is used here. Only the DOM's types declare it, Node's do not. */
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

/** The fastest way to copy, and its times. */
export interface BestCopy {
  readonly name: string;
  /** Milliseconds, one value per round. */
  readonly samples: readonly number[];
}

export class CopyLimit {
  /** The most bytes of frames that can be copied. */
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

  /** Sets the frames that are copied from now on, in this order. */
  setFrames(frames: Int32Array): void {
    if (frames.length * PAGE > this.bytes) throw new RangeError('more frames than there is room');
    this.#words.set(frames, (2 * this.bytes) / 4);
    this.#count = frames.length;
  }

  /** Copies all frames once. Resolves with milliseconds. */
  run(threads: FloorThreads, kernel: (typeof KERNELS)[number]): Promise<number> {
    const list = 2 * this.bytes;
    const count = this.#count;
    return threads.run('copy', { arena: this.#arena, list, count, kernel, chunk: CHUNK });
  }

  /** Copies all frames once, and digests each part while it is in the cache. Milliseconds. */
  runWithDigest(threads: FloorThreads, kernel: (typeof KERNELS)[number]): Promise<number> {
    const list = 2 * this.bytes;
    const count = this.#count;
    const arena = this.#arena;
    const message = { arena, list, count, kernel, chunk: DIGEST_CHUNK, digests: digestKernel() };
    return threads.run('copyAndDigest', message);
  }

  /** One task per way to copy. `scale` is what was asked for, divided by what is copied. */
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

/** The best of the ways to copy that were measured: the one with the lowest median. */
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
