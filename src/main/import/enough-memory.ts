/** Whether processes fit into a machine. */
import type { Machine } from '../../mmu/machine/machine.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { MiB } from '../../shared/page.ts';

/** ENOMEM if so many processes, the first of which is `pid`, need more bytes than are free. */
export function assertEnoughMemory(
  machine: Machine,
  pid: number,
  processes: number,
  needed: number,
): void {
  const { free, total } = machine.memory;
  if (needed <= free) return;
  const who =
    processes === 1 ? `process ${pid} needs` : `${processes} processes, the first ${pid}, need`;
  const message =
    `${who} up to ${Math.ceil(needed / MiB)} MiB of simulated memory, ` +
    `${Math.floor(free / MiB)} of ${Math.floor(total / MiB)} MiB are free: ask for more memory`;
  throw new MmdumpError('ENOMEM', message, { pid });
}
