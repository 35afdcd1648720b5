/**
 * The reservations in which workers gather pages. A reservation can never be given back to its
 * machine, but dumpers come and go. So reservations do not belong to worker threads: a pass lends
 * them to its workers, and gets them back when all workers have ended. The next pass of this thread
 * takes them, whichever dumper it belongs to. So there are never more than were in use at one time.
 */
import { onMachineEnd } from '../../mmu/machine/lifetime.ts';
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { takeReservation } from '../../mmu/physical/reservation.ts';
import {
  SHORT_RUNS_BYTES,
  STAGING_BYTES,
  type StagingReservations,
} from '../../shared/dump/staging-reservations.ts';

/** Free reservations, by the id of their machine. The last ones are the warmest in the caches. */
const free = new Map<string, StagingReservations[]>();
let hearsEnds = false;

/**
 * Lends reservations to `workers` workers, until `returnReservations`. The system commits the
 * memory of new ones only as it is touched.
 */
export function lendReservations(
  { id, memory, handle }: MachineParts,
  workers: number,
): StagingReservations[] {
  const own = handle.banks.length;
  // The memory of the caller never grows by what mmdump needs.
  const isAdopted = (bank: number): boolean => bank >= own && bank < own + handle.adopted.length;
  const reservations = (free.get(id) ?? []).splice(-workers);
  while (reservations.length < workers) {
    reservations.push({
      segment: takeReservation(memory.memories[0]!, STAGING_BYTES),
      shortRuns: memory.memories.map((bank, index) => {
        return bank === undefined || isAdopted(index)
          ? -1
          : takeReservation(bank, SHORT_RUNS_BYTES);
      }),
    });
  }
  return reservations;
}

/** Takes reservations back. Precondition: the workers that had them have ended. */
export function returnReservations(
  { id, hasDroppedViews }: MachineParts,
  reservations: readonly StagingReservations[],
): void {
  if (hasDroppedViews) return;
  if (!hearsEnds) {
    onMachineEnd((machine) => Promise.resolve(void free.delete(machine)));
    hearsEnds = true;
  }
  const known = free.get(id);
  if (known === undefined) free.set(id, [...reservations]);
  else known.push(...reservations);
}
