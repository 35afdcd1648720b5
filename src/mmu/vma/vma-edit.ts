/**
 * Splitting, merging and removing VMAs (mm/vma.c). The mmap lock is held for writing.
 */
import { MmdumpError } from '../../shared/errors.ts';
import { TASK_PAGES } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { putFile } from '../files/page-cache.ts';
import type { Mm } from '../mm/mm.ts';
import { freeTablesLocked } from '../tables/page-table.ts';
import { splitHugeAtLocked } from '../tables/split-huge.ts';
import { zapRangeLocked } from '../tables/zap.ts';
import { mayShareAnonVma } from './anon-vma.ts';
import { MAX_MAP_COUNT, type VmaFields } from './vma-table.ts';

/** VM_SPECIAL: mappings of devices and the like are never joined. */
export const VM_SPECIAL: number = VM.IO | VM.PFNMAP | VM.MIXEDMAP | VM.DONTEXPAND;

/** ENOMEM unless `more` VMAs can be added. Asked before anything is changed. */
export function assertMapCount(mm: Mm, more: number): void {
  if (mm.vmas.count + more <= MAX_MAP_COUNT) return;
  throw new MmdumpError('ENOMEM', `an mm has at most ${MAX_MAP_COUNT} mappings`);
}

/** Adds a VMA, which takes a reference to its file. Where it throws it has changed nothing. */
export function addVmaLocked(mm: Mm, vma: VmaFields): void {
  if (vma.file !== 0) mm.files.get(vma.file);
  try {
    mm.vmas.insert(vma);
  } catch (error) {
    if (vma.file !== 0) putFile(mm, vma.file);
    throw error;
  }
}

/** Adds a VMA and joins it with its neighbours. */
export function insertVmaLocked(mm: Mm, vma: VmaFields): void {
  addVmaLocked(mm, vma);
  mergeRangeLocked(mm, vma.start, vma.end);
}

/**
 * Adds ready-made VMAs, unmerged; each takes a reference to its file. EINVAL for one that is empty,
 * lies where something is mapped or names no file, ENOMEM for too many; nothing is added then.
 */
export function insertMappingsLocked(mm: Mm, added: readonly VmaFields[]): void {
  assertMapCount(mm, added.length);
  const sorted = [...added].sort((a, b) => a.start - b.start);
  for (const [at, { start, end, file }] of sorted.entries()) {
    const where = `a mapping of pages ${start} to ${end}`;
    if (start >= end) throw einval(`${where} is empty`);
    const next = sorted[at + 1]?.start ?? Number.POSITIVE_INFINITY;
    if (end > next || !isUnmapped(mm, start, end)) throw einval(`${where} overlaps another`);
    if (file !== 0 && !mm.files.exists(file)) throw einval(`${where}: no file ${file}`);
  }
  for (const vma of added) addVmaLocked(mm, vma);
}

function isUnmapped({ vmas }: Mm, start: number, end: number): boolean {
  const ordinal = vmas.find(start);
  return ordinal === vmas.count || vmas.start(vmas.slot(ordinal)) >= end;
}

function einval(message: string): MmdumpError {
  return new MmdumpError('EINVAL', message);
}

/** Splits the VMA that holds `vpn` so that one starts there (split_vma). No-op at a boundary. */
export function splitVmaLocked(mm: Mm, vpn: number): void {
  const { vmas } = mm;
  const slot = vmas.lookup(vpn);
  if (slot < 0 || vmas.start(slot) === vpn) return;
  assertMapCount(mm, 1);
  splitHugeAtLocked(mm, vpn);
  const whole = vmas.fields(slot);
  vmas.setEnd(slot, vpn); // there is room for one more, and the file is there: nothing fails
  addVmaLocked(mm, { ...whole, start: vpn, pgoff: whole.pgoff + (vpn - whole.start) });
}

/** Joins every two neighbours that touch at a page of [from, to] and may be one (vma_merge). */
export function mergeRangeLocked(mm: Mm, from: number, to: number): void {
  const { vmas } = mm;
  let ordinal = Math.max(1, vmas.find(from));
  while (ordinal < vmas.count && vmas.start(vmas.slot(ordinal)) <= to) {
    if (!mergePair(mm, ordinal)) ordinal++;
  }
}

/** Joins the VMA at `ordinal` to the one before it, if they allow it. */
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
  vmas.remove(ordinal);
  if (file !== 0) putFile(mm, file);
  return true;
}

/** Removes every mapping in [from, to): VMAs, leaves, tables (do_vmi_align_munmap). */
export function unmapRangeLocked(mm: Mm, from: number, to: number): void {
  const { vmas } = mm;
  const first = vmas.find(from);
  if (first === vmas.count || vmas.start(vmas.slot(first)) >= to) return;
  const inMiddle = vmas.start(vmas.slot(first)) < from && vmas.end(vmas.slot(first)) > to;
  if (inMiddle) assertMapCount(mm, 1);
  try {
    splitVmaLocked(mm, from);
    splitVmaLocked(mm, to);
  } catch (error) {
    mergeRangeLocked(mm, from, from); // no frame for a table: as if nothing had been asked
    throw error;
  }
  zapRangeLocked(mm, from, to);
  const ordinal = vmas.find(from);
  let end = ordinal;
  while (end < vmas.count && vmas.start(vmas.slot(end)) < to) {
    const file = vmas.file(vmas.slot(end++));
    if (file !== 0) putFile(mm, file);
  }
  vmas.remove(ordinal, end - ordinal);
  freeTablesAroundLocked(mm, from, to);
}

/** Frees the tables that only pages [from, to) needed; no VMA lies there. */
export function freeTablesAroundLocked(mm: Mm, from: number, to: number): void {
  const { vmas } = mm;
  const ordinal = vmas.find(from);
  const floor = ordinal === 0 ? 0 : vmas.end(vmas.slot(ordinal - 1));
  const ceiling = ordinal === vmas.count ? TASK_PAGES + 1 : vmas.start(vmas.slot(ordinal));
  freeTablesLocked(mm, mm.pgd, { from, to, floor, ceiling });
}
