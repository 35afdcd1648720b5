/**
 * The reservations in which workers gather pages. A reservation can never be given back to its
 * machine, but dumpers come and go. So reservations do not belong to worker threads: a pass lends
 * them to its workers, and gets them back when all workers have ended. The next pass of this thread
 * takes them, whichever dumper it belongs to. So there are never more than were in use at one time.
 */
import { onMachineEnd } from '../../mmu/machine/lifetime.ts';
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { takeRoom } from '../../mmu/physical/room.ts';
import {
  SHORT_RUNS_BYTES,
  STAGING_BYTES,
  type StagingRooms,
} from '../../shared/dump/staging-rooms.ts';

/** Free reservations, by the id of their machine. The last ones are the warmest in the caches. */
const free = new Map<string, StagingRooms[]>();
let hearsEnds = false;

/**
 * Lends reservations to `workers` workers, until `returnRooms`. The system commits the memory of
 * new ones only as it is touched.
 */
export function lendRooms({ id, memory }: MachineParts, workers: number): StagingRooms[] {
  const rooms = (free.get(id) ?? []).splice(-workers);
  while (rooms.length < workers) {
    rooms.push({
      segment: takeRoom(memory.memories[0]!, STAGING_BYTES),
      shortRuns: memory.memories.map((bank) => takeRoom(bank, SHORT_RUNS_BYTES)),
    });
  }
  return rooms;
}

/** Takes reservations back. Precondition: the workers that had them have ended. */
export function returnRooms(
  { id, hasDroppedViews }: MachineParts,
  rooms: readonly StagingRooms[],
): void {
  if (hasDroppedViews) return;
  if (!hearsEnds) {
    onMachineEnd((machine) => Promise.resolve(void free.delete(machine)));
    hearsEnds = true;
  }
  const known = free.get(id);
  if (known === undefined) free.set(id, [...rooms]);
  else known.push(...rooms);
}
