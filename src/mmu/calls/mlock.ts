/** mlock, munlock, mlockall (mm/mlock.c). The mmap lock is held for writing. */
import { type Check, list, oneOf } from '../../shared/arguments/checks.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex, PAGE_SIZE, TASK_PAGES, TASK_SIZE } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { einval, nothingMapped, type PageRange } from '../arguments/range.ts';
import { populateLocked } from '../fault/populate.ts';
import type { Mm } from '../mm/mm.ts';
import { MM_ADDRESS } from '../mm/mm-struct.ts';
import { VM_SPECIAL } from '../vma/vma-edit.ts';
import { changeVmaFlags } from './mprotect.ts';

const MLOCK = ['onfault'] as const;
const MCL = ['current', 'future', 'onfault'] as const;

/** MLOCK_ONFAULT: pages are locked as they are touched, none is faulted in. */
export type MlockFlag = (typeof MLOCK)[number];
/** MCL_* flags. */
export type MlockAllFlag = (typeof MCL)[number];

export const MLOCK_FLAGS: Check<MlockFlag[]> = list(oneOf(MLOCK, 'EINVAL'));
export const MCL_FLAGS: Check<MlockAllFlag[]> = list(oneOf(MCL, 'EINVAL'));

const LOCKED = VM.LOCKED | VM.LOCKONFAULT;

/** Keeps the pages of a range in memory. ENOMEM at a hole (what precedes it is locked). */
export function mlockLocked(
  mm: Mm,
  address: number,
  length: number,
  flags: readonly MlockFlag[],
): void {
  const range = lockRange('mlock', address, length);
  if (range === undefined) return;
  setLocked(mm, 'mlock', range, flags.includes('onfault') ? LOCKED : VM.LOCKED);
  if (!populateLocked(mm, range.from, range.to, false, { done: 0 })) {
    throw new MmdumpError('ENOMEM', `mlock: a page at ${hex(address)} + ${length} cannot be had`);
  }
}

export function munlockLocked(mm: Mm, address: number, length: number): void {
  const range = lockRange('munlock', address, length);
  if (range !== undefined) setLocked(mm, 'munlock', range, 0);
}

/** Locks all that is mapped, all that will be, or both. */
export function mlockallLocked(mm: Mm, flags: readonly MlockAllFlag[]): void {
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

export function munlockallLocked(mm: Mm): void {
  setDefault(mm, 0);
  setLockedWhereMapped(mm, 0);
}

/** Pages of 64 bits of address. */
const WRAP = 2 ** 52;

/** mlock rounds the address down and the end up; what wraps to no page at all is no error. */
function lockRange(name: string, address: number, length: number): PageRange | undefined {
  if (!Number.isSafeInteger(address) || address < 0) throw einval(`${name}: ${address}`);
  if (!(length >= 0)) throw einval(`${name}: length ${length} is not a number of bytes`);
  const from = Math.floor(address / PAGE_SIZE);
  const rest = (address % PAGE_SIZE) + (length % PAGE_SIZE);
  const pages = Math.floor(length / PAGE_SIZE) + Math.ceil(rest / PAGE_SIZE);
  if (pages % WRAP === 0) return undefined;
  if (from + pages > WRAP) throw einval(`${name}: the range wraps`);
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

/** mlock_fixup: mappings of devices are in memory anyway, and are left as they are. */
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
