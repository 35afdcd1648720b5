/**
 * The control block of a machine: its own words, then the parts that have tables of their own.
 *
 *   | words of CONTROL | thread table | freeze gate | frame allocator | store | backings |
 */
import type { MachineHandle } from '../../shared/machine-handle.ts';
import { FREEZE_GATE_WORDS } from '../../shared/sync/freeze-gate.ts';
import { THREAD_TABLE_WORDS } from '../../shared/sync/thread-layout.ts';
import { ThreadTable } from '../../shared/sync/thread-table.ts';
import { BACKING, BACKINGS_MAX } from '../backing/backing-table.ts';
import { STORE } from '../files/store-blocks.ts';
import { ALLOCATOR } from '../physical/frame-allocator.ts';

/** Words of the control block. The parts that have tables of their own follow. */
export const CONTROL = {
  ANON_VMAS: 0, //     anon_vma ids handed out; Atomics only
  DEVICE_FIRST: 1, //  first frame of the device memory; immutable after init
  DEVICE_FRAMES: 2, // its size; immutable after init
  HUGE_ZERO: 3, //     first frame of the huge zero page, 0 = not allocated yet; Atomics only
  RECLAIM_SLOT: 4, //  next slot to reclaim from, modulo their number; a hint, Atomics only
  ID_LOW: 5, //        64 random bits that name the machine; immutable after init
  ID_HIGH: 6, //       … high word
  ZERO_PAGE: 7, //     1 = read faults map the zero page, 0 = fresh pages; immutable after init
  SNAPSHOTS: 8, //     ids of snapshots handed out; Atomics only
  ADOPTED_STEPS: 9, // steps of changes of adopted memory (`adopted-marks.ts`); Atomics only
  THREADS: 16, //      the thread table
} as const;
/** Words of the control block at which the gate, the allocator, the store and the backings begin. */
export const GATE_AT: number = CONTROL.THREADS + THREAD_TABLE_WORDS;
export const ALLOCATOR_AT: number = GATE_AT + FREEZE_GATE_WORDS;
export const STORE_AT: number = ALLOCATOR_AT + ALLOCATOR.WORDS;
export const BACKINGS_AT: number = STORE_AT + STORE.WORDS;
/** Number of words of the control block. */
export const CONTROL_WORDS: number = BACKINGS_AT + BACKINGS_MAX * BACKING.WORDS;

/** The thread table of a machine, for code that has no MachineParts of it yet. */
export function threadsOf(handle: MachineHandle): ThreadTable {
  return new ThreadTable(new Int32Array(handle.control), CONTROL.THREADS, handle.checks);
}
