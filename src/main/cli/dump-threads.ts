/**
 * The threads of `mmdump dump --pid`, which start while the modules of the command are loaded. It is
 * loaded before them, so it needs few modules itself.
 */
import { endEarly, startEarly } from '../crew/early-threads.ts';
import { residentBytes } from '../import/resident-bytes.ts';

/** Runs a command on processes, whose pool takes the threads over. They end with the command. */
export async function withThreads<T>(
  pids: readonly number[],
  workers: number | undefined,
  command: () => Promise<T>,
): Promise<T> {
  try {
    startEarly(
      workers,
      pids.reduce((bytes, pid) => bytes + residentBytes(pid), 0),
    );
    return await command();
  } finally {
    await endEarly();
  }
}
