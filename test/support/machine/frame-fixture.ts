/** Frames in two banks, lists of them, and windows that take their copies, for tests of movers. */
import fc from 'fast-check';
import { lendReservations } from '../../../src/main/dump/staging-reservations.ts';
import { MachineParts } from '../../../src/mmu/mm/machine-parts.ts';
import { BANK_FRAMES } from '../../../src/mmu/physical/physical-memory.ts';
import { takeReservation } from '../../../src/mmu/physical/reservation.ts';
import type { StagingReservations } from '../../../src/shared/dump/staging-reservations.ts';
import { GiB, MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { Memory } from '../../../src/shared/wasm.ts';
import { ImageWindow } from '../../../src/workers/copy/image-window.ts';
import { testMachine } from './machine.ts';

const MOST = 48; // maximum number of pages per move
export const MARGIN = 64; // bytes before and after the pages, which must not change
const WINDOW = MOST * PAGE_SIZE + 2 * MARGIN;
/**
 * Lists name 2 * EDGE frames from frame 100 on, and EDGE frames on each side of the banks'
 * boundary.
 */
const EDGE = 40;

/** Two banks; the frames that lists name have distinct bytes. */
export const parts: MachineParts = new MachineParts(testMachine({ memory: 2 * GiB + MiB }).handle);
for (let frame = 0; frame < 2 * EDGE; frame++) {
  for (const pfn of [100 + frame, BANK_FRAMES - EDGE + frame]) {
    const bytes = parts.memory.page(pfn);
    for (let at = 0; at < PAGE_SIZE; at++) bytes[at] = (pfn * 31 + at * 7 + (at >> 8)) & 0xff;
  }
}

/** Runs of neighbouring frames, some of which cross the end of the bank. */
export const frames: fc.Arbitrary<number[]> = fc
  .array(
    fc.tuple(
      fc.oneof(fc.constant(100), fc.constant(BANK_FRAMES - EDGE)),
      fc.nat(2 * EDGE - 1),
      fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 20 })),
    ),
    { minLength: 1, maxLength: 24 },
  )
  .map((runs) =>
    runs.flatMap(([base, from, pages]) => {
      const count = Math.min(pages, 2 * EDGE - from);
      return Array.from({ length: count }, (_, page) => base + from + page);
    }),
  )
  .map((list) => list.slice(0, MOST));

function ownMemory(): ImageWindow {
  const memory = new Memory({ initial: 4, maximum: 4, shared: true });
  return new ImageWindow(memory.buffer, 4096, WINDOW, memory);
}

/** Where a mover stages the bytes that no kernel copies to their place. */
export const reservations: StagingReservations = lendReservations(parts, 1)[0]!;

const reservation = takeReservation(parts.memory.memories[0]!, WINDOW);
export const WINDOWS: readonly (readonly [string, () => ImageWindow])[] = [
  ['ordinary memory', () => new ImageWindow(new SharedArrayBuffer(WINDOW), 0, WINDOW, undefined)],
  ['a memory of its own', ownMemory],
  [
    'the memory of the first bank',
    () => {
      const memory = parts.memory.memories[0]!;
      return new ImageWindow(memory.buffer, reservation, WINDOW, memory);
    },
  ],
];

/** The expected content of a window: the pages in order. */
export function expectedWindow(list: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(WINDOW).fill(0xee);
  list.forEach((pfn, page) => {
    const from = parts.memory.page(pfn);
    for (let at = 0; at < PAGE_SIZE; at++) bytes[MARGIN + page * PAGE_SIZE + at] = from[at]!;
  });
  return bytes;
}
