/** What all tasks have in common: claiming units, measuring time, and turning errors into data. */
import { PhaseControl } from '../../shared/dump/phase-control.ts';
import type { PhaseReport, PhaseTask } from '../../shared/dump/tasks/phase-task.ts';
import { type Outcome, toFailure } from '../../shared/errors.ts';
import { WorkerFaults } from './worker-faults.ts';

/** What was done in one unit: pages, and bytes that were read or written. */
export interface UnitResult {
  readonly pages: number;
  readonly bytes: number;
}

/**
 * Runs `unit` for every unit that this worker can claim. If it throws, the other workers stop at
 * their next claim, and the outcome is the failure.
 */
export function runUnits(
  task: PhaseTask,
  count: number,
  unit: (index: number, phase: PhaseControl) => UnitResult,
): Outcome<PhaseReport> {
  const phase = new PhaseControl(task.phase);
  const faults = WorkerFaults.of(task);
  const rendezvous = Math.min(task.tests?.rendezvous ?? 0, count);
  const startedAt = performance.timeOrigin + performance.now();
  const start = performance.now();
  try {
    let isFirst = true;
    for (;;) {
      const index = phase.claim(count, task.worker);
      if (index < 0) break;
      if (isFirst && rendezvous > 0) phase.rendezvous(rendezvous);
      isFirst = false;
      faults?.beforeUnit();
      const { pages, bytes } = unit(index, phase);
      phase.advance(task.worker, pages, bytes);
    }
  } catch (error) {
    phase.stop();
    return { ok: false, failure: toFailure(error) };
  }
  const busyMs = performance.now() - start;
  const progress = phase.progressOf(task.worker);
  return { ok: true, value: { worker: task.worker, ...progress, busyMs, startedAt } };
}
