/**
 * What the tasks of all phases have in common. Tasks are the messages from the coordinator to the
 * workers: plain data and shared memory. The result of a task is an `Outcome`, because an error
 * loses its class when it is posted.
 */
import type { ArmedFaults, PhaseName } from '../../faults.ts';

/** What every task of every phase carries. */
export interface PhaseTask {
  /** The words of PhaseControl. */
  readonly phase: SharedArrayBuffer;
  /** Ordinal of the worker, from 0. */
  readonly worker: number;
  /** Added by the pool of a dumper that has options for tests. Never present in production. */
  readonly tests?: TaskTests;
}

/** What tests request of a task. */
export interface TaskTests {
  readonly phase: PhaseName;
  /** How many workers must have claimed a unit before any of them goes on. 0 turns this off. */
  readonly rendezvous: number;
  readonly faults: ArmedFaults | undefined;
}

/** What a worker reports when its task is done. */
export interface PhaseReport {
  readonly worker: number;
  readonly units: number;
  readonly pages: number;
  readonly bytes: number;
  /** Milliseconds from the start of the task to its end. */
  readonly busyMs: number;
  /** When the task started: milliseconds since 1970, with fractions. */
  readonly startedAt: number;
}
