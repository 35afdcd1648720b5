/** NT_PRPSINFO, made of what /proc tells of a process. */
import { encodeNote, NOTE_TYPE } from '../../shared/formats/elf/notes/note.ts';
import { PRPSINFO } from '../../shared/formats/elf/notes/prpsinfo.ts';
import type { ProcStat } from './proc.ts';

/** This note gives a state as the position of its letter here. */
const STATES = 'RSDTZW';

export interface ProcessIds {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Makes the whole note, with its header. `cmdline` holds the bytes of /proc/PID/cmdline. */
export function prpsinfoNote(stat: ProcStat, ids: ProcessIds, cmdline: Buffer): Uint8Array {
  const info = Buffer.alloc(PRPSINFO.SIZE);
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
  return encodeNote('CORE', NOTE_TYPE.PRPSINFO, info);
}

function argumentsText(cmdline: Buffer): Buffer {
  const text = Buffer.from(cmdline);
  for (let at = 0; at < text.length; at++) if (text[at] === 0) text[at] = 0x20;
  return text;
}

function clamp(value: number, minimum: number, maximum: number): number {
  return Math.min(maximum, Math.max(minimum, value));
}
