/** The worker threads of a dumper, which start when they are wanted (`crew/crew.ts`). */

import { onMachineEnd } from '../../mmu/machine/lifetime.ts';
import type { FaultPlan, PhaseName } from '../../shared/faults.ts';
import { type Crew, chooseCrew, mostWorkers, threadsToStart, type Work } from './crew.ts';
import { takeEarly } from './early-threads.ts';
import { FerryBuffers } from './ferry.ts';
import { readHost } from './host.ts';
import { Phase, RUN_HERE, type Runner } from './phase.ts';
import { WorkerThread } from './worker-thread.ts';

/** Options of a pool that only tests use: see `DumperOptions`. */
export interface PoolTests {
  readonly rendezvous: boolean;
  readonly faults: FaultPlan | undefined;
}

/** The worker threads of one dumper. */
export class WorkerPool {
  /** The most workers that a phase is given. */
  readonly workers: number;
  /** How many workers the caller has asked for; undefined: the number is chosen for each phase. */
  readonly asked: number | undefined;
  /** Buffers in which workers get pages of memory that is not shared. */
  readonly ferryBuffers: FerryBuffers = new FerryBuffers();
  readonly #tests: PoolTests;
  readonly #threads: WorkerThread[] = [];
  /** Ends the subscription to machines that end. */
  readonly #deaf: () => void;
  /** The most workers that a phase would have been worth so far if all threads had been up. */
  #worth = 0;

  /**
   * With `asked`, that many threads start now. Without it the number is chosen for each phase, and
   * the threads that a job of `expectedBytes` is worth start now.
   */
  constructor(asked: number | undefined, tests: PoolTests, expectedBytes = 0) {
    const host = readHost();
    this.asked = asked;
    this.workers = asked ?? mostWorkers(host).workers;
    this.#tests = tests;
    this.#start(asked ?? threadsToStart(host, expectedBytes));
    this.#deaf = onMachineEnd(async () => {
      await Promise.all(this.#threads.map((thread) => thread.dropMachines()));
    });
  }

  /** Chooses the workers of a phase. */
  crew(work: Work): Crew {
    const up = this.#threads.filter(({ isUp }) => isUp).length;
    const mayRunHere =
      work.mayRunHere && !this.#tests.rendezvous && this.#tests.faults === undefined;
    const crew = chooseCrew(readHost(), { asked: this.asked, up }, { ...work, mayRunHere });
    this.#worth = Math.max(this.#worth, crew.worth);
    return crew;
  }

  /** Starts a thread if there is none: a job begins that needs one, however small it is. */
  expectOne(): void {
    this.#start(1);
  }

  /** Starts the threads that it is worth having when `bytes` bytes are copied soon. */
  expect(bytes: number): void {
    if (this.asked === undefined) this.#start(threadsToStart(readHost(), bytes));
  }

  /**
   * Starts the threads that earlier jobs would have been worth: a thread that does not pay for one
   * job pays for several. No job waits for their start.
   */
  nextJob(): void {
    this.#start(this.#worth > 1 ? this.#worth : 0);
  }

  /** Makes sure that there are at least `threads` threads. */
  #start(threads: number): void {
    const hasLittleHeap = this.#tests.faults !== undefined;
    while (this.#threads.length < threads) {
      const early = hasLittleHeap ? undefined : takeEarly();
      this.#threads.push(early ?? new WorkerThread(hasLittleHeap));
    }
  }

  /**
   * A phase on the workers of `crew`, which is usually what `crew` has chosen. Its threads start now
   * if there are too few.
   */
  phase<N extends PhaseName>(name: N, crew: Pick<Crew, 'workers' | 'here'>): Phase<N> {
    const runners = crew.here ? [RUN_HERE] : this.#runners(crew.workers);
    const { rendezvous, faults } = this.#tests;
    const tests =
      rendezvous || faults !== undefined
        ? { phase: name, rendezvous: rendezvous ? runners.length : 0, faults: faults?.armed }
        : undefined;
    return new Phase(name, runners, tests);
  }

  /** Threads for `count` tasks; those that are up come first. */
  #runners(count: number): Runner[] {
    this.#start(count);
    const up = this.#threads.filter(({ isUp }) => isUp);
    return [...up, ...this.#threads.filter(({ isUp }) => !isUp)].slice(0, count);
  }

  async close(): Promise<void> {
    this.#deaf();
    await Promise.all(this.#threads.splice(0).map((thread) => thread.end()));
  }
}
