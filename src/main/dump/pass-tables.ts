/**
 * What the coordinator prepares for a pass: the units with the mappings whose records each writes,
 * the NAME records of files, and the records that stand before and behind the units of an mm.
 */
import type { Mm } from '../../mmu/mm/mm.ts';
import type { MmAddresses } from '../../mmu/mm/mm-struct.ts';
import { lookBackBytes } from '../../shared/dump/look-back.ts';
import { type NameBuffers, NameTable, nameIndexBytes } from '../../shared/dump/name-table.ts';
import { vmaTallyBytes } from '../../shared/dump/vma-tally.ts';
import { WorkUnits, workUnitBytes } from '../../shared/dump/work-unit.ts';
import {
  type EncodedObject,
  encodeData,
  encodeHead,
  encodeLdt,
  encodeMm,
  encodeName,
  type HeadFields,
} from '../../shared/formats/cpt/encode-mm.ts';
import { OBJECT_TYPE } from '../../shared/formats/cpt/records.ts';
import type { Turns } from '../job/stop.ts';
import { nameKind, namePath } from './encode-name.ts';
import type { Plan, PlannedUnit } from './plan.ts';
import type { SharedBuffers } from './shared-buffers.ts';

/** One mm, but for its pages. */
export interface DescribedMm {
  readonly mm: Mm;
  readonly addresses: MmAddresses;
  readonly ldt: Uint8Array;
  readonly auxv: Uint8Array;
  readonly notes: Uint8Array;
}

/** Records of the coordinator around the units of one mm: their record_crcs, in order. */
export interface MmRecords {
  readonly lead: readonly number[];
  readonly trail: readonly number[];
}

export interface PassTables {
  readonly units: SharedArrayBuffer;
  readonly unitCount: number;
  /** Pages of the longest unit, and of all of them. */
  readonly unitPages: number;
  readonly pages: number;
  /** First unit of each mm, and one more: behind the last. */
  readonly firstUnits: readonly number[];
  /** Number of each mm's first mapping, and one more: how many there are. */
  readonly vmaBases: readonly number[];
  readonly tallies: SharedArrayBuffer;
  readonly names: NameBuffers;
  readonly leads: SharedArrayBuffer;
  readonly lookBack: SharedArrayBuffer;
  readonly records: readonly MmRecords[];
  /** Bytes of all records but those of blocks. */
  readonly recordBytes: number;
}

/** AbortError, through `turns`. */
export async function preparePass(
  plan: Plan,
  mms: readonly DescribedMm[],
  head: HeadFields,
  buffers: SharedBuffers,
  turns: Turns,
): Promise<PassTables> {
  const planned = withEmptyMms(plan.units, mms.length);
  const unitBuffer = buffers.take('units', workUnitBytes(planned.length));
  const units = new WorkUnits(unitBuffer);
  const firstUnits = shareUnits(units, planned, mms);
  const vmaBases = [0];
  for (const { mm } of mms) vmaBases.push(vmaBases.at(-1)! + mm.vmas.count);
  const names = await encodeNames(mms, turns);
  const leads = encodeLeads(units, firstUnits, mms, head, buffers);
  const vmas = vmaBases.at(-1)!;
  return {
    units: unitBuffer,
    unitCount: planned.length,
    unitPages: planned.reduce((most, { pages }) => Math.max(most, pages), 1),
    pages: plan.pages,
    firstUnits,
    vmaBases,
    tallies: buffers.take('tallies', vmaTallyBytes(vmas)),
    names: names.buffers,
    leads: leads.buffer,
    lookBack: buffers.take('lookBack', lookBackBytes(planned.length)),
    records: leads.records,
    recordBytes: names.bytes + leads.bytes,
  };
}

/** Every mm has a unit: its records have to stand somewhere. */
function withEmptyMms(units: readonly PlannedUnit[], mms: number): readonly PlannedUnit[] {
  const all: PlannedUnit[] = [];
  let next = 0;
  for (let mm = 0; mm < mms; mm++) {
    const before = all.length;
    while (units[next]?.mm === mm) all.push(units[next++]!);
    if (all.length === before) all.push({ mm, start: 0, pages: 0 });
  }
  return all;
}

/** Fills the table of units; returns the first unit of each mm, and one more. */
function shareUnits(
  units: WorkUnits,
  planned: readonly PlannedUnit[],
  mms: readonly DescribedMm[],
): number[] {
  const firstUnits: number[] = [];
  let first = 0;
  let vma = 0;
  planned.forEach(({ mm, start, pages }, unit) => {
    units.set(unit, mm, start, pages, first);
    first += pages;
    const { vmas } = mms[mm]!.mm;
    if (firstUnits.length === mm) {
      firstUnits.push(unit);
      vma = 0;
    }
    const from = vma;
    const isLast = planned[unit + 1]?.mm !== mm;
    const end = start + pages;
    while (vma < vmas.count && (isLast || vmas.start(vmas.slot(vma)) < end)) vma++;
    units.setVmas(unit, from, vma);
  });
  return [...firstUnits, planned.length];
}

/** The NAME records of all files, which are numbered by their first appearance in the image. */
async function encodeNames(
  mms: readonly DescribedMm[],
  turns: Turns,
): Promise<{ readonly buffers: NameBuffers; readonly bytes: number }> {
  const { files } = mms[0]!.mm;
  const index = new SharedArrayBuffer(nameIndexBytes(files.highWater));
  const encoded: { readonly file: number; readonly at: number; readonly name: EncodedObject }[] =
    [];
  const known = new Set<number>();
  let length = 0;
  let bytes = 0;
  const lengths = new Map<number, number>();
  for (const { mm } of mms) {
    for (let ordinal = 0; ordinal < mm.vmas.count; ordinal++) {
      if (turns.isDue()) await turns.next();
      const file = mm.vmas.file(mm.vmas.slot(ordinal));
      if (file === 0) continue;
      if (!known.has(file)) {
        known.add(file);
        const path = namePath(mm, file);
        const kind = nameKind(mm, file);
        const name = encodeName({ id: known.size, size: files.size(file), kind, path });
        encoded.push({ file, at: length, name });
        lengths.set(file, name.bytes.length);
        length += name.bytes.length;
      }
      bytes += lengths.get(file)!;
    }
  }
  const records = new SharedArrayBuffer(length);
  const into = new Uint8Array(records);
  const table = new NameTable({ index, records });
  for (const { file, at, name } of encoded) {
    into.set(name.bytes, at);
    table.set(file, at, name.bytes.length, name.crc);
  }
  return { buffers: { index, records }, bytes };
}

/** File head, MM, auxiliary vector and notes before the units of an mm; its LDT behind them. */
function encodeLeads(
  units: WorkUnits,
  firstUnits: readonly number[],
  mms: readonly DescribedMm[],
  head: HeadFields,
  buffers: SharedBuffers,
): { readonly buffer: SharedArrayBuffer; readonly records: MmRecords[]; readonly bytes: number } {
  const objects: EncodedObject[] = [];
  const records: MmRecords[] = [];
  let at = 0;
  const add = (group: readonly EncodedObject[]): number => {
    const bytes = group.reduce((sum, object) => sum + object.bytes.length, 0);
    objects.push(...group);
    at += bytes;
    return bytes;
  };
  mms.forEach(({ mm, addresses, auxv, notes, ldt }, ordinal) => {
    const lead = [
      ...(ordinal === 0 ? [encodeHead(head)] : []),
      encodeMm(addresses, mm.vmas.count),
      ...(auxv.length > 0 ? [encodeData(OBJECT_TYPE.MM_AUXV, auxv)] : []),
      ...(notes.length > 0 ? [encodeData(OBJECT_TYPE.CORE_NOTES, notes)] : []),
    ];
    const trail = ldt.length > 0 ? [encodeLdt(ldt)] : [];
    units.setLead(firstUnits[ordinal]!, at, add(lead));
    units.setTrail(firstUnits[ordinal + 1]! - 1, at, add(trail));
    records.push({ lead: lead.map(({ crc }) => crc), trail: trail.map(({ crc }) => crc) });
  });
  const buffer = buffers.take('leads', at);
  const into = new Uint8Array(buffer);
  let to = 0;
  for (const { bytes } of objects) {
    into.set(bytes, to);
    to += bytes.length;
  }
  return { buffer, records, bytes: at };
}
