/** What stands around the pages of a native image: the file head, and what each mm has once. */
import type { StateBlobs } from '../../shared/arguments/state-blobs.ts';
import type { PassReport } from '../../shared/dump/tasks/pass-task.ts';
import { encodeHead, type HeadFields } from '../../shared/formats/cpt/encode-mm.ts';
import type { Yielder } from '../job/stop.ts';
import { AnonIds } from './anon-ids.ts';
import type { FormatOutput, PassFindings, PlacedEnd } from './format-output.ts';
import { finishVmas, type Rewrite } from './late-records.ts';
import { type DescribedMm, type MmRecords, type PassTables, preparePass } from './pass-tables.ts';
import type { Plan } from './plan.ts';
import { RecordCrcs } from './record-crcs.ts';
import type { SharedBuffers } from './shared-buffers.ts';

/** The output of one dump as a native image. */
export class NativeOutput implements FormatOutput {
  readonly #mms: readonly DescribedMm[];
  readonly #head: Omit<HeadFields, 'totalLen'>;
  readonly #state: StateBlobs;
  #anonIds = new Int32Array(new SharedArrayBuffer(0));
  #headCrc: number | undefined;

  constructor(mms: readonly DescribedMm[], head: Omit<HeadFields, 'totalLen'>, state: StateBlobs) {
    this.#mms = mms;
    this.#head = head;
    this.#state = state;
  }

  get anonIds(): SharedArrayBuffer {
    return this.#anonIds.buffer;
  }

  async prepare(plan: Plan, buffers: SharedBuffers, yielder: Yielder): Promise<PassTables> {
    const lead = { head: { ...this.#head, totalLen: 0 }, state: this.#state };
    const tables = await preparePass(plan, this.#mms, lead, buffers, yielder);
    this.#anonIds = new Int32Array(new SharedArrayBuffer(4 * tables.vmaBases.at(-1)!));
    return tables;
  }

  /** The records behind the pages of an mm are in the tables already. */
  placeEnd({ tables }: PassFindings): PlacedEnd {
    return { tables, bytes: 0 };
  }

  placeHead({ tables, reports }: PassFindings, totalLen: number): void {
    new Uint8Array(tables.leads).set(this.#encodeHead(totalLen), 0);
    this.#numberAnonIds(reports);
  }

  crcsOf(reports: readonly PassReport[]): RecordCrcs {
    return new RecordCrcs(reports.map(({ crcs }) => crcs));
  }

  /** Writes the late records again. */
  async finish(
    { tables, reports }: PassFindings,
    end: number,
    rewrite: Rewrite,
    crcs: RecordCrcs | undefined,
    yielder: Yielder,
  ): Promise<number> {
    this.#numberAnonIds(reports);
    await finishVmas(tables, this.#mms, this.#anonIds, crcs!, rewrite, yielder);
    rewrite(0, this.#encodeHead(end));
    return 0;
  }

  records({ records }: PassTables): readonly MmRecords[] {
    const [first, ...others] = records;
    return [{ ...first!, lead: [this.#headCrc ?? 0, ...first!.lead.slice(1)] }, ...others];
  }

  #encodeHead(totalLen: number): Uint8Array {
    const { bytes, crc } = encodeHead({ ...this.#head, totalLen });
    this.#headCrc = crc;
    return bytes;
  }

  #numberAnonIds(reports: readonly PassReport[]): void {
    const ids = new AnonIds(this.#anonIds.length);
    for (const { joins } of reports) ids.joinAll(joins);
    ids.number(this.#anonIds);
  }
}
