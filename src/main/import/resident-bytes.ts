/** How much memory a process has, or a file holds, before anything else of it is read. */
import { readFileSync, statSync } from 'node:fs';
import { PAGE_SIZE } from '../../shared/page.ts';

/** Bytes that a process has in memory, for planning; 0 if that cannot be told. */
export function residentBytes(pid: number): number {
  try {
    const [, resident] = readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ');
    return Number(resident) * PAGE_SIZE;
  } catch {
    return 0; // reading the process itself will say why
  }
}

/** Bytes that a file takes on its file system; 0 if there is none, which the import reports. */
export function residentFileBytes(path: string): number {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats === undefined ? 0 : Math.min(stats.size, stats.blocks * 512);
}
