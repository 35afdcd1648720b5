/**
 * Pairs the mappings of two mms. Mappings are compared by address, whatever their boundaries: a
 * mapping that was only split or merged has not changed. What lies on one side only is looked for on
 * the other side at other addresses, where it may have moved to.
 */
import { PAGE_SIZE } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { ImageMm, ImageVma } from '../image/index/image-mm.ts';

/** A part of a mapping, on one side of a change. */
export interface MappingSide {
  /** Address of the first byte. */
  readonly start: number;
  /** First address after the part. */
  readonly end: number;
  /** VM_* bits (linux/mm.h). */
  readonly flags: number;
  /** Page of the file, or of the anonymous space, at `start`. */
  readonly pgoff: number;
  /** Path of the file; null for anonymous memory and the vdso. */
  readonly file: string | null;
  /** Length of the file, in bytes; null without a file. */
  readonly fileSize: number | null;
  /** Whether it is the vdso. */
  readonly vdso: boolean;
}

/** A change of the mappings. */
export interface MappingChange {
  /**
   * - 'added': it is mapped on the right side only.
   * - 'removed': it is mapped on the left side only.
   * - 'moved': the same file or memory, at another address; its flags may have changed, too.
   * - 'protection': permission to read, write or execute has changed.
   * - 'changed': other VM_* bits, the length of the file, or its name, have changed.
   */
  readonly kind: 'added' | 'removed' | 'moved' | 'protection' | 'changed';
  /** The part on the left side; null if it was added. */
  readonly left: MappingSide | null;
  /** The part on the right side; null if it was removed. */
  readonly right: MappingSide | null;
}

/** Parts of mappings on both sides whose pages belong together. */
export interface MappingPair {
  readonly left: number; //  address of the first byte
  readonly right: number; // the same on the right side
  readonly bytes: number;
}

/** The outcome. Both lists ascend by address: that of the right side, where there is one. */
export interface PairedMappings {
  readonly changes: readonly MappingChange[];
  readonly pairs: readonly MappingPair[];
}

const PROT_FLAGS: number = VM.READ | VM.WRITE | VM.EXEC;

/** A part of one mapping. */
interface Part {
  readonly vma: ImageVma;
  readonly start: number;
  readonly end: number;
}

/** Neighbouring parts which continue each other. */
interface Stretch {
  readonly parts: Part[];
  readonly key: string;
}

/** Pairs the mappings of two mms. */
export function pairMappings(left: ImageMm, right: ImageMm): PairedMappings {
  const changes: MappingChange[] = [];
  const pairs: MappingPair[] = [];
  const removed: Part[] = [];
  const added: Part[] = [];
  for (const { start, end, a, b } of segments(left.vmas, right.vmas)) {
    const before = a && { vma: a, start, end };
    const after = b && { vma: b, start, end };
    if (before !== undefined && after !== undefined && isSamePlace(before, after)) {
      pairs.push({ left: start, right: start, bytes: end - start });
      const kind = kindOfChange(a!, b!);
      if (kind !== null) changes.push({ kind, left: sideOf(before), right: sideOf(after) });
      continue;
    }
    if (before !== undefined) removed.push(before);
    if (after !== undefined) added.push(after);
  }
  pairMoved(stretchesOf(removed), stretchesOf(added), changes, pairs);
  changes.sort((x, y) => addressOfChange(x) - addressOfChange(y));
  pairs.sort((x, y) => x.right - y.right);
  return { changes, pairs };
}

/** A range of addresses in which neither side has a boundary. */
interface Segment {
  readonly start: number;
  readonly end: number;
  readonly a: ImageVma | undefined;
  readonly b: ImageVma | undefined;
}

function* segments(left: readonly ImageVma[], right: readonly ImageVma[]): Generator<Segment> {
  let i = 0;
  let j = 0;
  let at = 0;
  for (;;) {
    while (i < left.length && left[i]!.end <= at) i++;
    while (j < right.length && right[j]!.end <= at) j++;
    const a = left[i];
    const b = right[j];
    if (a === undefined && b === undefined) return;
    const start = Math.max(at, Math.min(a?.start ?? Infinity, b?.start ?? Infinity));
    const hasA = a !== undefined && a.start <= start;
    const hasB = b !== undefined && b.start <= start;
    const end = Math.min(
      hasA ? a.end : (a?.start ?? Infinity),
      hasB ? b.end : (b?.start ?? Infinity),
    );
    yield { start, end, a: hasA ? a : undefined, b: hasB ? b : undefined };
    at = end;
  }
}

/** The change of a mapping that shows the same pages of the same file on both sides. */
function kindOfChange(a: ImageVma, b: ImageVma): 'protection' | 'changed' | null {
  if (((a.flags ^ b.flags) & PROT_FLAGS) !== 0) return 'protection';
  const isSameFile = a.file?.path === b.file?.path && a.file?.size === b.file?.size;
  return a.flags === b.flags && isSameFile ? null : 'changed';
}

/** What a mapping shows: the name of its file, without the mark of a deleted one. */
function shownBy({ file, isVdso }: ImageVma): string {
  if (file === null) return isVdso ? 'vdso' : 'anonymous';
  const { path, isDeleted } = file;
  return `file ${isDeleted ? path.replace(/ \(deleted\)$/, '') : path}`;
}

function pgoffOf({ vma, start }: Part): number {
  return vma.pgoff + (start - vma.start) / PAGE_SIZE;
}

function keyOf(part: Part): string {
  return `${pgoffOf(part)} ${shownBy(part.vma)}`;
}

function isSamePlace(a: Part, b: Part): boolean {
  return pgoffOf(a) === pgoffOf(b) && shownBy(a.vma) === shownBy(b.vma);
}

/** Joins neighbours that continue each other in the file as well, whatever their flags are. */
function stretchesOf(parts: readonly Part[]): Stretch[] {
  const stretches: Stretch[] = [];
  for (const part of parts) {
    const stretch = stretches.at(-1);
    const last = stretch?.parts.at(-1);
    const continues =
      last !== undefined &&
      last.end === part.start &&
      pgoffOf(last) + (last.end - last.start) / PAGE_SIZE === pgoffOf(part) &&
      shownBy(last.vma) === shownBy(part.vma);
    if (continues) stretch!.parts.push(part);
    else stretches.push({ parts: [part], key: keyOf(part) });
  }
  return stretches;
}

/**
 * Pairs stretches that begin with the same page of the same file or of the same anonymous memory,
 * in order of address. What the longer one has more was added or removed.
 */
function pairMoved(
  removed: readonly Stretch[],
  added: readonly Stretch[],
  changes: MappingChange[],
  pairs: MappingPair[],
): void {
  const waiting = new Map<string, Stretch[]>();
  for (const stretch of [...removed].reverse()) {
    const same = waiting.get(stretch.key);
    if (same === undefined) waiting.set(stretch.key, [stretch]);
    else same.push(stretch);
  }
  const add = (part: Part): number =>
    changes.push({ kind: 'added', left: null, right: sideOf(part) });
  const remove = (part: Part): number =>
    changes.push({ kind: 'removed', left: sideOf(part), right: null });
  for (const { parts, key } of added) {
    const from = waiting.get(key)?.pop();
    if (from === undefined) parts.forEach(add);
    else pairParts([...from.parts], [...parts], changes, pairs, add, remove);
  }
  for (const stretches of waiting.values()) {
    for (const { parts } of stretches) parts.forEach(remove);
  }
}

function pairParts(
  from: Part[],
  to: Part[],
  changes: MappingChange[],
  pairs: MappingPair[],
  add: (part: Part) => void,
  remove: (part: Part) => void,
): void {
  while (from.length > 0 && to.length > 0) {
    const a = from.shift()!;
    const b = to.shift()!;
    const bytes = Math.min(a.end - a.start, b.end - b.start);
    const left = { ...a, end: a.start + bytes };
    const right = { ...b, end: b.start + bytes };
    changes.push({ kind: 'moved', left: sideOf(left), right: sideOf(right) });
    pairs.push({ left: left.start, right: right.start, bytes });
    if (left.end < a.end) from.unshift({ ...a, start: left.end });
    if (right.end < b.end) to.unshift({ ...b, start: right.end });
  }
  from.forEach(remove);
  to.forEach(add);
}

function sideOf({ vma, start, end }: Part): MappingSide {
  const { flags, file, isVdso } = vma;
  const pgoff = pgoffOf({ vma, start, end });
  const named = { file: file?.path ?? null, fileSize: file?.size ?? null };
  return { start, end, flags, pgoff, ...named, vdso: isVdso };
}

function addressOfChange({ left, right }: MappingChange): number {
  return (right ?? left)!.start;
}
