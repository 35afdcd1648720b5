/** What a report says about the workers of a job. */

import type { Crew } from './crew.ts';
import type { WorkerPool } from './pool.ts';

/**
 * How many there were, in the phase that had most (of several, the last), and why. Whoever has asked
 * for a number reads that number, and how many of them had something to do.
 */
export function workersOf(
  { asked }: Pick<WorkerPool, 'asked'>,
  crews: readonly Crew[],
): { readonly workers: number; readonly workersReason: string } {
  const most = crews.reduce((best, crew) => (crew.workers >= best.workers ? crew : best));
  if (asked === undefined) return { workers: most.workers, workersReason: most.reason };
  const idle = most.workers < asked ? `, of which ${most.workers} had something to do` : '';
  return { workers: asked, workersReason: `${most.reason}${idle}` };
}
