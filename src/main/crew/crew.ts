/**
 * How many workers a phase is given. Unless the caller has said a number, as many as its work is
 * worth, as many as the computer has cores for. The image never depends on it.
 *
 * What decides was measured on two cores, Node 20 (docs/decisions/workers.md, "A phase gets the
 * workers that its bytes are worth"):
 *
 *  - A second thread that is up and idle costs 0.1 to 0.3 ms a phase, a MiB 0.45 ms to copy with its checksum: it
 *    pays from about 4 MiB on, 2 MiB each.
 *  - A thread that is not up takes 80 ms of one core until it has loaded its modules. Beside another
 *    that is up it pays from about 128 MiB on.
 *  - With no thread at all, 8 MiB take 5 ms on the thread of the caller: quicker by far than to start
 *    one. Up to 1 MiB that is so even where threads are up: nobody has to be woken.
 */

import { formatBytes } from '../../shared/human-units.ts';
import { MiB } from '../../shared/page.ts';
import type { Host } from './host.ts';

/** Worker threads of one dumper; a machine has room for 256 threads in all. */
export const WORKERS_MAX = 128;
/** Bytes to copy that keep a thread which is up busy for longer than it takes to tell it. */
export const BYTES_PER_WORKER: number = 2 * MiB;
/** Bytes to copy for which one more thread is started, and waited for. */
export const BYTES_PER_START: number = 128 * MiB;
/** Done on the thread of the caller; with no thread up, `HERE_COLD_BYTES`. */
export const HERE_BYTES: number = MiB;
export const HERE_COLD_BYTES: number = 8 * MiB;
/** Of a thread: heap, modules, staging, its slots of a stream. 11 MiB were measured, and 2 to 4 are staged. */
const THREAD_BYTES = 16 * MiB;
/** Threads take no more than this part of the memory that is free. */
const MEMORY_PART = 1 / 4;

/** What a phase has to do. */
export interface Work {
  /** That workers claim: more workers than units have nothing to do. */
  readonly units: number;
  /** Bytes that are to be copied, or other work that takes as long as that. */
  readonly bytes: number;
  /** Whether the caller's thread may do it: it waits for nobody. */
  readonly mayRunHere: boolean;
}

/** Who does it. */
export interface Crew {
  readonly workers: number;
  /** The one worker is the thread of the caller. */
  readonly here: boolean;
  /** For people: how many, and why. */
  readonly reason: string;
  /** Workers that the work would be worth if all threads were up. */
  readonly worth: number;
}

/** Threads of a pool. */
export interface Threads {
  /** The caller has said how many workers; undefined: chosen here. */
  readonly asked: number | undefined;
  /** Ready for a task. */
  readonly up: number;
}

/** Who does `work`. `what` names the whole job in messages. */
export function chooseCrew(host: Host, threads: Threads, work: Work): Crew {
  const { asked, up } = threads;
  const units = Math.max(1, work.units);
  if (asked !== undefined) {
    const workers = Math.min(asked, units);
    return { workers, worth: workers, here: false, reason: `${asked} as asked` };
  }
  const size = formatBytes(work.bytes);
  const most = mostWorkers(host);
  const worth = Math.min(
    most.workers,
    units,
    Math.max(1, Math.floor(work.bytes / BYTES_PER_WORKER)),
  );
  const here = work.mayRunHere && work.bytes <= (up === 0 ? HERE_COLD_BYTES : HERE_BYTES);
  if (here || work.bytes <= HERE_BYTES) {
    return { workers: 1, worth, here, reason: `1: the dump is small (${size})` };
  }
  const reachable = Math.max(1, up, threadsToStart(host, work.bytes));
  const workers = Math.min(worth, reachable);
  return { workers, worth, here, reason: `${workers}: ${why()}` };

  function why(): string {
    if (workers < worth) return `to start more threads takes longer than ${size} are worth`;
    if (workers === most.workers) return most.reason;
    if (workers === units) return `there is no more to do at a time (${size})`;
    return `one for each ${formatBytes(BYTES_PER_WORKER)} of ${size}`;
  }
}

/** Threads that a job of so many bytes is worth, before it comes to them; 0: it is done without. */
export function threadsToStart(host: Host, bytes: number): number {
  if (bytes <= HERE_COLD_BYTES) return 0;
  return Math.min(mostWorkers(host).workers, 1 + Math.floor(bytes / BYTES_PER_START));
}

/** The most workers that this computer is good for, and what limits them. */
export function mostWorkers({ cores, quota, memory }: Host): {
  readonly workers: number;
  readonly reason: string;
} {
  const bounds = [
    { workers: cores, reason: cores === 1 ? 'one core is available' : 'one per available core' },
    // Rounded up: 1.5 cores' worth are used up by two threads, not by one.
    {
      workers: Math.ceil(quota),
      reason: `the CPU quota is ${Math.round(quota * 100) / 100} cores`,
    },
    {
      workers: Math.floor((memory * MEMORY_PART) / THREAD_BYTES),
      reason: `little memory is free (${formatBytes(memory)})`,
    },
    { workers: WORKERS_MAX, reason: 'that is the most' },
  ];
  const least = bounds.reduce((best, bound) => (bound.workers < best.workers ? bound : best));
  return { workers: Math.max(1, least.workers), reason: least.reason };
}
