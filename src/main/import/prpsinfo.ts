/**
 * NT_PRPSINFO: the note that tells which process an address space belonged to (struct elf_prpsinfo
 * of x86-64, as in a core file).
 */
import type { ProcStat } from './proc.ts';

const NT_PRPSINFO = 3;
const OWNER = 'CORE\0';
/** The fields of the note. */
const PRPSINFO = {
  STATE: 0, //  u8
  SNAME: 1, //  u8
  ZOMB: 2, //   u8
  NICE: 3, //   i8
  FLAG: 8, //   u64
  UID: 16, //   u32
  GID: 20, //   u32
  PID: 24, //   i32
  PPID: 28, //  i32
  PGRP: 32, //  i32
  SID: 36, //   i32
  FNAME: 40, // char[16]
  ARGS: 56, //  char[80]
  SIZE: 136,
} as const;
/** The length of the owner, the length of the payload, and the type: three u32. */
const NOTE_HEADER = 12;
const OWNER_PADDED = 8; // the owner is padded to a multiple of 4

/** This note gives a state as the position of its letter here. */
const STATES = 'RSDTZW';

export interface ProcessIds {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Makes the whole note, with its header. `cmdline` holds the bytes of /proc/PID/cmdline. */
export function prpsinfoNote(stat: ProcStat, ids: ProcessIds, cmdline: Buffer): Uint8Array {
  const note = Buffer.alloc(NOTE_HEADER + OWNER_PADDED + PRPSINFO.SIZE);
  note.writeUInt32LE(OWNER.length, 0);
  note.writeUInt32LE(PRPSINFO.SIZE, 4);
  note.writeUInt32LE(NT_PRPSINFO, 8);
  note.write(OWNER, NOTE_HEADER, 'latin1');
  const info = note.subarray(NOTE_HEADER + OWNER_PADDED);
  info.writeUInt8(Math.max(0, STATES.indexOf(stat.state)), PRPSINFO.STATE);
  info.write(stat.state, PRPSINFO.SNAME, 1, 'latin1');
  info.writeUInt8(stat.state === 'Z' ? 1 : 0, PRPSINFO.ZOMB);
  info.writeInt8(clamp(stat.field(19), -20, 19), PRPSINFO.NICE);
  info.writeBigUInt64LE(BigInt(stat.field(9)), PRPSINFO.FLAG);
  info.writeUInt32LE(ids.uid, PRPSINFO.UID);
  info.writeUInt32LE(ids.gid, PRPSINFO.GID);
  info.writeInt32LE(ids.pid, PRPSINFO.PID);
  info.writeInt32LE(stat.field(4), PRPSINFO.PPID);
  info.writeInt32LE(stat.field(5), PRPSINFO.PGRP);
  info.writeInt32LE(stat.field(6), PRPSINFO.SID);
  info.write(stat.name.slice(0, 15), PRPSINFO.FNAME, 'latin1');
  argumentsText(cmdline).copy(info, PRPSINFO.ARGS, 0, 79);
  return note;
}

function argumentsText(cmdline: Buffer): Buffer {
  const text = Buffer.from(cmdline);
  for (let at = 0; at < text.length; at++) if (text[at] === 0) text[at] = 0x20;
  return text;
}

function clamp(value: number, minimum: number, maximum: number): number {
  return Math.min(maximum, Math.max(minimum, value));
}
