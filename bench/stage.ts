/** What cases are measured on: address spaces, the copy limit, threads. Kept from case to case. */
import { mkdtempSync, rmSync } from 'node:fs';
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
/** The copy limit of more than this is that of so much, times as much. */
const LIMIT_MAX = GiB;

export const COPY_AND_DIGEST = 'copy and XXH3';

export class Stage {
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

  /** The most workers that are asked for. */
  get workers(): number {
    return this.options.workers.at(-1)!;
  }

  /** An address space of that pattern, the same as last time if that had the same. */
  space(pattern: Pattern): AddressSpace {
    const key = JSON.stringify(pattern);
    if (this.#last?.key === key) return this.#last.space;
    this.letGo();
    this.#last = { key, ...createSpace(pattern) };
    return this.#last.space;
  }

  /** The machine of the last address space. */
  get machine(): Machine | undefined {
    return this.#last?.machine;
  }

  /** Lets the last address space go, before more memory is taken than there may be. */
  letGo(): void {
    if (this.#last === undefined) return;
    this.#last = undefined;
    collectGarbage();
  }

  /**
   * The tasks of the copy limit for what a dump of the pattern stores; with digests also, by name
   * COPY_AND_DIGEST, what such a dump cannot do without.
   */
  async limitTasks(pattern: Pattern, threads: FloorThreads, digests = false): Promise<Tasks> {
    this.#limit ??= await CopyLimit.create(
      Math.min(LIMIT_MAX, Math.max(this.options.bytes, 64 * MiB)),
    );
    const bytes = Math.min(pattern.bytes, this.#limit.bytes);
    this.#limit.setFrames(storedFrames({ ...pattern, bytes }));
    const limit = this.#limit;
    const scale = pattern.bytes / bytes;
    // Nearly the best of them for this pattern: beside a digest it matters little.
    const kernel = pattern.run === 1 ? 'four at once' : 'memory.copy';
    const tasks = limit.tasks(threads, scale);
    if (!digests) return tasks;
    return {
      ...tasks,
      [COPY_AND_DIGEST]: async () => ({ ms: scale * (await limit.runWithDigest(threads, kernel)) }),
    };
  }

  /** A path for a file of this run; its folder is removed at the end, whatever happens. */
  path(suffix: string): string {
    this.#folder ??= mkdtempSync(join(this.options.folder, 'mmdump-bench-'));
    return join(this.#folder, `${this.#files++}${suffix}`);
  }

  removeFiles(): void {
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
    this.#folder = undefined;
  }
}

/** Physical memory for so many bytes of pages: tables, and a margin. */
export function memoryFor(bytes: number): number {
  return bytes + bytes / 64 + 64 * MiB;
}

/** A machine whose address space is written so that its frames lie in this pattern. */
function createSpace(pattern: Pattern): {
  readonly machine: Machine;
  readonly space: AddressSpace;
} {
  const { bytes } = pattern;
  const machine = createMachine({ memory: memoryFor(bytes) });
  const space = machine.createAddressSpace();
  const start = space.mmap({ length: bytes, prot: 'rw', flags: ['private', 'anonymous'] });
  // Frames are handed out in order: whoever is written first gets the lowest.
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

/** Gives the memory of dropped machines and buffers back: they are few and large. */
export function collectGarbage(): void {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
  }
  collect();
}
