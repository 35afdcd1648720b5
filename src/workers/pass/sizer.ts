/** The two walks over a unit, which every format has in its own way. */
import type { UnsupportedRun } from '../../shared/dump/tasks/pass-task.ts';
import type { UnitVisitor } from './unit-walk.ts';

/** The first walk: it computes the length of the unit's part of the image, and writes nothing. */
export interface Sizer extends UnitVisitor {
  /** Bytes of the unit's part of the image so far, and segments that they fill. */
  readonly bytes: number;
  readonly segments: number;
  /** Pages of the unit that are stored with their bytes. */
  readonly copied: number;
  /** Pages of all units that cannot be stored, in the order in which the units were claimed. */
  readonly unsupported: readonly UnsupportedRun[];
  /** Pairs of VMAs that share pages through clones, in all units, counted over all mms. */
  readonly joins: readonly number[];
  /** Begins a unit of mm `ordinal`. Its first `lead` bytes are records of the coordinator. */
  begin(ordinal: number, lead: number): void;
  /** Ends the unit. Its last `trail` bytes are records of the coordinator. */
  end(trail: number): void;
}

/** The second walk: it writes the unit's part of the image, whose place is known now. */
export interface Writer extends UnitVisitor {
  /** Pages of the unit that are stored with their bytes. */
  readonly copied: number;
  /** Begins unit `unit` of mm `ordinal`, whose part of the image begins at byte `offset`. */
  begin(ordinal: number, offset: number, unit: number): void;
  /**
   * Copies what the coordinator has encoded: bytes [at, at + bytes) of `words`. Both numbers are
   * multiples of 8.
   */
  raw(words: Int32Array, at: number, bytes: number): void;
}
