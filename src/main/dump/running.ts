/**
 * What a dump of a running machine needs beyond the mmap locks: threads for its workers, and the
 * references that keep every frame and swap slot in its place until it is copied.
 */
import type { MachineParts } from '../../mmu/machine-parts.ts';
import type { Mm } from '../../mmu/mm.ts';
import { threadGone } from '../../mmu/thread-gone.ts';
import { PIN } from '../../shared/dump/pin-table.ts';
import type { RunningMachine } from '../../shared/dump/tasks.ts';
import { OPERATION } from '../../shared/sync/thread-layout.ts';

/** The pins of a dump and the threads of its workers. */
export class Pins {
  readonly #machine: MachineParts;
  readonly #lookers: number[];
  readonly #buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #named: SharedArrayBuffer;
  #threads: number[] = [];
  readonly #lost = new Set<number>();

  /**
   * `buffer` holds the words of `pages` pages (see pin-table.ts); what it held before is gone. `named`
   * says which files have a name for this dump. `lookers`: ids for the first workers, which hold
   * nothing; `enlist` takes them out.
   */
  constructor(
    machine: MachineParts,
    lookers: number[],
    buffer: SharedArrayBuffer,
    pages: number,
    named: SharedArrayBuffer,
  ) {
    this.#named = named;
    this.#machine = machine;
    this.#lookers = lookers;
    this.#buffer = buffer;
    this.#words = new Int32Array(buffer, 0, pages * PIN.WORDS).fill(0);
  }

  /**
   * One message per worker. Fewer than `workers` where the machine has no ids left for them: the dump
   * holds locks that others wait for, so it must not wait for what they have.
   */
  enlist(workers: number): RunningMachine[] {
    const { threads } = this.#machine;
    while (this.#threads.length < workers) {
      const id = this.#lookers.pop() ?? threads.tryRegister(OPERATION);
      if (id < 0) break;
      threads.becomeOnlooker(id);
      this.#threads.push(id);
    }
    const tables = { pins: this.#buffer, named: this.#named };
    return this.#threads.map((thread) => ({ thread, ...tables }));
  }

  /** The thread of a worker is gone. The others may be waiting for a lock that it held. */
  lost(worker: number): void {
    const thread = this.#threads[worker]!;
    this.#lost.add(thread);
    threadGone(this.#machine, thread);
  }

  /** The phase is over; `failed`: some of the threads may have crashed with a lock. */
  dismiss(failed: boolean): void {
    for (const thread of this.#threads) {
      if (this.#lost.has(thread)) continue; // the id may be somebody else's by now
      if (failed) threadGone(this.#machine, thread);
      else this.#machine.threads.release(thread);
    }
    this.#threads = [];
  }

  /** Gives every reference back. No worker of the dump looks at the machine any more. */
  letGo({ allocator, machine, thread }: Mm): void {
    const words = this.#words;
    const { swap } = machine;
    for (let at = 0; at < words.length; at++) {
      const pfn = words[at]!;
      if (pfn === 0) continue;
      words[at] = 0;
      if (pfn >= swap.base) swap.put(pfn - swap.base, thread);
      else allocator.put(pfn, thread);
    }
  }
}
