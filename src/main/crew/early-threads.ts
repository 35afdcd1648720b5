/**
 * Threads that start before there is a pool. The command line knows what it will do before it has
 * loaded its modules, which takes a thread about as long as to start another one. So both happen at
 * the same time, and the next pool takes the threads over.
 *
 * The list belongs to the thread of the caller.
 */
import { threadsToStart } from './crew.ts';
import { readHost } from './host.ts';
import { WorkerThread } from './worker-thread.ts';

const waiting: WorkerThread[] = [];

/**
 * Starts the threads of a pool that will be asked for `asked` workers or, without that, for a job of
 * `bytes` bytes. PACKAGE_BUNDLED.
 */
export function startEarly(asked: number | undefined, bytes: number): void {
  const threads = asked ?? threadsToStart(readHost(), bytes);
  while (waiting.length < threads) waiting.push(new WorkerThread(false));
}

/** A thread that was started early. It belongs to the caller from now on. */
export function takeEarly(): WorkerThread | undefined {
  return waiting.shift();
}

/** Ends the threads that no pool has taken. */
export async function endEarly(): Promise<void> {
  await Promise.all(waiting.splice(0).map((thread) => thread.end()));
}
