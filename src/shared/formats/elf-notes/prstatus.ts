/**
 * NT_PRSTATUS: the note that tells what a thread was doing, with its general registers (struct
 * elf_prstatus of x86-64, as in a core file).
 */

/** Fields of struct elf_prstatus. */
const PRSTATUS_FIELD = {
  SIGNAL: 0, //         i32, the signal, code and errno of a siginfo_t
  SIGNAL_CODE: 4, //    i32
  SIGNAL_ERRNO: 8, //   i32
  CURRENT_SIGNAL: 12, // i16
  PENDING: 16, //       u64, signals
  BLOCKED: 24, //       u64, signals
  PID: 32, //           i32, the thread's id
  PPID: 36, //          i32
  PGRP: 40, //          i32
  SID: 44, //           i32
  UTIME: 48, //         u64, seconds
  UTIME_MICROS: 56, //  u64
  STIME: 64, //         u64
  STIME_MICROS: 72, //  u64
  CUTIME: 80, //        u64
  CUTIME_MICROS: 88, // u64
  CSTIME: 96, //        u64
  CSTIME_MICROS: 104, // u64
  REGISTERS: 112, //    u8[216], struct user_regs_struct
  HAS_FPREGSET: 328, // i32
  SIZE: 336,
} as const;

/** The registers of struct user_regs_struct, in its order; a u64 each. */
export const GENERAL_REGISTERS: readonly string[] = [
  ...['r15', 'r14', 'r13', 'r12', 'rbp', 'rbx', 'r11', 'r10', 'r9', 'r8', 'rax', 'rcx', 'rdx'],
  ...['rsi', 'rdi', 'orig_rax', 'rip', 'cs', 'eflags', 'rsp', 'ss', 'fs_base', 'gs_base'],
  ...['ds', 'es', 'fs', 'gs'],
];

export const GENERAL_REGISTERS_BYTES = 216;
export const PRSTATUS_BYTES: number = PRSTATUS_FIELD.SIZE;

/** Processor times in ticks of 10 ms: of the thread, and of its children that have ended. */
export interface ThreadTimes {
  readonly user: number;
  readonly system: number;
  readonly childrenUser: number;
  readonly childrenSystem: number;
}

/** What the note tells besides the registers. */
export interface ThreadStatus {
  readonly tid: number;
  readonly ppid: number;
  readonly pgrp: number;
  readonly sid: number;
  /** The signal that is about to be delivered, or 0; its code and errno. */
  readonly signal: number;
  readonly signalCode: number;
  readonly signalErrno: number;
  /** Sets of signals: bit 0 is signal 1. */
  readonly pending: bigint;
  readonly blocked: bigint;
}

/** The payload of the note. `registers` are GENERAL_REGISTERS_BYTES bytes. */
export function encodePrstatus(
  thread: ThreadStatus,
  times: ThreadTimes,
  registers: Uint8Array,
  hasFpregset: boolean,
): Buffer {
  const note = Buffer.alloc(PRSTATUS_FIELD.SIZE);
  note.writeInt32LE(thread.signal, PRSTATUS_FIELD.SIGNAL);
  note.writeInt32LE(thread.signalCode, PRSTATUS_FIELD.SIGNAL_CODE);
  note.writeInt32LE(thread.signalErrno, PRSTATUS_FIELD.SIGNAL_ERRNO);
  note.writeInt16LE(thread.signal, PRSTATUS_FIELD.CURRENT_SIGNAL);
  note.writeBigUInt64LE(thread.pending, PRSTATUS_FIELD.PENDING);
  note.writeBigUInt64LE(thread.blocked, PRSTATUS_FIELD.BLOCKED);
  note.writeInt32LE(thread.tid, PRSTATUS_FIELD.PID);
  note.writeInt32LE(thread.ppid, PRSTATUS_FIELD.PPID);
  note.writeInt32LE(thread.pgrp, PRSTATUS_FIELD.PGRP);
  note.writeInt32LE(thread.sid, PRSTATUS_FIELD.SID);
  writeTime(note, PRSTATUS_FIELD.UTIME, times.user);
  writeTime(note, PRSTATUS_FIELD.STIME, times.system);
  writeTime(note, PRSTATUS_FIELD.CUTIME, times.childrenUser);
  writeTime(note, PRSTATUS_FIELD.CSTIME, times.childrenSystem);
  note.set(registers, PRSTATUS_FIELD.REGISTERS);
  note.writeInt32LE(hasFpregset ? 1 : 0, PRSTATUS_FIELD.HAS_FPREGSET);
  return note;
}

/** The kernel tells /proc in ticks of 10 ms, and the note holds a struct timeval. */
function writeTime(note: Buffer, at: number, ticks: number): void {
  note.writeBigUInt64LE(BigInt(Math.floor(ticks / 100)), at);
  note.writeBigUInt64LE(BigInt((ticks % 100) * 10_000), at + 8);
}

/** Reads a payload of PRSTATUS_BYTES bytes. */
export function decodePrstatus(note: Buffer): ThreadStatus & {
  readonly registers: ReadonlyMap<string, bigint>;
} {
  const registers = new Map<string, bigint>();
  for (const [at, name] of GENERAL_REGISTERS.entries()) {
    registers.set(name, note.readBigUInt64LE(PRSTATUS_FIELD.REGISTERS + at * 8));
  }
  return {
    tid: note.readInt32LE(PRSTATUS_FIELD.PID),
    ppid: note.readInt32LE(PRSTATUS_FIELD.PPID),
    pgrp: note.readInt32LE(PRSTATUS_FIELD.PGRP),
    sid: note.readInt32LE(PRSTATUS_FIELD.SID),
    signal: note.readInt16LE(PRSTATUS_FIELD.CURRENT_SIGNAL),
    signalCode: note.readInt32LE(PRSTATUS_FIELD.SIGNAL_CODE),
    signalErrno: note.readInt32LE(PRSTATUS_FIELD.SIGNAL_ERRNO),
    pending: note.readBigUInt64LE(PRSTATUS_FIELD.PENDING),
    blocked: note.readBigUInt64LE(PRSTATUS_FIELD.BLOCKED),
    registers,
  };
}
