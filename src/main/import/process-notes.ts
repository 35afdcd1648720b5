/**
 * The ELF notes of a process: its name and, if it is traced, the registers of its threads. They come
 * in the order of the kernel's own core files: NT_PRSTATUS of the first thread, NT_PRPSINFO, the
 * other notes of the first thread, then those of each other thread.
 */

import { NOTES_MAX_BYTES } from '../../shared/formats/cpt/records.ts';
import { FPREGSET_BYTES } from '../../shared/formats/elf/notes/fpregset.ts';
import { encodeNote, NOTE_TYPE, noteBytes } from '../../shared/formats/elf/notes/note.ts';
import {
  encodePrstatus,
  GENERAL_REGISTERS_BYTES,
  PRSTATUS_BYTES,
} from '../../shared/formats/elf/notes/prstatus.ts';
import { SIGINFO_BYTES } from '../../shared/formats/elf/notes/siginfo.ts';
import { type ProcStat, parseStat, readProc, readStat } from './proc.ts';
import { prpsinfoNote } from './prpsinfo.ts';
import { groupOf } from './threads.ts';
import type { HeldThread } from './trace-hold.ts';

/** The notes of a process. */
export interface ProcessNotes {
  readonly bytes: Uint8Array;
  /** Number of threads whose registers are in them. */
  readonly threads: number;
}

/** What a thread takes at least, and what its processor state may take beyond that. */
const LEAST_BYTES =
  noteBytes('CORE', PRSTATUS_BYTES) +
  noteBytes('CORE', SIGINFO_BYTES) +
  noteBytes('CORE', FPREGSET_BYTES);
/** An image holds NOTES_MAX_BYTES, and other notes may come. */
const BUDGET = NOTES_MAX_BYTES - 0x1_0000;

/**
 * Makes the notes of a process. Of ten thousands of threads not all fit into an image: the extended
 * state of all is left out first, then the last threads.
 */
export async function processNotes(
  pid: number,
  threads: readonly HeldThread[],
): Promise<ProcessNotes> {
  const found: Buffer[][] = [];
  const kept = threads.slice(0, Math.floor(BUDGET / LEAST_BYTES));
  const extended = kept[0]?.registers(NOTE_TYPE.X86_XSTATE)?.length ?? 0;
  const fits = kept.length * (LEAST_BYTES + noteBytes('LINUX', extended)) <= BUDGET;
  for (const thread of kept) {
    const notes = await threadNotes(pid, thread, extended > 0 && fits);
    if (notes.length > 0) found.push(notes);
  }
  const [first = [], ...others] = found;
  const inOrder = [...first.slice(0, 1), await nameNote(pid), ...first.slice(1), ...others.flat()];
  return { bytes: Buffer.concat(inOrder), threads: found.length };
}

/** NT_PRSTATUS first. Empty if the thread has other registers than those of x86-64. */
async function threadNotes(
  pid: number,
  thread: HeldThread,
  wantsExtended: boolean,
): Promise<Buffer[]> {
  const registers = thread.registers(NOTE_TYPE.PRSTATUS);
  if (registers?.length !== GENERAL_REGISTERS_BYTES) return [];
  const { tid, signal } = thread;
  const stat = parseStat((await readProc(pid, `task/${tid}/stat`)).toString('latin1'));
  const status = (await readProc(pid, `task/${tid}/status`)).toString('latin1');
  const info = thread.signalInfo();
  const floating = thread.registers(NOTE_TYPE.FPREGSET);
  const about = {
    tid,
    ppid: stat.field(4),
    pgrp: stat.field(5),
    sid: stat.field(6),
    signal,
    signalErrno: info?.readInt32LE(4) ?? 0,
    signalCode: info?.readInt32LE(8) ?? 0,
    pending: signals(status, 'SigPnd'),
    blocked: signals(status, 'SigBlk'),
  };
  const payload = encodePrstatus(about, timesOf(stat), registers, floating !== undefined);
  const notes = [encodeNote('CORE', NOTE_TYPE.PRSTATUS, payload)];
  if (info !== undefined) notes.push(encodeNote('CORE', NOTE_TYPE.SIGINFO, info));
  if (floating !== undefined) notes.push(encodeNote('CORE', NOTE_TYPE.FPREGSET, floating));
  const extended = wantsExtended ? thread.registers(NOTE_TYPE.X86_XSTATE) : undefined;
  if (extended !== undefined) notes.push(encodeNote('LINUX', NOTE_TYPE.X86_XSTATE, extended));
  return notes;
}

function timesOf(stat: ProcStat): Parameters<typeof encodePrstatus>[1] {
  return {
    user: stat.field(14),
    system: stat.field(15),
    childrenUser: stat.field(16),
    childrenSystem: stat.field(17),
  };
}

/** A set of signals, from a line like `SigBlk:	0000000000010000`. */
function signals(status: string, name: string): bigint {
  const digits = new RegExp(`^${name}:\\s+([0-9a-f]+)$`, 'm').exec(status)?.[1];
  return BigInt(`0x${digits ?? '0'}`);
}

async function nameNote(pid: number): Promise<Uint8Array> {
  const stat: ProcStat = await readStat(pid);
  const status = (await readProc(pid, 'status')).toString('latin1');
  const cmdline = await readProc(pid, 'cmdline');
  const ids = { pid: await groupOf(pid), uid: realId(status, 'Uid'), gid: realId(status, 'Gid') };
  return prpsinfoNote(stat, ids, cmdline);
}

/** The first number of a line like `Uid:	1000	1000	1000	1000`. */
function realId(status: string, name: string): number {
  const line = new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status);
  return Number(line?.[1] ?? 0);
}
