/**
 * The record_crc of every record of an image. The id of the image is made of them, in the order of
 * the image. The workers have noted the crcs of each unit, and the coordinator has those of the
 * records around the units of each mm.
 */
import { createHash } from 'node:crypto';
import type { UnitCrcs } from '../../shared/dump/tasks/pass-task.ts';
import type { Yielder } from '../job/stop.ts';
import type { MmRecords } from './pass-tables.ts';

/** Where the crcs of a unit lie: from index `at` on in the list of a worker. */
interface Place {
  readonly crcs: Int32Array;
  readonly at: number;
  readonly count: number;
}

/** The crcs of one image. */
export class RecordCrcs {
  readonly #places: (Place | undefined)[] = [];

  constructor(lists: readonly UnitCrcs[]) {
    for (const { crcs, units } of lists) {
      let at = 0;
      for (let index = 0; index < units.length; index += 2) {
        const count = units[index + 1]!;
        this.#places[units[index]!] = { crcs, at, count };
        at += count;
      }
    }
  }

  /** Replaces the crc of record number `record` of a unit, which was written again. */
  replace(unit: number, record: number, crc: number): void {
    const { crcs, at } = this.#places[unit]!;
    crcs[at + record] = crc;
  }

  /**
   * The first 16 bytes of sha256 over all crcs, in hex. `firstUnits` has the first unit of each mm,
   * and the number of units. Throws AbortError through `yielder`.
   */
  async imageId(
    records: readonly MmRecords[],
    firstUnits: readonly number[],
    yielder: Yielder,
  ): Promise<string> {
    const hash = createHash('sha256');
    for (const [mm, { lead, trail }] of records.entries()) {
      hash.update(Int32Array.from(lead));
      for (let unit = firstUnits[mm]!; unit < firstUnits[mm + 1]!; unit++) {
        if (yielder.isDue()) await yielder.yield();
        const place = this.#places[unit];
        if (place === undefined) continue;
        hash.update(place.crcs.subarray(place.at, place.at + place.count));
      }
      hash.update(Int32Array.from(trail));
    }
    return hash.digest('hex').slice(0, 32);
  }
}
