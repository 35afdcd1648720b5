/** The fields of a process's mm. */
import type { MmAddresses } from '../../mmu/mm/mm-struct.ts';
import { readStat } from './proc.ts';
import type { SmapsVma } from './smaps.ts';

/** Reads the fields of the mm from /proc/PID/stat, by their numbers in proc(5). */
export async function mmAddresses(pid: number, smaps: readonly SmapsVma[]): Promise<MmAddresses> {
  const stat = await readStat(pid);
  const startBrk = stat.field(47);
  const heap = smaps.findLast(({ name }) => name === '[heap]');
  return {
    start_code: stat.field(26),
    end_code: stat.field(27),
    start_stack: stat.field(28),
    start_data: stat.field(45),
    end_data: stat.field(46),
    start_brk: startBrk,
    brk: heap?.end ?? startBrk,
    start_arg: stat.field(48),
    end_arg: stat.field(49),
    start_env: stat.field(50),
    end_env: stat.field(51),
    def_flags: 0,
    flags: 0,
  };
}
