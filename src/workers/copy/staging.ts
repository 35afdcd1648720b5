/**
 * Memory of a worker where pages are gathered before they go where they belong. It is kept from dump
 * to dump: memory that was touched before is several times quicker.
 *
 * Inside the memory of a bank, if there is room, so that kernels can fill it: the coordinator lends it
 * (main/dump/staging-rooms.ts), since room that a thread took would be lost with the thread.
 */
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import {
  SHORT_RUNS_BYTES,
  STAGING_BYTES,
  type StagingRooms,
} from '../../shared/dump/staging-rooms.ts';
import { ImageWindow } from './image-window.ts';

/** Outside of any machine; of this thread alone. */
let ordinary: SharedArrayBuffer | undefined;

/** Where a segment is built. */
export function segmentStage(machine: MachineParts, rooms: StagingRooms | undefined): ImageWindow {
  if (rooms !== undefined && rooms.segment >= 0) {
    const memory = machine.memory.memories[0]!;
    return new ImageWindow(memory.buffer, rooms.segment, STAGING_BYTES, memory);
  }
  ordinary ??= new SharedArrayBuffer(STAGING_BYTES);
  return new ImageWindow(ordinary, 0, STAGING_BYTES, undefined);
}

/** Where short runs of a bank are gathered; null: it has no room. */
export function shortRunsStage(
  machine: MachineParts,
  bank: number,
  rooms: StagingRooms | undefined,
): ImageWindow | null {
  const at = rooms?.shortRuns[bank] ?? -1;
  if (at < 0) return null;
  const memory = machine.memory.memories[bank]!;
  return new ImageWindow(memory.buffer, at, SHORT_RUNS_BYTES, memory);
}
