/**
 * The copy limit: what the machine gives when every worker does nothing but copy frames, in the same
 * scatter as the dump beside it, with the best bulk copy there is. No classification, no records.
 *
 * Frames, destination and lists lie in one shared wasm memory, because that is where memory.copy
 * works on Node 20.
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import wabt from 'wabt';

const PAGE = 4096;

/** What of WebAssembly is used here; Node's types leave it to the DOM's. */
const { WebAssembly: wasm } = globalThis as unknown as {
  readonly WebAssembly: {
    readonly Memory: new (descriptor: {
      initial: number;
      maximum: number;
      shared: true;
    }) => { readonly buffer: SharedArrayBuffer };
    compile(bytes: Uint8Array): Promise<unknown>;
  };
};

export type Scatter = 'runs' | 'random';

/** Frame numbers in the order of address: runs of `run` neighbours, the runs in random order. */
export function scatteredFrames(frames: number, run: number): Int32Array {
  const runs = Math.floor(frames / run);
  const order = Int32Array.from({ length: runs }, (_, index) => index);
  let state = 12345;
  for (let index = runs - 1; index > 0; index--) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    const other = state % (index + 1);
    const kept = order[index]!;
    order[index] = order[other]!;
    order[other] = kept;
  }
  const list = new Int32Array(runs * run);
  for (let index = 0; index < list.length; index++) {
    list[index] = order[Math.floor(index / run)]! * run + (index % run);
  }
  return list;
}

export class CopyLimit {
  readonly #workers: readonly Worker[];

  private constructor(workers: readonly Worker[]) {
    this.#workers = workers;
  }

  /** Sets `workers` threads up to copy `bytes` in either scatter. */
  static async create(bytes: number, workers: number, run: number): Promise<CopyLimit> {
    const frames = bytes / PAGE;
    const listBytes = frames * 4;
    const total = 2 * bytes + 2 * listBytes;
    const pages = Math.ceil(total / 65536);
    const memory = new wasm.Memory({ initial: pages, maximum: pages, shared: true });
    const words = new Int32Array(memory.buffer);
    const lists = { runs: 2 * bytes, random: 2 * bytes + listBytes };
    words.set(scatteredFrames(frames, run), lists.runs / 4);
    words.set(scatteredFrames(frames, 1), lists.random / 4);
    words.fill(1, 0, bytes / 4);
    const module = await compileKernel();
    const share = frames / workers;
    const url = new URL('./copy-limit-worker.mjs', import.meta.url);
    const threads = Array.from({ length: workers }, (_, worker) => {
      const first = worker * share;
      return new Worker(url, {
        workerData: {
          memory,
          module,
          share,
          lists: { runs: lists.runs + first * 4, random: lists.random + first * 4 },
          to: bytes + first * PAGE,
        },
      });
    });
    await Promise.all(threads.map((thread) => once(thread, 'online')));
    return new CopyLimit(threads);
  }

  /** Copies everything once. */
  async run(scatter: Scatter, kernel: 'wasm' | 'set'): Promise<void> {
    await Promise.all(
      this.#workers.map((worker) => {
        const done = once(worker, 'message');
        worker.postMessage({ scatter, kernel });
        return done;
      }),
    );
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

async function compileKernel(): Promise<unknown> {
  const text = await readFile(new URL('./copy-limit.wat', import.meta.url), 'utf8');
  const features = { threads: true, bulk_memory: true };
  const parsed = (await wabt()).parseWat('copy-limit.wat', text, features);
  return wasm.compile(parsed.toBinary({}).buffer);
}
