/**
 * Staging memory of a worker, where it gathers pages before they go to their place in the image. It
 * is kept from one dump to the next, because memory that was touched before is several times
 * faster.
 *
 * If possible it is a reservation in the memory of a bank, so that kernels can fill it. The
 * coordinator lends the reservations (main/dump/staging-reservations.ts). If a worker thread owned
 * one, it would be lost with the thread.
 */
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import {
  SHORT_RUNS_BYTES,
  STAGING_BYTES,
  type StagingReservations,
} from '../../shared/dump/staging-reservations.ts';
import { ImageWindow } from './image-window.ts';

/** Staging memory outside any machine, which only this thread uses. */
let ordinary: SharedArrayBuffer | undefined;

/**
 * The window of STAGING_BYTES bytes in which a worker builds its segments. Without a reservation it
 * lies outside the machine.
 */
export function segmentStage(
  machine: MachineParts,
  reservations: StagingReservations | undefined,
): ImageWindow {
  if (reservations !== undefined && reservations.segment >= 0) {
    const memory = machine.memory.memories[0]!;
    return new ImageWindow(memory.buffer, reservations.segment, STAGING_BYTES, memory);
  }
  ordinary ??= new SharedArrayBuffer(STAGING_BYTES);
  return new ImageWindow(ordinary, 0, STAGING_BYTES, undefined);
}

/**
 * The window of SHORT_RUNS_BYTES bytes in which short runs of a bank are gathered, or null if the
 * bank has no reservation.
 */
export function shortRunsStage(
  machine: MachineParts,
  bank: number,
  reservations: StagingReservations | undefined,
): ImageWindow | null {
  const at = reservations?.shortRuns[bank] ?? -1;
  if (at < 0) return null;
  const memory = machine.memory.memories[bank]!;
  return new ImageWindow(memory.buffer, at, SHORT_RUNS_BYTES, memory);
}
