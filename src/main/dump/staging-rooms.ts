/**
 * The rooms in which workers gather pages. A room never leaves its machine, and dumpers come and go,
 * so rooms do not belong to worker threads: who runs a pass lends them to its workers and has them
 * back when all have ended. What one pass lets go, the next one of this thread takes, whichever dumper
 * it is of; there are never more than were in use at one time.
 */
import { onMachineEnd } from '../../mmu/machine/lifetime.ts';
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { takeRoom } from '../../mmu/physical/room.ts';
import {
  SHORT_RUNS_BYTES,
  STAGING_BYTES,
  type StagingRooms,
} from '../../shared/dump/staging-rooms.ts';

/** Rooms that nobody uses, by the id of their machine; the last one let go is the warmest. */
const free = new Map<string, StagingRooms[]>();
let hearsEnds = false;

/** Rooms for `workers` workers, until `returnRooms`. Memory is committed only as it is touched. */
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

/** The workers that had them have ended. */
export function returnRooms({ id, hasLetGo }: MachineParts, rooms: readonly StagingRooms[]): void {
  if (hasLetGo) return;
  if (!hearsEnds) {
    onMachineEnd((machine) => Promise.resolve(void free.delete(machine)));
    hearsEnds = true;
  }
  const known = free.get(id);
  if (known === undefined) free.set(id, [...rooms]);
  else known.push(...rooms);
}
