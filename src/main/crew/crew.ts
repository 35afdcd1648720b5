/**
 * How many workers a phase is given. If the caller has given a number, there are as many, or as
 * many as there are units. Otherwise there are as many as the work is worth, at most as many as the
 * computer has cores for. The image never depends on the number.
 *
 * The bounds were measured on two cores with Node 20 (docs/decisions/workers.md, "A phase gets the
 * workers that its bytes are worth"):
 *
 *  - A second thread that is up and idle costs 0.1 to 0.3 ms per phase. It took 0.45 ms per MiB to
 *    copy pages and compute their crc32, which was the default digest before version 2 of the
 *    image. So a second thread pays from about 4 MiB on, which is 2 MiB for each of the two.
 *  - A thread that is not up takes 80 ms of one core until it has loaded its modules. Beside a
 *    thread that is up, it pays from about 128 MiB on.
 *  - While no thread is up, 8 MiB take 5 ms on the thread of the caller, which is far quicker than
 *    to start a thread. Up to 2 MiB that is so even if threads are up, and even if the caller has
 *    asked for some: to copy 1 MiB takes 0.1 ms, and to send a task and its report 0.4 to 1 ms.
 */

import { formatBytes } from '../../shared/human-units.ts';
import { MiB } from '../../shared/page.ts';
import type { Host } from './host.ts';

/** Most worker threads of one dumper. A machine has 256 thread ids in all. */
export const WORKERS_MAX = 128;
/** Bytes to copy that keep a thread which is up busy for longer than it takes to send the task. */
export const BYTES_PER_WORKER: number = 2 * MiB;
/** Bytes to copy for which one more thread is started, and waited for. */
export const BYTES_PER_START: number = 128 * MiB;
/** The thread of the caller does up to this; `HERE_COLD_BYTES` holds while no thread is up. */
export const HERE_BYTES: number = 2 * MiB;
export const HERE_COLD_BYTES: number = 8 * MiB;
/**
 * Memory of one thread: heap, modules, staging, its slots of a stream. 11 MiB were measured, and
 * staging takes 2 to 4 MiB.
 */
const THREAD_BYTES = 16 * MiB;
/** Threads take at most this part of the free memory. */
const MEMORY_PART = 1 / 4;

/** The work of a phase. */
export interface Work {
  /** Units that workers claim. More workers than units have nothing to do. */
  readonly units: number;
  /** Bytes to copy, or the number of bytes whose copying takes as long as other work. */
  readonly bytes: number;
  /** Whether the thread of the caller may do the work, since it waits for no other thread. */
  readonly mayRunHere: boolean;
}

/** The workers of a phase. */
export interface Crew {
  readonly workers: number;
  /** The only worker runs on the thread of the caller. */
  readonly here: boolean;
  /** How many workers there are, and why, for people. */
  readonly reason: string;
  /** How many workers the work would be worth if all threads were up. */
  readonly worth: number;
}

/** The threads of a pool. */
export interface Threads {
  /** How many workers the caller has asked for; undefined: the number is chosen here. */
  readonly asked: number | undefined;
  /** How many threads are ready for a task. */
  readonly up: number;
}

/** Chooses the crew for `work`. It depends on nothing but the arguments. */
export function chooseCrew(host: Host, threads: Threads, work: Work): Crew {
  const { asked, up } = threads;
  const units = Math.max(1, work.units);
  if (asked !== undefined) {
    const workers = Math.min(asked, units);
    const here = work.mayRunHere && workers === 1 && work.bytes <= HERE_BYTES;
    return { workers, worth: workers, here, reason: `${asked} as asked` };
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
    if (workers < worth) return `starting more threads would take longer than it saves (${size})`;
    if (workers === most.workers) return most.reason;
    if (workers === units) return `there is no more work to share (${size})`;
    return `one for each ${formatBytes(BYTES_PER_WORKER)} of ${size}`;
  }
}

/**
 * How many threads to start in advance for a job of `bytes` bytes; 0: the caller's thread does it.
 */
export function threadsToStart(host: Host, bytes: number): number {
  if (bytes <= HERE_COLD_BYTES) return 0;
  return Math.min(mostWorkers(host).workers, 1 + Math.floor(bytes / BYTES_PER_START));
}

/** The most workers that this computer has use for, and what limits their number. */
export function mostWorkers({ cores, quota, memory }: Host): {
  readonly workers: number;
  readonly reason: string;
} {
  const bounds = [
    { workers: cores, reason: cores === 1 ? 'one core is available' : 'one per available core' },
    // Rounded up: only two threads can use up a quota of 1.5 cores.
    {
      workers: Math.ceil(quota),
      reason: `the CPU quota is ${Math.round(quota * 100) / 100} cores`,
    },
    {
      workers: Math.floor((memory * MEMORY_PART) / THREAD_BYTES),
      reason: `little memory is free (${formatBytes(memory)})`,
    },
    { workers: WORKERS_MAX, reason: 'that is the maximum' },
  ];
  const least = bounds.reduce((best, bound) => (bound.workers < best.workers ? bound : best));
  return { workers: Math.max(1, least.workers), reason: least.reason };
}
