/** The number of workers in the report of a job, and the reason for it. */

import type { Crew } from './crew.ts';
import type { WorkerPool } from './pool.ts';

/**
 * How many workers there were in the phase that had most of them, and why; the last of such phases
 * counts. A caller that has asked for a number reads that number, and how many of these workers had
 * something to do.
 */
export function workersOf(
  { asked }: Pick<WorkerPool, 'asked'>,
  crews: readonly Crew[],
): { readonly workers: number; readonly workersReason: string } {
  const most = crews.reduce((best, crew) => (crew.workers >= best.workers ? crew : best));
  if (asked === undefined) return { workers: most.workers, workersReason: most.reason };
  const idle = most.workers < asked ? `, of which ${most.workers} had work` : '';
  return { workers: asked, workersReason: `${most.reason}${idle}` };
}
