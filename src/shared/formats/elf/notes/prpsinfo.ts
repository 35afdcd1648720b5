/**
 * NT_PRPSINFO: the note that tells which process an address space belonged to (struct elf_prpsinfo
 * of x86-64, as in a core file).
 */

/** Fields of struct elf_prpsinfo. */
export const PRPSINFO = {
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

/** What the note tells, as people look for it. */
export interface ProcessNote {
  readonly pid: number;
  readonly ppid: number;
  readonly uid: number;
  readonly gid: number;
  /** The letter of /proc/PID/stat. */
  readonly state: string;
  /** The first 15 bytes of its name. */
  readonly name: string;
  /** The first 79 bytes of its arguments. */
  readonly arguments: string;
}

/** Reads a payload of PRPSINFO.SIZE bytes. */
export function decodePrpsinfo(note: Buffer): ProcessNote {
  return {
    pid: note.readInt32LE(PRPSINFO.PID),
    ppid: note.readInt32LE(PRPSINFO.PPID),
    uid: note.readUInt32LE(PRPSINFO.UID),
    gid: note.readUInt32LE(PRPSINFO.GID),
    state: String.fromCharCode(note.readUInt8(PRPSINFO.SNAME)),
    name: text(note.subarray(PRPSINFO.FNAME, PRPSINFO.ARGS)),
    arguments: text(note.subarray(PRPSINFO.ARGS, PRPSINFO.SIZE)).trimEnd(),
  };
}

function text(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
}

/** The id of the process. Undefined if the payload is too short to be that of x86-64. */
export function processId(note: Buffer): number | undefined {
  return note.length < PRPSINFO.SIZE ? undefined : note.readUInt32LE(PRPSINFO.PID);
}

/** The payload of a process of which only a name is known. Its state is R. */
export function emptyProcess(name: string): Buffer {
  const note = Buffer.alloc(PRPSINFO.SIZE);
  note.write('R', PRPSINFO.SNAME, 'latin1');
  const longest = PRPSINFO.ARGS - PRPSINFO.FNAME - 1;
  note.write(name, PRPSINFO.FNAME, longest);
  note.write(name, PRPSINFO.ARGS, longest);
  return note;
}
