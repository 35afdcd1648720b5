/** What cases measure with: address spaces, the copy limit, files. It is kept from case to case. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type AddressSpace, createMachine, GiB, type Machine, MiB } from 'mmdump';
import { CopyLimit } from './copy-limit.ts';
import type { FloorThreads } from './floor-threads.ts';
import type { Tasks } from './measure.ts';
import type { BenchOptions } from './options.ts';
import { type Pattern, scatteredFrames, storedFrames, zeroPages } from './scatter.ts';

const PAGE = 4096;
/** The copy limit of more bytes than this is measured with this many, and multiplied. */
const LIMIT_MAX = GiB;

export const COPY_AND_DIGEST = 'copy and XXH3';

export class Fixtures {
  readonly options: BenchOptions;
  #last:
    | { readonly key: string; readonly machine: Machine; readonly space: AddressSpace }
    | undefined;
  #limit: CopyLimit | undefined;
  #files = 0;
  #folder: string | undefined;

  constructor(options: BenchOptions) {
    this.options = options;
  }

  /** The largest number of workers that is asked for. */
  get workers(): number {
    return this.options.workers.at(-1)!;
  }

  /** An address space with this pattern: the last one again if it has the same pattern. */
  space(pattern: Pattern): AddressSpace {
    const key = JSON.stringify(pattern);
    if (this.#last?.key === key) return this.#last.space;
    this.dropSpace();
    this.#last = { key, ...createSpace(pattern) };
    return this.#last.space;
  }

  /** The machine of the last address space. */
  get machine(): Machine | undefined {
    return this.#last?.machine;
  }

  /** Drops the last address space, so that a case can take its memory for something else. */
  dropSpace(): void {
    if (this.#last === undefined) return;
    this.#last = undefined;
    collectGarbage();
  }

  /**
   * The tasks of the copy limit for the pages that a dump of the pattern stores. With `digests`
   * there is one more, COPY_AND_DIGEST: the least that a dump with digests has to do.
   */
  async limitTasks(pattern: Pattern, threads: FloorThreads, digests = false): Promise<Tasks> {
    this.#limit ??= await CopyLimit.create(
      Math.min(LIMIT_MAX, Math.max(this.options.bytes, 64 * MiB)),
    );
    const bytes = Math.min(pattern.bytes, this.#limit.bytes);
    this.#limit.setFrames(storedFrames({ ...pattern, bytes }));
    const limit = this.#limit;
    const scale = pattern.bytes / bytes;
    // This kernel is nearly the best for the pattern. Beside a digest the choice matters little.
    const kernel = pattern.run === 1 ? 'four at once' : 'memory.copy';
    const tasks = limit.tasks(threads, scale);
    if (!digests) return tasks;
    return {
      ...tasks,
      [COPY_AND_DIGEST]: async () => ({ ms: scale * (await limit.runWithDigest(threads, kernel)) }),
    };
  }

  /** A new folder of this run. It is removed at the end in any case. */
  folder(): string {
    const path = this.path('');
    mkdirSync(path);
    return path;
  }

  /** A path for a file of this run. Its folder is removed at the end in any case. */
  path(suffix: string): string {
    this.#folder ??= mkdtempSync(join(this.options.folder, 'mmdump-bench-'));
    return join(this.#folder, `${this.#files++}${suffix}`);
  }

  removeFiles(): void {
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
    this.#folder = undefined;
  }
}

/** Physical memory for `bytes` of pages, with page tables and a margin. */
export function memoryFor(bytes: number): number {
  return bytes + bytes / 64 + 64 * MiB;
}

/** Makes a machine, and writes its address space so that the frames lie in this pattern. */
function createSpace(pattern: Pattern): {
  readonly machine: Machine;
  readonly space: AddressSpace;
} {
  const { bytes } = pattern;
  const machine = createMachine({ memory: memoryFor(bytes) });
  const space = machine.createAddressSpace();
  const start = space.mmap({ length: bytes, prot: 'rw', flags: ['private', 'anonymous'] });
  // Frames are handed out in order: the page that is written first gets the lowest frame.
  const pages = bytes / PAGE;
  const pageOf = new Int32Array(pages);
  scatteredFrames(pages, pattern.run).forEach((frame, page) => {
    pageOf[frame] = page;
  });
  const isZero = zeroPages(pattern);
  for (let frame = 0; frame < pages; ) {
    const page = pageOf[frame]!;
    let run = 1;
    while (frame + run < pages && pageOf[frame + run] === page + run) {
      if (isZero[page + run] !== isZero[page]) break;
      run++;
    }
    space.fill(start + page * PAGE, run * PAGE, isZero[page] === 1 ? 0 : (page % 255) + 1);
    frame += run;
  }
  return { machine, space };
}

let collect: (() => void) | undefined;

/**
 * Frees the memory of dropped machines and buffers, which are few and large. A collection frees
 * buffers in the background; the second one waits for that, so they no longer count afterwards.
 */
export function collectGarbage(): void {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
  }
  collect();
  collect();
}
