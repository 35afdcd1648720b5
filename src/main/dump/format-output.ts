/** What an image has around its pages, which every format has in its own way. */
import type { LookBack } from '../../shared/dump/look-back.ts';
import type { PassReport } from '../../shared/dump/tasks/pass-task.ts';
import type { Yielder } from '../job/stop.ts';
import type { Rewrite } from './late-records.ts';
import type { MmRecords, PassTables } from './pass-tables.ts';
import type { Plan } from './plan.ts';
import type { RecordCrcs } from './record-crcs.ts';
import type { SharedBuffers } from './shared-buffers.ts';

/** What is known at the end of a pass. */
export interface PassFindings {
  readonly tables: PassTables;
  /** Where the units begin. */
  readonly lookBack: LookBack;
  /** Those of the workers, also of a counting pass. */
  readonly reports: readonly PassReport[];
}

/** The end of an image, once it has been put into the tables of a pass. */
export interface PlacedEnd {
  readonly tables: PassTables;
  /** Bytes behind the pages. */
  readonly bytes: number;
}

/** The output of one dump, as far as the coordinator writes it. */
export interface FormatOutput {
  /** anonvmaid of each VMA, if the workers are to know it after a counting pass. */
  readonly anonIds: SharedArrayBuffer | undefined;

  /**
   * Prepares the tables of a pass. Throws AbortError through `yielder`, and ENOMEM if there is no
   * memory for a table. Precondition: the mms are held.
   */
  prepare(plan: Plan, buffers: SharedBuffers, yielder: Yielder): Promise<PassTables>;

  /** After a counting pass: puts what follows the pages, which end at byte `end`, into the tables. */
  placeEnd(found: PassFindings, end: number): PlacedEnd;

  /** After a counting pass: encodes again what depends on it. The image has `bytes` bytes. */
  placeHead(found: PassFindings, bytes: number): void;

  /** The crcs of the records that the workers have written. Undefined if there are none. */
  crcsOf(reports: readonly PassReport[]): RecordCrcs | undefined;

  /**
   * After a pass without a counting pass before it, whose last unit ends at byte `end`: writes
   * again what depends on the pass. Returns the number of bytes behind the last unit. Throws
   * OUTPUT_FAILED, and AbortError through `yielder`.
   */
  finish(
    found: PassFindings,
    end: number,
    rewrite: Rewrite,
    crcs: RecordCrcs | undefined,
    yielder: Yielder,
  ): Promise<number>;

  /** The final crcs of the records that the coordinator has written. */
  records(tables: PassTables): readonly MmRecords[];
}
