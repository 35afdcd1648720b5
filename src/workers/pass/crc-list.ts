/**
 * The record_crc of every record that a worker has written, unit by unit. The coordinator hashes
 * them in the order of the image. The list takes four bytes per record, and lies in memory of the
 * worker until its task ends.
 */
import type { UnitCrcs } from '../../shared/dump/tasks/pass-task.ts';

/** The list of one worker. */
export class CrcList {
  #crcs = new Int32Array(1024);
  #count = 0;
  #unitStart = 0;
  readonly #units: number[] = [];

  beginUnit(): void {
    this.#unitStart = this.#count;
  }

  /** Number of records in the unit so far. */
  get countInUnit(): number {
    return this.#count - this.#unitStart;
  }

  add(crc: number): void {
    if (this.#count === this.#crcs.length) {
      const longer = new Int32Array(this.#count * 2);
      longer.set(this.#crcs);
      this.#crcs = longer;
    }
    this.#crcs[this.#count++] = crc;
  }

  endUnit(unit: number): void {
    this.#units.push(unit, this.countInUnit);
  }

  /** A copy of the list, for the report. */
  taken(): UnitCrcs {
    return { crcs: this.#crcs.slice(0, this.#count), units: this.#units };
  }
}
