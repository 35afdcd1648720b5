/**
 * madvise (mm/madvise.c). Advice on VMAs needs the mmap lock for writing, advice on pages for
 * reading (`adviceMode`).
 */
import { type Check, oneOf } from '../../shared/arguments/checks.ts';
import { errnoOf, MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex } from '../../shared/page.ts';
import type { LockMode } from '../../shared/sync/rw-lock.ts';
import { VM } from '../../shared/vm-flags.ts';
import { forEachVma, nothingMapped, type PageRange, parseRange } from '../arguments/range.ts';
import { POISONED } from '../arguments/signal.ts';
import type { Progress } from '../fault/access.ts';
import { installGuards, removeGuards } from '../fault/guard.ts';
import { unmergeRange } from '../fault/ksm.ts';
import { touchPage } from '../fault/populate.ts';
import type { Mm } from '../mm/mm.ts';
import { markLazyFree, swapOutRange } from '../swap/swap-out.ts';
import { zapRangeLocked } from '../tables/zap.ts';
import { VM_SPECIAL } from '../vma/vma-edit.ts';
import { changeVmaFlags } from './mprotect.ts';

/** MADV_*, by its name in lower case. */
export type Advice = FlagAdvice | PageAdvice | 'populate_read' | 'populate_write';

/** Advice that changes flags of mappings. */
export type FlagAdvice =
  | 'normal'
  | 'random'
  | 'sequential'
  | 'dontfork'
  | 'dofork'
  | 'dontdump'
  | 'dodump'
  | 'hugepage'
  | 'nohugepage'
  | 'wipeonfork'
  | 'keeponfork'
  | 'mergeable'
  | 'unmergeable';

/** Advice about the pages that are there. */
export type PageAdvice =
  | 'willneed'
  | 'dontneed'
  | 'dontneed_locked'
  | 'free'
  | 'cold'
  | 'pageout'
  | 'guard_install'
  | 'guard_remove';

/** Bits that an advice sets, and those that it clears. */
const FLAGS: { readonly [advice in FlagAdvice]: readonly [set: number, clear: number] } = {
  normal: [0, VM.RAND_READ | VM.SEQ_READ],
  random: [VM.RAND_READ, VM.SEQ_READ],
  sequential: [VM.SEQ_READ, VM.RAND_READ],
  dontfork: [VM.DONTCOPY, 0],
  dofork: [0, VM.DONTCOPY],
  dontdump: [VM.DONTDUMP, 0],
  dodump: [0, VM.DONTDUMP],
  hugepage: [VM.HUGEPAGE, VM.NOHUGEPAGE],
  nohugepage: [VM.NOHUGEPAGE, VM.HUGEPAGE],
  wipeonfork: [VM.WIPEONFORK, 0],
  keeponfork: [0, VM.WIPEONFORK],
  mergeable: [VM.MERGEABLE, 0],
  unmergeable: [0, VM.MERGEABLE],
};
/** VM_* that an advice on pages does not go with. */
const FORBIDDEN: { readonly [advice in PageAdvice]: number } = {
  willneed: 0,
  dontneed: VM.PFNMAP | VM.LOCKED,
  dontneed_locked: VM.PFNMAP,
  free: VM.PFNMAP | VM.LOCKED,
  cold: VM.PFNMAP | VM.LOCKED | VM.HUGETLB,
  pageout: VM.PFNMAP | VM.LOCKED | VM.HUGETLB,
  guard_install: VM_SPECIAL | VM.HUGETLB | VM.LOCKED,
  guard_remove: VM_SPECIAL | VM.HUGETLB,
};

/** An advice. EINVAL for another string, OPTION_INVALID for what is no string. */
export const ADVICE: Check<Advice> = oneOf(
  [
    ...(Object.keys(FLAGS) as FlagAdvice[]),
    ...(Object.keys(FORBIDDEN) as PageAdvice[]),
    'populate_read',
    'populate_write',
  ],
  'EINVAL',
);

function isFlagAdvice(advice: Advice): advice is FlagAdvice {
  return Object.hasOwn(FLAGS, advice);
}

/**
 * How the mmap lock has to be held for an advice. Linux sets and removes guards with the lock held for
 * reading; here a dump that lets the machine run relies on them to stay where they are.
 */
export function adviceMode(advice: Advice): LockMode {
  const changesGuards = advice === 'guard_install' || advice === 'guard_remove';
  return isFlagAdvice(advice) || changesGuards ? 'write' : 'read';
}

/** Gives advice on a range. ENOMEM at a hole, after the rest was done; EINVAL stops at the VMA. */
export function madviseLocked(
  mm: Mm,
  address: number,
  length: number,
  advice: Advice,
  progress: Progress,
): void {
  const isPopulate = advice === 'populate_read' || advice === 'populate_write';
  const range = parseRange('madvise', address, length);
  if (range === undefined) return;
  if (isPopulate) {
    populate(mm, range, advice === 'populate_write', progress);
    return;
  }
  forEachVma(mm, 'madvise', range, (slot, from, to) => {
    if (isFlagAdvice(advice)) adviseFlags(mm, slot, from, to, advice);
    else advisePages(mm, slot, from, to, advice as PageAdvice);
  });
}

function unfit(mm: Mm, slot: number, advice: Advice): MmdumpError {
  const address = addressOf(mm.vmas.start(slot));
  return new MmdumpError(
    'EINVAL',
    `madvise: the mapping at ${hex(address)} does not allow '${advice}'`,
    { address },
  );
}

function adviseFlags(mm: Mm, slot: number, from: number, to: number, advice: FlagAdvice): void {
  const flags = mm.vmas.flags(slot);
  const isShared = (flags & (VM.SHARED | VM.MAYSHARE)) !== 0;
  const isDevice = (flags & VM.IO) !== 0;
  const isForAnonymous = mm.vmas.file(slot) === 0 && (flags & VM.SHARED) === 0;
  if (advice === 'dofork' && isDevice) throw unfit(mm, slot, advice);
  if (advice === 'wipeonfork' && !isForAnonymous) throw unfit(mm, slot, advice);
  if (advice === 'dodump' && (flags & VM_SPECIAL) !== 0) throw unfit(mm, slot, advice);
  if (advice === 'mergeable' && (isShared || (flags & (VM_SPECIAL | VM.HUGETLB)) !== 0)) return;
  if (advice === 'unmergeable' && (flags & VM.MERGEABLE) !== 0) unmergeRange(mm, from, to);
  const [set, clear] = FLAGS[advice];
  const after = ((flags & ~clear) | set) >>> 0;
  if (after !== flags) changeVmaFlags(mm, from, to, after);
}

function advisePages(mm: Mm, slot: number, from: number, to: number, advice: PageAdvice): void {
  const flags = mm.vmas.flags(slot);
  if ((flags & FORBIDDEN[advice]) !== 0) throw unfit(mm, slot, advice);
  switch (advice) {
    case 'dontneed':
    case 'dontneed_locked':
      zapRangeLocked(mm, from, to, true);
      return;
    case 'free':
      if (mm.vmas.file(slot) !== 0) throw unfit(mm, slot, advice);
      markLazyFree(mm, from, to);
      return;
    case 'pageout':
      swapOutRange(mm, slot, from, to);
      return;
    case 'guard_install':
      installGuards(mm, slot, from, to);
      return;
    case 'guard_remove':
      removeGuards(mm, from, to);
      return;
    default: // 'willneed' and 'cold' change nothing that anybody could see
  }
}

/** madvise_populate: faults every page in, and stops at the first that cannot be had. */
function populate(
  mm: Mm,
  { from, to }: PageRange,
  write: boolean,
  progress: Progress, // pages
): void {
  const { vmas } = mm;
  for (let next = from + progress.done; next < to; ) {
    const slot = vmas.lookup(next);
    if (slot < 0) throw nothingMapped('madvise', next);
    const flags = vmas.flags(slot);
    const wanted = write ? VM.WRITE : VM.READ;
    if ((flags & (VM.IO | VM.PFNMAP)) !== 0 || (flags & wanted) === 0) {
      throw unfit(mm, slot, write ? 'populate_write' : 'populate_read');
    }
    const end = Math.min(to, vmas.end(slot));
    for (; next < end; next++) {
      progress.done = next - from;
      populatePage(mm, next, write);
    }
  }
}

function populatePage(mm: Mm, vpn: number, write: boolean): void {
  try {
    touchPage(mm, vpn, write);
  } catch (error) {
    const code = errnoOf(error);
    if (code !== 'SIGSEGV' && code !== 'SIGBUS') throw error;
    const { fields, message } = error as MmdumpError;
    const isPoisoned = fields.reason === POISONED;
    const address = addressOf(vpn);
    throw new MmdumpError(isPoisoned ? 'EHWPOISON' : 'EFAULT', `madvise: ${message}`, { address });
  }
}
