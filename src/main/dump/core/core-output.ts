/**
 * What stands around the pages of an ELF core file:
 *
 *   ELF header, in a page of its own | pages of all units | notes | program headers | section header
 *
 * The headers stand at the end, because only a pass over the pages tells how many there are. So a
 * file needs one pass, and the ELF header, which names their place, is written again after it.
 */
import { lookBackBytes } from '../../../shared/dump/look-back.ts';
import { nameIndexBytes } from '../../../shared/dump/name-table.ts';
import { RAW_PIECE, SegmentCut } from '../../../shared/dump/segment-cut.ts';
import { vmaTallyBytes } from '../../../shared/dump/vma-tally.ts';
import { WorkUnits, workUnitBytes } from '../../../shared/dump/work-unit.ts';
import { MmdumpError } from '../../../shared/errors.ts';
import { CORE_PAGES_AT } from '../../../shared/formats/elf/core-pages.ts';
import {
  encodeHeader,
  encodeSection,
  needsSection,
  SECTION_HEADER,
} from '../../../shared/formats/elf/header.ts';
import { headerBytes, putSegment, SEGMENT_TYPE } from '../../../shared/formats/elf/segments.ts';
import { viewOf } from '../../../shared/formats/elf/words.ts';
import type { FormatOutput, PassFindings, PlacedEnd } from '../format-output.ts';
import type { Rewrite } from '../late-records.ts';
import { type DescribedMm, type MmRecords, type PassTables, shareUnits } from '../pass-tables.ts';
import type { Plan } from '../plan.ts';
import type { SharedBuffers } from '../shared-buffers.ts';
import { coreNotes } from './core-notes.ts';
import { CoreSegments } from './core-segments.ts';

/** Throws OPTION_INVALID unless there is one address space, which is all that a core can hold. */
export function assertOneMm(count: number): void {
  if (count === 1) return;
  const text = `format: a core file holds one address space, and there are ${count}: dump one of them`;
  throw new MmdumpError('OPTION_INVALID', text);
}

/** The end of a core, once all runs are known. */
interface CoreEnd {
  /** The ELF header, for byte 0. */
  readonly header: Uint8Array;
  /** Everything behind the pages. Its length is a multiple of 8. */
  readonly trailer: Uint8Array;
}

/** The output of one dump as a core file. */
export class CoreOutput implements FormatOutput {
  /** A core has none. */
  readonly anonIds = undefined;
  readonly #described: DescribedMm;
  readonly #notes: Uint8Array;

  /** Throws IMAGE_CORRUPT if the notes of the mm cannot be read. */
  constructor(described: DescribedMm) {
    this.#described = described;
    this.#notes = coreNotes(described);
  }

  /** Prepares the tables of a pass. The last unit is empty: the end of the file belongs to it. */
  async prepare(plan: Plan, buffers: SharedBuffers): Promise<PassTables> {
    const { mm } = this.#described;
    const empty = { mm: 0, start: 0, pages: 0 };
    const planned = [...(plan.units.length === 0 ? [empty] : plan.units), empty];
    const unitBuffer = buffers.take('units', workUnitBytes(planned.length));
    const units = new WorkUnits(unitBuffer);
    const firstUnits = shareUnits(units, planned, [this.#described]);
    const leads = buffers.take('leads', CORE_PAGES_AT);
    new Uint8Array(leads).fill(0);
    units.setLead(0, 0, CORE_PAGES_AT);
    const vmas = mm.vmas.count;
    return {
      units: unitBuffer,
      unitCount: planned.length,
      unitPages: planned.reduce((most, { pages }) => Math.max(most, pages), 1),
      pages: plan.pages,
      firstUnits,
      vmaBases: [0, vmas],
      tallies: buffers.take('tallies', vmaTallyBytes(vmas)),
      names: {
        index: new SharedArrayBuffer(nameIndexBytes(mm.files.highWater)),
        records: new SharedArrayBuffer(0),
      },
      leads,
      firstMm: 0, // it has none
      lookBack: buffers.take('lookBack', lookBackBytes(planned.length)),
      records: [{ lead: [], trail: [] }],
      // A page more in a segment of its own takes less than a record of the native image.
      recordBytes: CORE_PAGES_AT + this.#trailerBytes(2 * vmas + 2),
    };
  }

  /** Puts the end of the core into the last unit. */
  placeEnd(found: PassFindings, end: number): PlacedEnd {
    return placeCoreEnd(found.tables, this.#end(found, end));
  }

  /** The ELF header is in place with the end, which it names. */
  placeHead(): void {
    // nothing else depends on the pass
  }

  /** A core has no records. */
  crcsOf(): undefined {
    return undefined;
  }

  /** Writes the end of the core, and the ELF header again. */
  async finish(found: PassFindings, end: number, rewrite: Rewrite): Promise<number> {
    const { header, trailer } = this.#end(found, end);
    rewrite(end, trailer);
    rewrite(0, header);
    return trailer.length;
  }

  records({ records }: PassTables): readonly MmRecords[] {
    return records;
  }

  /** Encodes the end of a core whose pages end at byte `end`. The reports have every run. */
  #end({ reports, lookBack }: PassFindings, end: number): CoreEnd {
    const segments = new CoreSegments(this.#described.mm);
    const ordered = reports.flatMap(({ runs }) => runs).sort((a, b) => a.unit - b.unit);
    for (const each of ordered) {
      const offset = each.unit === 0 ? CORE_PAGES_AT : lookBack.endOf(each.unit - 1);
      segments.addUnit(each, offset);
    }
    segments.end();
    const count = segments.count + 1;
    const notes = this.#notes;
    const trailer = new Uint8Array(this.#trailerBytes(count));
    const headersAt = roundUp(notes.length);
    trailer.set(notes);
    const note = { flags: 0, address: 0, bytes: 0, align: 4 };
    const place = { type: SEGMENT_TYPE.NOTE, offset: end, fileBytes: notes.length };
    putSegment(viewOf(trailer), headersAt, { ...note, ...place });
    segments.encode(trailer, headersAt + headerBytes(1));
    if (needsSection(count)) trailer.set(encodeSection(count), headersAt + headerBytes(count));
    return { header: encodeHeader({ phoff: end + headersAt, segments: count }), trailer };
  }

  #trailerBytes(segments: number): number {
    const section = needsSection(segments) ? SECTION_HEADER.SIZE : 0;
    return roundUp(this.#notes.length) + headerBytes(segments) + section;
  }
}

/** Puts the end of a core into the tables of a pass that has counted. Returns the new tables. */
function placeCoreEnd(tables: PassTables, { header, trailer }: CoreEnd): PlacedEnd {
  const leads = new SharedArrayBuffer(CORE_PAGES_AT + trailer.length);
  const bytes = new Uint8Array(leads);
  bytes.set(header, 0);
  bytes.set(trailer, CORE_PAGES_AT);
  const units = new WorkUnits(tables.units);
  const last = tables.unitCount - 1;
  units.setLead(last, CORE_PAGES_AT, trailer.length);
  const cut = new SegmentCut();
  let segments = 0;
  for (let left = trailer.length; left > 0; left -= RAW_PIECE) {
    if (cut.place(Math.min(left, RAW_PIECE))) segments++;
  }
  if (cut.end()) segments++;
  units.setSegments(last, segments);
  return { tables: { ...tables, leads }, bytes: trailer.length };
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}
