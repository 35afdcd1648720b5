/**
 * Records of the container file of OpenVZ 6 (version 0x803), as bytes without their children:
 *
 *   major_hdr | section | … | section TRAILER { major_tail } | end of file
 *
 * The first u64 of every section and object is its length with all children; whoever lays out the
 * file writes it. References between objects are positions in the file, or NO_OBJECT.
 */
import { viewOf } from '../elf/words.ts';

/** Numbers of the objects. */
export const OBJECT = {
  TASK: 0, //
  MM: 1, //
  FS: 2, //             umask, root and working directory
  FILES: 3, //          table of descriptors
  FILE: 4, //           an open file; a NAME is its child
  SIGHAND_STRUCT: 5, // handlers of signals
  NAMESPACE: 10, //     mounts
  INODE: 12, //         a file that only this file has; blocks of its pages are its children
  VMA: 1024, //         a mapping; blocks of its pages are its children
  TRAILER: 1034, //
  MM_AUXV: 1051, //     the auxiliary vector without its end
  X86_64_REGS: 4097, // registers of a task
  PAGES: 4098, //
  COPYPAGES: 4099, //   pages that an earlier mm has at the same addresses
  NAME: 4102, //
  BITS: 4103, //        an LDT, or the state of the FPU
} as const;

/** Numbers of the sections. */
export const SECTION = {
  FILES: 2, //
  TASKS: 3, //
  MM: 4, //
  FILES_STRUCT: 5, //
  FS: 6, //
  SIGHAND_STRUCT: 7, //
  NAMESPACE: 10, //
  INODE: 12, //
  TRAILER: 23, //
} as const;

/** Values of cpt_content: what lies behind the header. */
export const CONTENT = {
  VOID: 0, //       nothing, or children
  ARRAY: 1, //      children
  DATA: 2, //
  NAME: 3, //
  STACK: 6, //      the state of the FPU
  MM_CONTEXT: 7, // an LDT
} as const;

/** Values of vma_type. */
export const VMA_TYPE = { ORDINARY: 0, VDSO: 2 } as const;

/** Values of offsets, in bytes, at which records refer to other objects. */
export const REFERENCE = {
  VMA_FILE: 16, //        u64
  COPYPAGES_SOURCE: 32, // u64
  FILE_INODE: 48, //      u64
  TASK_MM: 96, //         u64
  TASK_FILES: 104, //     u64
  TASK_FS: 112, //        u64
  TASK_SIGHAND: 128, //   u64
  TASK_NAMESPACE: 160, // u64
} as const;

/** Bytes of the registers of the FPU. */
export const FPU_BYTES = 512;
/** The most words of an auxiliary vector. */
export const AUXV_WORDS = 42;
/** Sections that a trailer has places for. */
export const SECTIONS = 27;
/** The first bytes of every file, and its last ones. */
export const SIGNATURE: readonly number[] = [0x79, 0x1c, 0x01, 0x63];
/** The version of OpenVZ 6. */
export const VERSION = 0x803;
/** The kind of file system of files in memory. */
export const SUPER_TMPFS = 0x0102_1994;

const NO_OBJECT = 0xffff_ffff_ffff_ffffn;
const SUPER_EXT4 = 0xef53;

/** A record whose fields are zero, and the way to write them. */
class Fields {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(length: number) {
    this.bytes = new Uint8Array(length);
    this.#view = viewOf(this.bytes);
  }

  u16(at: number, value: number): this {
    this.#view.setUint16(at, value, true);
    return this;
  }

  u32(at: number, value: number): this {
    this.#view.setUint32(at, value >>> 0, true);
    return this;
  }

  u64(at: number, value: number | bigint): this {
    this.#view.setBigUint64(at, BigInt(value), true);
    return this;
  }
}

function object(type: number, headerBytes: number, content: number, bytes = headerBytes): Fields {
  return new Fields(bytes).u32(8, type).u16(12, headerBytes).u16(14, content);
}

/** The head of the file. */
export function encodeMajorHeader(): Uint8Array {
  const fields = new Fields(80).u16(4, 80).u16(6, VERSION).u16(8, 1).u16(20, 4096).u16(22, 1000);
  fields.bytes.set(SIGNATURE);
  return fields.bytes;
}

export function encodeSection(section: number): Uint8Array {
  return new Fields(16).u32(8, section).u16(12, 16).bytes;
}

/** The tail of the file. `sections`: the positions of section headers, by id. */
export function encodeTail(tasks: number, sections: ReadonlyMap<number, number>): Uint8Array {
  const fields = object(OBJECT.TRAILER, 248, CONTENT.VOID).u32(20, tasks).u32(240, SECTIONS);
  for (let id = 0; id < SECTIONS; id++) fields.u64(24 + id * 8, sections.get(id) ?? NO_OBJECT);
  fields.bytes.set(SIGNATURE, 244);
  return fields.bytes;
}

/** An object that has no fields of its own. */
export function encodeBare(type: number): Uint8Array {
  return object(type, 16, CONTENT.VOID).bytes;
}

/** The addresses of the mm, in the order of the file, then def_flags. */
export function encodeMm(addresses: readonly number[], flags: number, vdso: number): Uint8Array {
  const fields = object(OBJECT.MM, 136, CONTENT.ARRAY).u64(112, NO_OBJECT).u64(128, flags);
  for (const [index, value] of addresses.entries()) fields.u64(16 + index * 8, value);
  fields.bytes[120] = 1; // dumpable
  fields.bytes[121] = 1;
  return fields.u32(124, vdso % 2 ** 32).bytes;
}

/** A mapping; addresses are bytes, `pgoff` is pages. */
interface VmaRecord {
  readonly type: number;
  readonly anonvmaid: number;
  readonly start: number;
  readonly end: number;
  readonly flags: number;
  readonly pgprotLow: number;
  readonly pgprotHigh: number;
  readonly pgoff: number;
}

export function encodeVma(vma: VmaRecord): Uint8Array {
  return object(OBJECT.VMA, 80, CONTENT.ARRAY)
    .u64(REFERENCE.VMA_FILE, NO_OBJECT)
    .u32(24, vma.type)
    .u32(28, vma.anonvmaid > 0 ? 1 : 0)
    .u64(32, vma.anonvmaid)
    .u64(40, vma.start)
    .u64(48, vma.end)
    .u64(56, vma.flags)
    .u32(64, vma.pgprotLow)
    .u32(68, vma.pgprotHigh)
    .u64(72, vma.pgoff).bytes;
}

/** Pages whose bytes follow. Addresses are bytes: of the mm, or of the file for an INODE. */
export function encodePages(start: number, end: number): Uint8Array {
  return object(OBJECT.PAGES, 32, CONTENT.DATA).u64(16, start).u64(24, end).bytes;
}

export function encodeCopyPages(start: number, end: number): Uint8Array {
  return object(OBJECT.COPYPAGES, 40, CONTENT.VOID).u64(16, start).u64(24, end).bytes;
}

/** Bits of an LDT (MM_CONTEXT) or of the FPU (STACK). */
export function encodeBits(content: number, bits: Uint8Array): Uint8Array {
  const length = 24 + roundUp(bits.length);
  const fields = object(OBJECT.BITS, 24, content, length).u32(16, bits.length);
  fields.bytes.set(bits, 24);
  return fields.bytes;
}

/** The auxiliary vector, without its end and at most AUXV_WORDS words. */
export function encodeAuxv(words: Uint8Array): Uint8Array {
  const fields = object(OBJECT.MM_AUXV, 16, CONTENT.DATA, 16 + words.length);
  fields.bytes.set(words, 16);
  return fields.bytes;
}

export function encodeName(path: Uint8Array): Uint8Array {
  const fields = object(OBJECT.NAME, 16, CONTENT.NAME, 16 + roundUp(path.length + 1));
  fields.bytes.set(path, 16);
  return fields.bytes;
}

/** An open file. `mode`: its type and permissions. */
export function encodeFile(mode: number, isDeleted: boolean, isRoot: boolean): Uint8Array {
  return object(OBJECT.FILE, 96, CONTENT.VOID)
    .u32(20, 1) // FMODE_READ
    .u32(40, mode)
    .u32(44, (isDeleted ? 1 : 0) | (isRoot ? 2 : 0))
    .u64(REFERENCE.FILE_INODE, NO_OBJECT)
    .u32(64, -1)
    .u64(88, NO_OBJECT).bytes;
}

/** A file of which nothing but this file has the pages. */
export function encodeInode(ino: number, size: number, isMemoryBacked: boolean): Uint8Array {
  return object(OBJECT.INODE, 120, CONTENT.ARRAY)
    .u64(24, ino)
    .u32(32, 0o100600)
    .u64(56, size)
    .u64(64, 4096)
    .u32(104, isMemoryBacked ? SUPER_TMPFS : SUPER_EXT4)
    .u64(112, NO_OBJECT).bytes;
}

export function encodeFiles(): Uint8Array {
  return object(OBJECT.FILES, 32, CONTENT.VOID).u32(20, 64).bytes;
}

export function encodeFs(): Uint8Array {
  return object(OBJECT.FS, 24, CONTENT.VOID).u32(16, 0o22).bytes;
}

/** Registers by their names in struct user_regs_struct. */
export function encodeRegisters(registers: ReadonlyMap<string, bigint>): Uint8Array {
  const value = (name: string): bigint => registers.get(name) ?? 0n;
  const fields = object(OBJECT.X86_64_REGS, 280, CONTENT.VOID);
  fields.u64(80, value('fs_base')).u64(88, value('gs_base'));
  const names = 'r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip';
  for (const [index, name] of names.split(' ').entries()) fields.u64(112 + index * 8, value(name));
  return fields
    .u64(248, 7) // USER64_CS
    .u64(256, value('eflags'))
    .u64(264, value('rsp'))
    .u64(272, 6).bytes; // USER64_DS
}

/** A thread of a process. */
interface TaskRecord {
  readonly pid: number;
  readonly tgid: number;
  readonly ppid: number;
  readonly pgrp: number;
  readonly session: number;
  readonly name: string;
}

export function encodeTask(task: TaskRecord): Uint8Array {
  const fields = object(OBJECT.TASK, 992, CONTENT.ARRAY).u64(16, 1).u64(976, NO_OBJECT);
  for (let at = REFERENCE.TASK_MM; at <= 160; at += 8) fields.u64(at, NO_OBJECT);
  for (const at of [40, 44]) fields.u32(at, 120); // prio and static_prio of nice 0
  const ids = [task.pid, task.tgid, task.ppid, task.ppid, task.pgrp, task.session];
  for (const [index, id] of ids.entries()) fields.u32(176 + index * 4, id);
  for (let limit = 0; limit < 16; limit++) {
    fields.u64(688 + limit * 8, NO_OBJECT).u64(816 + limit * 8, NO_OBJECT); // none
  }
  fields.bytes[215] = 1; // 64 bit
  fields.bytes.set(new TextEncoder().encode(task.name).subarray(0, 15), 440);
  return fields.bytes;
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}
