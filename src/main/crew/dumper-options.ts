/** The options of a dumper: how many workers it has, and what tests make of them. */
import { type Check, flag, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import type { FaultPlan } from '../../shared/faults.ts';
import { FAULT_PLAN } from '../job/faults.ts';
import { WORKERS_MAX } from './crew.ts';

/** Options of `createDumper`. */
export interface DumperOptions {
  /**
   * Number of worker threads, 1 to 128. Every phase of every job runs on that many, unless it has
   * fewer units of work. By default the number is chosen for each phase, from its bytes, the cores,
   * the CPU quota and the free memory; the report of a dump says how many there were, and why.
   */
  readonly workers?: number | undefined;
  /**
   * Bytes of memory that the first job will process. The threads that such a job is worth start at
   * once. It has no effect where `workers` is given. By default it is unknown, and threads start
   * when a job has found out how much there is to do.
   */
  readonly expectedBytes?: number | undefined;
  /**
   * For tests of parallelism. Every worker waits after its first claim until all workers have
   * claimed a unit, so a finished dump proves that all of them ran at the same time. Default false.
   *
   * @internal
   */
  readonly rendezvous?: boolean | undefined;
  /**
   * For tests of failures. Faults happen at named points (docs/RELIABILITY.md). Default: none.
   *
   * @internal
   */
  readonly faults?: FaultPlan | undefined;
}

/** Checks a number of workers. */
export const WORKERS: Check<number> = wholeNumber(1, WORKERS_MAX);
/** The options of `createDumper`, which are checked before threads start. */
export const DUMPER_OPTIONS: Shape<DumperOptions> = {
  workers: optional(WORKERS),
  expectedBytes: optional(wholeNumber(0)),
  rendezvous: optional(flag),
  faults: optional(FAULT_PLAN),
};
