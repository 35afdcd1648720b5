/**
 * madvise (mm/madvise.c). Advice that changes VMAs or guard markers needs the mmap lock for
 * writing, all other advice needs it for reading (`adviceMode`).
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
import { zapRange } from '../tables/zap.ts';
import { VM_SPECIAL } from '../vma/vma-edit.ts';
import { changeVmaFlags } from './mprotect.ts';

/** The MADV_* advice of madvise(2), in lower case. */
export type Advice = FlagAdvice | PageAdvice | 'populate_read' | 'populate_write';

/** Advice that changes the flags of mappings. */
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

/** Advice on the pages of mappings. It changes page-table entries, and no mapping. */
export type PageAdvice =
  | 'willneed'
  | 'dontneed'
  | 'dontneed_locked'
  | 'free'
  | 'cold'
  | 'pageout'
  | 'guard_install'
  | 'guard_remove';

/** The VM_* flags that each advice sets, and those that it clears. */
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
/** The VM_* flags of mappings that each advice on pages refuses. */
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

/** Checks an advice: EINVAL for any other string, OPTION_INVALID for a value of another type. */
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
 * The mode in which the mmap lock must be held for an advice. Linux installs and removes guards
 * under the lock for reading. Here it is held for writing: a dump that lets the machine run holds
 * the lock for reading and relies on guards not to change.
 */
export function adviceMode(advice: Advice): LockMode {
  const changesGuards = advice === 'guard_install' || advice === 'guard_remove';
  return isFlagAdvice(advice) || changesGuards ? 'write' : 'read';
}

/**
 * Applies an advice to a range (do_madvise). At a hole it goes on with the rest, and throws ENOMEM
 * in the end. At a VMA that refuses the advice it stops with EINVAL. The populate advices stop at
 * the first hole (ENOMEM) and at the first page that cannot be faulted in (EFAULT, EHWPOISON).
 */
export function doMadvise(
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
      zapRange(mm, from, to, true);
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
    default: // 'willneed' and 'cold' have no visible effect
  }
}

/** Faults in every page, and stops at the first one that fails (madvise_populate). */
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
