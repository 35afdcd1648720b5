/**
 * Adopted pages on the way back to a snapshot (`rewind.ts`): their bytes are stored in the frames of
 * the caller, from which the snapshot has copied them. The mmap lock of the mm is held for writing.
 *
 * All of them are compared. With `trustsMarks` those are left out that have not changed since the
 * snapshot, or since its last rewind, which marks and steps tell (`physical/adopted-marks.ts`).
 */
import type { Mm } from '../mm/mm.ts';
import { MM_FIELD } from '../mm/mm-struct.ts';
import { seenAt } from '../physical/adopted-marks.ts';
import { highOf, isPresent, lowOf, PTE, pfnOf } from '../tables/pte.ts';
import { shareFrame } from '../tables/shared-table.ts';
import { dropEntry } from '../tables/zap.ts';

const { SOFT_DIRTY, NX_HIGH, ADOPTED_COPY } = PTE;
const FLAGS = 0xfff;

/** A rewind as it concerns adopted memory. */
export interface AdoptedRewind {
  readonly trustsMarks: boolean;
  /** The step at which the frames had the bytes of the clone. */
  readonly since: number;
  /** The step of the rewind. */
  readonly step: number;
}

/** Begins a rewind of the mm to its clone. `noteRewound` ends it. */
export function beginRewind({ machine }: Mm, clone: Mm, trustsMarks: boolean): AdoptedRewind {
  const since = clone.struct.get(MM_FIELD.ADOPTED_SEEN) >>> 0;
  const step = machine.adoptedMarks === undefined ? 0 : machine.nextAdoptedStep();
  return { trustsMarks, since, step };
}

/** Notes in the clone that the frames have its bytes again: what changes now has a later step. */
export function noteRewound({ struct }: Mm, { step }: AdoptedRewind): void {
  struct.set(MM_FIELD.ADOPTED_SEEN, seenAt(step));
}

/**
 * Stores the bytes of the copy, which the leaf `kept`, `high` of the clone shows, in the adopted
 * frame, and maps that at words[at] if it is not there any more.
 */
export function rewindAdopted(
  mm: Mm,
  words: Int32Array,
  at: number,
  kept: number,
  high: number,
  rewind: AdoptedRewind,
): void {
  const { memory, pages, machine } = mm;
  const marks = machine.adoptedMarks!;
  const copy = pfnOf(kept, high);
  const frame = pages.next(copy);
  const low = words[at]!;
  if (isPresent(low) && pfnOf(low, words[at + 1]!) === frame) {
    if (rewind.trustsMarks && !settle(mm, words, at, frame, rewind)) return;
    if (Buffer.compare(memory.page(frame), memory.page(copy)) === 0) return;
    memory.copy(frame, copy);
    if (rewind.trustsMarks && marks.isKnown(frame)) marks.noteChange(frame, rewind.step);
    else words[at] = low | SOFT_DIRTY;
    return;
  }
  memory.copy(frame, copy);
  if (low !== 0) dropEntry(mm, low, words[at + 1]!);
  shareFrame(mm, frame);
  marks.noteMapping(frame, rewind.step);
  words[at + 1] = highOf(frame, high & NX_HIGH);
  words[at] = lowOf(frame, (kept & FLAGS & ~ADOPTED_COPY) | SOFT_DIRTY);
}

/**
 * Whether the frame may have changed since the clone had its bytes. Its mark and the soft-dirty bit
 * of its leaf become a step, so that the next rewind need not look again, and `dirty.ts` still sees
 * the change.
 */
function settle(
  mm: Mm,
  words: Int32Array,
  at: number,
  frame: number,
  { since, step }: AdoptedRewind,
): boolean {
  const marks = mm.machine.adoptedMarks!;
  if (!marks.isKnown(frame)) return true;
  const low = words[at]!;
  const hasChanged = marks.settle(frame, (low & SOFT_DIRTY) !== 0, since, step);
  if (!marks.isKnown(frame)) return true; // another mm has mapped it just now
  if ((low & SOFT_DIRTY) !== 0) words[at] = low & ~SOFT_DIRTY;
  return hasChanged;
}
