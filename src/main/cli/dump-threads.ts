/**
 * The threads of commands that dump, which start while the modules of the command are loaded. This
 * module is loaded before those, so it needs few modules itself.
 */
import { endEarly, startEarly } from '../crew/early-threads.ts';
import { residentBytes, residentFileBytes } from '../import/resident-bytes.ts';

/** The memory that a command works on: that of processes, or what a file holds. */
export type Subject =
  | { readonly pids: readonly number[] }
  /** An image or a core file. */
  | { readonly path: string };

/**
 * Runs a command, whose pool takes over the threads that are started now: `workers`, or as many as
 * its subject is worth. They end with the command.
 */
export async function withThreads<T>(
  subject: Subject,
  workers: number | undefined,
  command: () => Promise<T>,
): Promise<T> {
  try {
    startEarly(workers, bytesOf(subject));
    return await command();
  } finally {
    await endEarly();
  }
}

function bytesOf(subject: Subject): number {
  if ('path' in subject) return residentFileBytes(subject.path);
  return subject.pids.reduce((bytes, pid) => bytes + residentBytes(pid), 0);
}
