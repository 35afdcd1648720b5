/**
 * The local descriptor table of an mm (arch/x86/kernel/ldt.c): up to 8192 descriptors of 8 bytes.
 * The LDT lock is held, or the machine is frozen and nothing changes. `withLdt` takes the lock.
 */
import { type Check, flag, number, optional } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import { RANK } from '../../shared/sync/held-locks.ts';
import { einval } from '../arguments/range.ts';
import type { Mm } from '../mm/mm.ts';
import { LDT_AT, LDT_MAX_ENTRIES, MM_FIELD, type MmStruct } from '../mm/mm-struct.ts';

/** The arguments of `modifyLdt` (struct user_desc). Booleans default to false. */
export interface UserDesc {
  /** Index into the table, 0 to 8191. */
  readonly entryNumber: number;
  /** Address of the first byte of the segment, 32 bits. */
  readonly baseAddr: number;
  /** Last offset in the segment, in bytes or pages. Of its 32 bits the low 20 are used. */
  readonly limit: number;
  /** D bit: the segment has 32-bit code or data. */
  readonly seg32bit?: boolean | undefined;
  /** 0 data, 1 stack (expands down), 2 code, 3 conforming code. Default 0. */
  readonly contents?: 0 | 1 | 2 | 3 | undefined;
  /** Whether data cannot be written, or code cannot be read. */
  readonly readExecOnly?: boolean | undefined;
  /** G bit: `limit` counts pages. */
  readonly limitInPages?: boolean | undefined;
  /** The P bit is clear, so that using the segment faults. */
  readonly segNotPresent?: boolean | undefined;
  /** AVL bit, which is free for the program. The old mode ignores it. */
  readonly useable?: boolean | undefined;
}

export const USER_DESC: Shape<UserDesc> = {
  entryNumber: number,
  baseAddr: number,
  limit: number,
  seg32bit: optional(flag),
  contents: optional(number) as Check<UserDesc['contents']>, // out of range it is EINVAL
  readExecOnly: optional(flag),
  limitInPages: optional(flag),
  segNotPresent: optional(flag),
  useable: optional(flag),
};

/** Runs `operation` with the LDT lock held. Throws EAGAIN if the thread would have to wait. */
export function withLdt<T>(mm: Mm, operation: () => T): T {
  mm.ldtLock.lock(mm.thread, mm.mayBlock);
  try {
    return operation();
  } finally {
    mm.ldtLock.unlock(mm.thread);
  }
}

/** Bytes of a descriptor (LDT_ENTRY_SIZE). */
export const LDT_ENTRY_SIZE = 8;

/**
 * Installs or clears a descriptor (write_ldt), as func 1 of modify_ldt with `oldMode`, otherwise as
 * func 0x11. Throws EINVAL where the kernel's checks fail.
 */
export function writeLdt(mm: Mm, desc: UserDesc, oldMode: boolean): void {
  mm.threads.assertHeld(mm.thread, RANK.LDT, 'an LDT entry is written');
  const { entryNumber, baseAddr, limit, contents = 0 } = desc;
  if (!isUnsigned(entryNumber, LDT_MAX_ENTRIES - 1)) {
    throw einval(`modify_ldt: entry ${entryNumber}: expected 0 to ${LDT_MAX_ENTRIES - 1}`);
  }
  if (!isUnsigned(baseAddr, 0xffff_ffff)) {
    throw einval(`modify_ldt: base ${baseAddr} is not a 32-bit address`);
  }
  if (!isUnsigned(limit, 0xffff_ffff))
    throw einval(`modify_ldt: limit ${limit} is not a 32-bit number`);
  if (!isUnsigned(contents, 3)) throw einval(`modify_ldt: contents ${contents}: expected 0 to 3`);
  if (contents === 3 && (oldMode || desc.segNotPresent !== true)) {
    throw einval('modify_ldt: conforming code must be marked as not present');
  }
  const isEmpty = (oldMode && baseAddr === 0 && limit === 0) || isEmptyDesc(desc);
  const [low, high] = isEmpty ? [0, 0] : encode(desc, oldMode);
  const at = mm.struct.base + LDT_AT + entryNumber * 2;
  const entries = mm.struct.get(MM_FIELD.LDT_ENTRIES);
  mm.struct.words[at] = low;
  mm.struct.words[at + 1] = high;
  if (entryNumber >= entries) mm.struct.set(MM_FIELD.LDT_ENTRIES, entryNumber + 1);
}

function isUnsigned(value: number, maximum: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= maximum;
}

/** Whether the request clears an entry (LDT_empty). */
function isEmptyDesc(desc: UserDesc): boolean {
  return (
    desc.baseAddr === 0 &&
    desc.limit === 0 &&
    (desc.contents ?? 0) === 0 &&
    desc.readExecOnly === true &&
    desc.seg32bit !== true &&
    desc.limitInPages !== true &&
    desc.segNotPresent === true &&
    desc.useable !== true
  );
}

/**
 * Returns the two words of the segment descriptor (fill_ldt):
 *
 *   high: base 31..24 | G D L AVL | limit 19..16 | P DPL S | type | base 23..16
 *   low:  base 15..0 | limit 15..0
 */
function encode(desc: UserDesc, oldMode: boolean): readonly [low: number, high: number] {
  const { baseAddr: base, limit, contents = 0 } = desc;
  const accessed = 1;
  const type = (desc.readExecOnly === true ? 0 : 2) | (contents << 2) | accessed;
  const system = 1;
  const dpl = 3;
  const present = desc.segNotPresent === true ? 0 : 1;
  const available = desc.useable === true && !oldMode ? 1 : 0;
  const low = ((base & 0xffff) << 16) | (limit & 0xffff);
  const high =
    (base & 0xff00_0000) |
    ((desc.limitInPages === true ? 1 : 0) << 23) |
    ((desc.seg32bit === true ? 1 : 0) << 22) |
    (available << 20) |
    (limit & 0xf_0000) |
    (present << 15) |
    (dpl << 13) |
    (system << 12) |
    (type << 8) |
    ((base >>> 16) & 0xff);
  return [low, high];
}

/** Returns a copy of all entries in use (read_ldt). */
export function readLdt(mm: Mm): Uint8Array {
  const bytes = mm.struct.get(MM_FIELD.LDT_ENTRIES) * LDT_ENTRY_SIZE;
  const at = (mm.struct.base + LDT_AT) * 4;
  return new Uint8Array(mm.struct.words.buffer, at, bytes).slice();
}

/**
 * Copies the whole table to a new mm that is not published yet (ldt_dup_context). The lock is that
 * of `from`.
 */
export function copyLdt(from: MmStruct, to: MmStruct): void {
  const at = from.base + LDT_AT;
  to.words.set(from.words.subarray(at, at + LDT_MAX_ENTRIES * 2), to.base + LDT_AT);
  to.set(MM_FIELD.LDT_ENTRIES, from.get(MM_FIELD.LDT_ENTRIES));
}

/**
 * Replaces the whole table, as a restore does. Throws EINVAL unless `bytes` has a multiple of 8
 * bytes, up to 65 536.
 */
export function loadLdt(mm: Mm, bytes: Uint8Array): void {
  mm.threads.assertHeld(mm.thread, RANK.LDT, 'an LDT is replaced');
  const entries = bytes.length / LDT_ENTRY_SIZE;
  if (!isUnsigned(entries, LDT_MAX_ENTRIES)) {
    throw einval(
      `an LDT of ${bytes.length} bytes: expected at most ${LDT_MAX_ENTRIES} entries of 8 bytes`,
    );
  }
  const at = (mm.struct.base + LDT_AT) * 4;
  const table = new Uint8Array(mm.struct.words.buffer, at, LDT_MAX_ENTRIES * LDT_ENTRY_SIZE);
  table.fill(0);
  table.set(bytes);
  mm.struct.set(MM_FIELD.LDT_ENTRIES, entries);
}
