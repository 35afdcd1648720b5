/**
 * mprotect and madvise (mm/mprotect.c, mm/madvise.c): changing what a range of VMAs allows.
 * The mmap lock is held for writing.
 */
import { MmdumpError } from '../../shared/errors.ts';
import {
  GRANULE_PAGES,
  granuleEnd,
  hex,
  isPageAligned,
  PAGE_SIZE,
  pageAlignUp,
  TASK_SIZE,
  vpnOf,
} from '../../shared/page.ts';
import { pagePrivileges, VM } from '../../shared/vm-flags.ts';
import { skipHole, splitHugeLocked } from '../fault/zap.ts';
import type { Mm } from '../mm.ts';
import { lockTable, type PageCursor, unlockTable, walk } from '../tables/page-table.ts';
import { highOf, isPresent, leafFlags, lowOf, PTE, pfnOf, setEntry } from '../tables/pte.ts';
import { einval, type Prot, protFlags } from './mmap.ts';
import { mergeRangeLocked, splitVmaLocked } from './vma-edit.ts';

const { HUGE, SPECIAL, DIRTY } = PTE;
const ACCESS = VM.READ | VM.WRITE | VM.EXEC;

/** Pages of a range argument; undefined when it is empty. EINVAL or ENOMEM as Linux has it. */
function parseRange(
  name: string,
  address: number,
  length: number,
): { readonly from: number; readonly to: number } | undefined {
  if (!Number.isSafeInteger(address) || address < 0 || !isPageAligned(address)) {
    throw einval(`${name}: ${address} is not the address of a page`);
  }
  if (!Number.isSafeInteger(length) || length < 0) {
    throw einval(`${name}: length ${length} is not a number of bytes`);
  }
  if (length === 0) return undefined;
  if (address + pageAlignUp(length) > TASK_SIZE) {
    throw new MmdumpError('ENOMEM', `${name}: ${hex(address)} + ${length} is beyond user space`);
  }
  const from = vpnOf(address);
  return { from, to: from + pageAlignUp(length) / PAGE_SIZE };
}

/** Sets the protection of whole pages. What precedes the first hole is changed, as Linux does. */
export function mprotectLocked(mm: Mm, address: number, length: number, prot: Prot): void {
  const access = protFlags(prot);
  const range = parseRange('mprotect', address, length);
  if (range === undefined) return;
  changeVmas(mm, 'mprotect', range.from, range.to, (flags) => {
    const next = (flags & ~ACCESS) | access;
    // VM_MAY* lie four bits above the access that they allow.
    if ((next & ~(next >>> 4) & ACCESS) !== 0) {
      throw new MmdumpError('EACCES', `mprotect: the mapping never allows '${prot}'`, { address });
    }
    const charge = (next & (VM.WRITE | VM.SHARED | VM.NORESERVE)) === VM.WRITE ? VM.ACCOUNT : 0;
    return (next | charge) >>> 0;
  });
}

export type Advice = 'hugepage' | 'nohugepage' | 'dontdump' | 'dodump';

/** Advice that is a flag of the VMA. */
export function madviseLocked(mm: Mm, address: number, length: number, advice: Advice): void {
  const range = parseRange('madvise', address, length);
  if (range === undefined) return;
  const [set, clear] = ADVICE_FLAGS[advice];
  changeVmas(mm, 'madvise', range.from, range.to, (flags) => ((flags & ~clear) | set) >>> 0);
}

const ADVICE_FLAGS: { readonly [advice in Advice]: readonly [set: number, clear: number] } = {
  hugepage: [VM.HUGEPAGE, VM.NOHUGEPAGE],
  nohugepage: [VM.NOHUGEPAGE, VM.HUGEPAGE],
  dontdump: [VM.DONTDUMP, 0],
  dodump: [0, VM.DONTDUMP],
};

/** Applies `change` to the flags of every VMA in [from, to); ENOMEM at a hole, after what precedes. */
function changeVmas(
  mm: Mm,
  name: string,
  from: number,
  to: number,
  change: (flags: number) => number,
): void {
  const { vmas } = mm;
  let next = from;
  try {
    while (next < to) {
      const slot = vmas.lookup(next);
      if (slot < 0) {
        const address = next * PAGE_SIZE;
        throw new MmdumpError('ENOMEM', `${name}: nothing is mapped at ${hex(address)}`, {
          address,
        });
      }
      const flags = vmas.flags(slot);
      const changed = change(flags);
      const end = Math.min(to, vmas.end(slot));
      if (changed !== flags) changeVma(mm, next, end, changed);
      next = end;
    }
  } finally {
    mergeRangeLocked(mm, from, next);
  }
}

/** Gives the part [from, to) of one VMA new flags, and its leaves the protection they imply. */
function changeVma(mm: Mm, from: number, to: number, flags: number): void {
  splitVmaLocked(mm, from);
  splitVmaLocked(mm, to);
  const slot = mm.vmas.lookup(from);
  const before = mm.vmas.flags(slot);
  mm.vmas.setFlags(slot, flags);
  if ((before & ACCESS) !== (flags & ACCESS)) protectRange(mm, from, to, flags);
}

/** change_protection: leaves keep their frames; writing faults again and is decided then. */
function protectRange(mm: Mm, from: number, to: number, flags: number): void {
  const cursor = mm.cursor;
  for (let vpn = from; vpn < to; ) {
    const end = Math.min(to, granuleEnd(vpn));
    let found = walk(mm, mm.pgd, vpn, cursor);
    if (found === 'huge' && end - vpn < GRANULE_PAGES) {
      splitHugeLocked(mm, cursor);
      found = walk(mm, mm.pgd, vpn, cursor);
    }
    const isHole = found === 'none' || found === 'bad';
    if (!isHole) protectEntries(mm, cursor, found === 'huge' ? 1 : end - vpn, flags);
    vpn = isHole ? skipHole(vpn, cursor.level) : end;
  }
}

function protectEntries(mm: Mm, cursor: PageCursor, count: number, flags: number): void {
  const { words, table } = cursor;
  const privileges = pagePrivileges(flags);
  const shared = (flags & (VM.SHARED | VM.WRITE)) === (VM.SHARED | VM.WRITE);
  lockTable(mm, table);
  for (let at = cursor.at; at < cursor.at + count * 2; at += 2) {
    const low = words[at]!;
    if (!isPresent(low)) continue;
    const pfn = pfnOf(low, words[at + 1]!);
    const writable = shared && (low & HUGE) === 0;
    const bits =
      leafFlags(privileges.low, writable, (low & DIRTY) !== 0) | (low & (HUGE | SPECIAL));
    setEntry(words, at, lowOf(pfn, bits), highOf(pfn, privileges.high));
  }
  unlockTable(mm, table);
}
