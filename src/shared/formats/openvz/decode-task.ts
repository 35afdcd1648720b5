/** Decodes the tasks of an OpenVZ 6 container file, as notes of a core have them. */
import type { Fields } from '../cpt/fields.ts';
import { GENERAL_REGISTERS, GENERAL_REGISTERS_BYTES } from '../elf/notes/prstatus.ts';
import { viewOf } from '../elf/words.ts';
import { reference } from './decode.ts';
import { OPENVZ_REGISTERS, OPENVZ_TASK } from './fields.ts';

/** What a TASK says of a thread. */
export interface OpenvzTask {
  /** Position of its MM; null for a task without an address space. */
  readonly mm: number | null;
  readonly pid: number;
  readonly tgid: number;
  readonly ppid: number;
  readonly pgrp: number;
  readonly session: number;
  readonly is64: boolean;
  readonly name: string;
}

/** `record` is the header of the task. */
export function decodeTask(fields: Fields, record: Uint8Array): OpenvzTask {
  const comm = record.subarray(OPENVZ_TASK.COMM, OPENVZ_TASK.SIZE);
  const end = comm.indexOf(0);
  return {
    mm: reference(fields, OPENVZ_TASK.MM, 'mm'),
    pid: fields.u32(OPENVZ_TASK.PID),
    tgid: fields.u32(OPENVZ_TASK.TGID),
    ppid: fields.u32(OPENVZ_TASK.PPID),
    pgrp: fields.u32(OPENVZ_TASK.PGRP),
    session: fields.u32(OPENVZ_TASK.SESSION),
    is64: record[OPENVZ_TASK.IS_64] === 1,
    name: Buffer.from(comm.subarray(0, end < 0 ? comm.length : end)).toString(),
  };
}

/** Selectors of x86-64 Linux, by the portable codes of segments. */
const SELECTORS: ReadonlyMap<bigint, bigint> = new Map([
  [4n, 0x2bn], // USER32_DS
  [5n, 0x23n], // USER32_CS
  [6n, 0x2bn], // USER64_DS
  [7n, 0x33n], // USER64_CS
]);

/** Registers in the order of the file, from OPENVZ_REGISTERS.GENERAL on. */
const GENERAL = 'r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip'.split(' ');

/**
 * The registers as struct user_regs_struct. Null if neither the program counter nor the stack
 * pointer is set: whoever wrote the file did not know them.
 */
export function decodeRegisters(fields: Fields): Uint8Array | null {
  const { FS_BASE, GS_BASE, GENERAL: FIRST, CS, EFLAGS, RSP, SS } = OPENVZ_REGISTERS;
  const values = new Map<string, bigint>([
    ['fs_base', fields.u64(FS_BASE)],
    ['gs_base', fields.u64(GS_BASE)],
    ['cs', SELECTORS.get(fields.u64(CS)) ?? 0n],
    ['eflags', fields.u64(EFLAGS)],
    ['rsp', fields.u64(RSP)],
    ['ss', SELECTORS.get(fields.u64(SS)) ?? 0n],
  ]);
  for (const [index, name] of GENERAL.entries()) values.set(name, fields.u64(FIRST + index * 8));
  if (values.get('rip') === 0n && values.get('rsp') === 0n) return null;
  const registers = new Uint8Array(GENERAL_REGISTERS_BYTES);
  const view = viewOf(registers);
  for (const [index, name] of GENERAL_REGISTERS.entries()) {
    view.setBigUint64(index * 8, values.get(name) ?? 0n, true);
  }
  return registers;
}
