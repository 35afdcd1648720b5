/**
 * Splits, merges and removes VMAs (mm/vma.c). The mmap lock is held for writing.
 */
import { MmdumpError } from '../../shared/errors.ts';
import { TASK_PAGES } from '../../shared/page.ts';
import { RANK } from '../../shared/sync/held-locks.ts';
import { VM } from '../../shared/vm-flags.ts';
import { einval } from '../arguments/range.ts';
import { putFile } from '../files/page-cache.ts';
import type { Mm } from '../mm/mm.ts';
import { freeTables } from '../tables/page-table.ts';
import { splitHugeAt } from '../tables/split-huge.ts';
import { zapRange } from '../tables/zap.ts';
import { mayShareAnonVma } from './anon-vma.ts';
import { MAX_MAP_COUNT, type VmaFields } from './vma-table.ts';

/** VM_SPECIAL: VMAs of devices and similar ones, which never merge. */
export const VM_SPECIAL: number = VM.IO | VM.PFNMAP | VM.MIXEDMAP | VM.DONTEXPAND;

/** Asserts that the thread holds an mmap lock for writing. In a fork it is that of the parent. */
function assertWriting({ threads, thread }: Mm, change: string): void {
  threads.assertHeld(thread, RANK.MMAP_WRITE, change);
}

/** Throws ENOMEM unless `more` VMAs can be added. Callers ask before they change anything. */
export function assertMapCount(mm: Mm, more: number): void {
  if (mm.vmas.count + more <= MAX_MAP_COUNT) return;
  throw new MmdumpError('ENOMEM', `an mm has at most ${MAX_MAP_COUNT} mappings`);
}

/**
 * Adds a VMA at a free place, without merging it. The VMA takes a reference to its file. Throws
 * ENOMEM when there are too many VMAs, and EBADF when the file is gone; nothing has changed then.
 */
export function addVma(mm: Mm, vma: VmaFields): void {
  assertWriting(mm, 'a VMA is added');
  if (vma.file !== 0) mm.files.get(vma.file);
  try {
    mm.vmas.insert(vma);
  } catch (error) {
    if (vma.file !== 0) putFile(mm, vma.file);
    throw error;
  }
}

/** Adds a VMA as `addVma` does, then merges it with its neighbours. */
export function insertVma(mm: Mm, vma: VmaFields): void {
  addVma(mm, vma);
  mergeRange(mm, vma.start, vma.end);
}

/**
 * Adds complete VMAs without merging them. Each takes a reference to its file. Throws EINVAL for a
 * VMA that is empty, overlaps another one or names a file that does not exist, and ENOMEM when
 * there are too many VMAs; nothing is added then.
 */
export function insertVmas(mm: Mm, added: readonly VmaFields[]): void {
  assertMapCount(mm, added.length);
  const sorted = [...added].sort((a, b) => a.start - b.start);
  for (const [at, { start, end, file }] of sorted.entries()) {
    const where = `a mapping of pages ${start} to ${end}`;
    if (start >= end) throw einval(`${where} is empty`);
    const next = sorted[at + 1]?.start ?? Number.POSITIVE_INFINITY;
    if (end > next || !isUnmapped(mm, start, end)) throw einval(`${where} overlaps another`);
    if (file !== 0 && !mm.files.exists(file)) throw einval(`${where}: no file ${file}`);
  }
  for (const vma of added) addVma(mm, vma);
}

function isUnmapped({ vmas }: Mm, start: number, end: number): boolean {
  const ordinal = vmas.find(start);
  return ordinal === vmas.count || vmas.start(vmas.slot(ordinal)) >= end;
}

/**
 * Splits the VMA that holds `vpn`, so that a VMA starts there (split_vma). Does nothing where one
 * starts already, or where none is. Throws ENOMEM when there are too many VMAs, or no frame is free
 * to split a huge leaf.
 */
export function splitVma(mm: Mm, vpn: number): void {
  const { vmas } = mm;
  const slot = vmas.lookup(vpn);
  if (slot < 0 || vmas.start(slot) === vpn) return;
  assertMapCount(mm, 1);
  splitHugeAt(mm, vpn);
  const whole = vmas.fields(slot);
  vmas.setEnd(slot, vpn); // nothing fails from here on: there is a free slot, and the file exists
  addVma(mm, { ...whole, start: vpn, pgoff: whole.pgoff + (vpn - whole.start) });
}

/** Merges all neighbours that meet at a page of [from, to] and may be one VMA (vma_merge). */
export function mergeRange(mm: Mm, from: number, to: number): void {
  assertWriting(mm, 'VMAs are merged');
  const { vmas } = mm;
  let ordinal = Math.max(1, vmas.find(from));
  while (ordinal < vmas.count && vmas.start(vmas.slot(ordinal)) <= to) {
    if (!mergePair(mm, ordinal)) ordinal++;
  }
}

/** Merges the VMA at `ordinal` into the one before it if they allow it; returns whether it did. */
function mergePair(mm: Mm, ordinal: number): boolean {
  const { vmas } = mm;
  const left = vmas.slot(ordinal - 1);
  const right = vmas.slot(ordinal);
  const end = vmas.end(left);
  if (end !== vmas.start(right) || vmas.flags(left) !== vmas.flags(right)) return false;
  if ((vmas.flags(left) & VM_SPECIAL) !== 0) return false;
  const file = vmas.file(left);
  if (file !== vmas.file(right) || vmas.kind(left) !== 0 || vmas.kind(right) !== 0) return false;
  if (vmas.fileIndex(left, end) !== vmas.pgoff(right)) return false;
  if (!mayShareAnonVma(mm, left, right)) return false;
  vmas.setEnd(left, vmas.end(right));
  if (vmas.anonVma(left) === 0) {
    vmas.setAnonVma(left, vmas.anonVma(right), vmas.isForked(right));
  }
  if (vmas.isGuarded(right)) vmas.noteGuard(left);
  if (!vmas.isClean(right)) vmas.setClean(left, false); // dirtiness is sticky, as VM_STICKY makes it
  vmas.remove(ordinal);
  if (file !== 0) putFile(mm, file);
  return true;
}

/**
 * Removes everything that is mapped in pages [from, to): VMAs, entries and tables
 * (do_vmi_align_munmap). Throws ENOMEM when a VMA or a huge leaf cannot be split. All mappings are
 * as before then.
 */
export function unmapRange(mm: Mm, from: number, to: number): void {
  assertWriting(mm, 'pages are unmapped');
  const { vmas } = mm;
  const first = vmas.find(from);
  if (first === vmas.count || vmas.start(vmas.slot(first)) >= to) return;
  const inMiddle = vmas.start(vmas.slot(first)) < from && vmas.end(vmas.slot(first)) > to;
  if (inMiddle) assertMapCount(mm, 1);
  try {
    splitVma(mm, from);
    splitVma(mm, to);
  } catch (error) {
    mergeRange(mm, from, from); // no frame for a table: undoes the first split
    throw error;
  }
  zapRange(mm, from, to);
  const ordinal = vmas.find(from);
  let end = ordinal;
  while (end < vmas.count && vmas.start(vmas.slot(end)) < to) {
    const file = vmas.file(vmas.slot(end++));
    if (file !== 0) putFile(mm, file);
  }
  vmas.remove(ordinal, end - ordinal);
  freeTablesAround(mm, from, to);
}

/** Frees the tables that only pages [from, to) needed. No VMA lies there any more. */
export function freeTablesAround(mm: Mm, from: number, to: number): void {
  const { vmas } = mm;
  const ordinal = vmas.find(from);
  const floor = ordinal === 0 ? 0 : vmas.end(vmas.slot(ordinal - 1));
  const ceiling = ordinal === vmas.count ? TASK_PAGES + 1 : vmas.start(vmas.slot(ordinal));
  freeTables(mm, mm.pgd, { from, to, floor, ceiling });
}
