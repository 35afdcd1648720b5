/**
 * What a pass lends to its workers: thread ids and pins on a running machine, and reservations in
 * which they gather pages. All of it comes back when they have ended.
 */
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import type { StagingReservations } from '../../shared/dump/staging-reservations.ts';
import type { RunningMachine } from '../../shared/dump/tasks/pass-task.ts';
import type { PinLife, Pins } from './running.ts';
import { lendReservations, returnReservations } from './staging-reservations.ts';

/** Who lends, and what. */
export interface Lender {
  readonly machine: MachineParts;
  /** Undefined if the pass reads no page tables of a running machine. */
  readonly pins: Pins | undefined;
  readonly pinLife: PinLife;
  /** The workers gather pages. */
  readonly stages: boolean;
}

/** What one worker has until the end of the pass: fields of PassTask. */
export interface WorkerLoan {
  readonly running: RunningMachine | undefined;
  readonly reservations: StagingReservations | undefined;
}

/**
 * Runs `job` with a loan for each of `workers` workers, or for fewer if a running machine has not
 * as many thread ids. Precondition: when `job` settles, the workers have ended. Throws ENOMEM.
 */
export async function withLoans<T>(
  { machine, pins, pinLife, stages }: Lender,
  workers: number,
  job: (loans: readonly WorkerLoan[]) => Promise<T>,
): Promise<T> {
  let failed = true;
  let reservations: readonly StagingReservations[] = [];
  try {
    const running = pins?.enlist(workers, pinLife);
    const count = running?.length ?? workers;
    if (stages) reservations = lendReservations(machine, count);
    const loans = Array.from({ length: count }, (_, worker) => ({
      running: running?.[worker],
      reservations: reservations[worker],
    }));
    const result = await job(loans);
    failed = false;
    return result;
  } finally {
    pins?.dismiss(failed);
    returnReservations(machine, reservations);
  }
}
