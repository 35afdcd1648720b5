/**
 * The place of a thread in the freeze gate: the word GATE of its slot in the thread table.
 *
 *   31 ……………… 12 │ 11 …… 2 │ 1 │ 0
 *   epoch that it │ slot of  │ inside by  │ inside with
 *   has seen      │ the mm   │ an mm      │ an operation       0: outside
 *
 * A thread that is inside by an mm uses translations of that mm (`translations.ts`). The epoch is
 * the lowest 20 bits of the mm's. That suffices, since whoever moves the epoch on waits for all
 * that are inside by the mm: no two that matter are far apart.
 */

/** The words of an mm's epoch. They follow those of the gate, by slots of mms. */
export const MM_EPOCH = {
  EPOCH: 0, // moves on when translations are taken away, and at a freeze; Atomics, plain looks
  USED: 1, //  1 once a translation was made, and never reset; Atomics only
  WORDS: 16, // 64 bytes: users of other mms do not share the line
} as const;

/** The word of a gate at which the epochs begin. */
export const EPOCHS_AT = 16;
/** The most slots of mms in a machine. */
export const MM_SLOTS_MAX = 1024;

/** The place of a thread that is inside with an operation. */
export const WITH_OPERATION = 1;
/** The bit of a place that says that it is by an mm. */
export const BY_MM = 2;
const SLOT_SHIFT = 2;
const SLOT_MASK = 0x3ff;
const EPOCH_SHIFT = 12;

/** The place of a thread that is inside by the mm in `slot` and has seen `epoch`. */
export function placeOf(slot: number, epoch: number): number {
  return (epoch << EPOCH_SHIFT) | (slot << SLOT_SHIFT) | BY_MM;
}

/** Slot of the mm in a place by an mm. */
export function slotOf(place: number): number {
  return (place >>> SLOT_SHIFT) & SLOT_MASK;
}

/** Whether a place by an mm is by the one in `slot`, and shows an epoch before `epoch`. */
export function showsEarlier(place: number, slot: number, epoch: number): boolean {
  if (slotOf(place) !== slot) return false;
  // Both shifted to the top of the word, so that their difference wraps as they do.
  return ((place >>> EPOCH_SHIFT) - epoch) << EPOCH_SHIFT < 0;
}

/** Word index of the epoch of the mm in `slot`, for a gate whose words begin at `base`. */
export function epochAt(base: number, slot: number): number {
  return base + EPOCHS_AT + slot * MM_EPOCH.WORDS + MM_EPOCH.EPOCH;
}
