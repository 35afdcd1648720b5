/** The fields of a process's mm, and the note that names the process. */
import type { MmAddresses } from '../../mmu/mm/mm-struct.ts';
import { type ProcStat, readProc, readStat } from './proc.ts';
import { prpsinfoNote } from './prpsinfo.ts';
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

export async function mmNotes(pid: number): Promise<Uint8Array> {
  const stat: ProcStat = await readStat(pid);
  const status = (await readProc(pid, 'status')).toString('latin1');
  const cmdline = await readProc(pid, 'cmdline');
  const ids = { pid, uid: realId(status, 'Uid'), gid: realId(status, 'Gid') };
  return prpsinfoNote(stat, ids, cmdline);
}

/** The first number of a line like `Uid:	1000	1000	1000	1000`. */
function realId(status: string, name: string): number {
  const line = new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status);
  return Number(line?.[1] ?? 0);
}
