/** mlock, munlock, mlockall (mm/mlock.c). The mmap lock is held for writing. */
import { type Check, list, oneOf } from '../../shared/arguments/checks.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex, PAGE_SIZE, TASK_PAGES, TASK_SIZE } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { einval, nothingMapped, type PageRange } from '../arguments/range.ts';
import { populateRange } from '../fault/populate.ts';
import type { Mm } from '../mm/mm.ts';
import { MM_ADDRESS } from '../mm/mm-struct.ts';
import { VM_SPECIAL } from '../vma/vma-edit.ts';
import { changeVmaFlags } from './mprotect.ts';

const MLOCK = ['onfault'] as const;
const MCL = ['current', 'future', 'onfault'] as const;

/** Flags of mlock2(2). 'onfault' (MLOCK_ONFAULT): pages are locked once they are faulted in. */
export type MlockFlag = (typeof MLOCK)[number];
/** The MCL_* flags of mlockall(2). 'current' or 'future' is needed. */
export type MlockAllFlag = (typeof MCL)[number];

export const MLOCK_FLAGS: Check<MlockFlag[]> = list(oneOf(MLOCK, 'EINVAL'));
export const MCL_FLAGS: Check<MlockAllFlag[]> = list(oneOf(MCL, 'EINVAL'));

const LOCKED = VM.LOCKED | VM.LOCKONFAULT;

/**
 * Locks the pages of a range in memory, and faults them in unless 'onfault' is given. Throws ENOMEM
 * at a hole, after it has locked the part before, and for a page that cannot be faulted in.
 */
export function doMlock(
  mm: Mm,
  address: number,
  length: number,
  flags: readonly MlockFlag[],
): void {
  const range = lockRange('mlock', address, length);
  if (range === undefined) return;
  setLocked(mm, 'mlock', range, flags.includes('onfault') ? LOCKED : VM.LOCKED);
  if (!populateRange(mm, range.from, range.to, false, { done: 0 })) {
    throw new MmdumpError(
      'ENOMEM',
      `mlock: a page of the ${length} bytes at ${hex(address)} cannot be faulted in`,
    );
  }
}

export function doMunlock(mm: Mm, address: number, length: number): void {
  const range = lockRange('munlock', address, length);
  if (range !== undefined) setLocked(mm, 'munlock', range, 0);
}

/**
 * Locks all pages that are mapped now, those that are mapped later, or both. Without 'future',
 * later mappings are no longer locked. Throws EINVAL if both 'current' and 'future' are missing.
 */
export function doMlockall(mm: Mm, flags: readonly MlockAllFlag[]): void {
  const chosen = new Set(flags);
  const onFault = chosen.has('onfault');
  if (!chosen.has('current') && !chosen.has('future')) {
    throw einval("mlockall: flags need 'current' or 'future'");
  }
  const bits = onFault ? LOCKED : VM.LOCKED;
  setDefault(mm, chosen.has('future') ? bits : 0);
  if (!chosen.has('current')) return;
  setLockedWhereMapped(mm, bits);
  mm.toPopulate.push({ from: 0, to: TASK_PAGES });
}

export function doMunlockall(mm: Mm): void {
  setDefault(mm, 0);
  setLockedWhereMapped(mm, 0);
}

/** Number of pages in 2^64 bytes. */
const WRAP = 2 ** 52;

/**
 * Returns the pages of a range, rounded outwards as mlock does. Undefined if there are none: a
 * length that wraps to 0 pages in 64 bits is no error. Throws EINVAL if the end wraps.
 */
function lockRange(name: string, address: number, length: number): PageRange | undefined {
  if (!Number.isSafeInteger(address) || address < 0) throw einval(`${name}: ${address}`);
  if (!(length >= 0)) throw einval(`${name}: length ${length} is not a number of bytes`);
  const from = Math.floor(address / PAGE_SIZE);
  const rest = (address % PAGE_SIZE) + (length % PAGE_SIZE);
  const pages = Math.floor(length / PAGE_SIZE) + Math.ceil(rest / PAGE_SIZE);
  if (pages % WRAP === 0) return undefined;
  if (from + pages > WRAP) throw einval(`${name}: the range wraps around`);
  return { from, to: from + pages };
}

function setLocked(mm: Mm, name: string, { from, to }: PageRange, bits: number): void {
  for (let next = from; next < to; ) {
    const slot = mm.vmas.lookup(next);
    if (slot < 0 || addressOf(next) >= TASK_SIZE) throw nothingMapped(name, next);
    const end = Math.min(to, mm.vmas.end(slot));
    setLockedPart(mm, next, end, mm.vmas.flags(slot), bits);
    next = end;
  }
}

function setLockedWhereMapped(mm: Mm, bits: number): void {
  const { vmas } = mm;
  for (let next = 0; ; ) {
    const ordinal = vmas.find(next);
    if (ordinal === vmas.count) return;
    const slot = vmas.slot(ordinal);
    const end = vmas.end(slot);
    setLockedPart(mm, vmas.start(slot), end, vmas.flags(slot), bits);
    next = end;
  }
}

/** mlock_fixup: VM_SPECIAL and VM_HUGETLB mappings are never locked. */
function setLockedPart(mm: Mm, from: number, to: number, flags: number, bits: number): void {
  if ((flags & (VM_SPECIAL | VM.HUGETLB)) !== 0) return;
  const after = ((flags & ~LOCKED) | bits) >>> 0;
  if (after !== flags) changeVmaFlags(mm, from, to, after);
}

function setDefault(mm: Mm, bits: number): void {
  const { struct } = mm;
  const before = struct.get64(MM_ADDRESS.def_flags);
  struct.set64(MM_ADDRESS.def_flags, ((before & ~LOCKED) | bits) >>> 0);
}
