/** How much memory a process has, before anything else of it is read. */
import { readFileSync } from 'node:fs';
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
