/**
 * The tables that the coordinator prepares for a pass: the units, with the VMAs whose records each
 * of them writes, the NAME records of files, and the records before and after the units of an mm.
 */
import type { Mm } from '../../mmu/mm/mm.ts';
import type { MmAddresses } from '../../mmu/mm/mm-struct.ts';
import type { StateBlobs } from '../../shared/arguments/state-blobs.ts';
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
  encodeState,
  type HeadFields,
  pad8,
} from '../../shared/formats/cpt/encode-mm.ts';
import { FILE_HEAD, OBJECT_TYPE, VMA_IMAGE } from '../../shared/formats/cpt/records.ts';
import type { Yielder } from '../job/stop.ts';
import { nameKind, namePath } from './encode-name.ts';
import type { Plan, PlannedUnit } from './plan.ts';
import type { SharedBuffers } from './shared-buffers.ts';

/** Everything of an mm except its pages. */
export interface DescribedMm {
  readonly mm: Mm;
  readonly addresses: MmAddresses;
  readonly ldt: Uint8Array;
  readonly auxv: Uint8Array;
  readonly notes: Uint8Array;
}

/** What an image has once, before the first mm. */
export interface ImageLead {
  readonly head: HeadFields;
  readonly state: StateBlobs;
}

/** The record_crcs of the coordinator's records before and after the units of an mm, in order. */
export interface MmRecords {
  readonly lead: readonly number[];
  readonly trail: readonly number[];
}

/** The tables of a pass. Those in shared memory are named like the fields of PassTask. */
export interface PassTables {
  readonly units: SharedArrayBuffer;
  readonly unitCount: number;
  /** Pages of address space in the longest unit (at least 1), and in all units. */
  readonly unitPages: number;
  readonly pages: number;
  /** The first unit of each mm, and one more element: the number of units. */
  readonly firstUnits: readonly number[];
  /** The number of each mm's first VMA, and one more element: the number of VMAs. */
  readonly vmaBases: readonly number[];
  readonly tallies: SharedArrayBuffer;
  readonly names: NameBuffers;
  readonly leads: SharedArrayBuffer;
  /** Byte of the image at which the first MM begins. */
  readonly firstMm: number;
  readonly lookBack: SharedArrayBuffer;
  readonly records: readonly MmRecords[];
  /** Bytes of all records of the image except those of blocks. */
  readonly recordBytes: number;
}

/**
 * Prepares the tables of a pass. Throws AbortError through `yielder`, and ENOMEM if there is no
 * memory for a table. Precondition: the mms are held.
 */
export async function preparePass(
  plan: Plan,
  mms: readonly DescribedMm[],
  lead: ImageLead,
  buffers: SharedBuffers,
  yielder: Yielder,
): Promise<PassTables> {
  const planned = withEmptyMms(plan.units, mms.length);
  const unitBuffer = buffers.take('units', workUnitBytes(planned.length));
  const units = new WorkUnits(unitBuffer);
  const firstUnits = shareUnits(units, planned, mms);
  const vmaBases = [0];
  for (const { mm } of mms) vmaBases.push(vmaBases.at(-1)! + mm.vmas.count);
  const names = await encodeNames(mms, yielder);
  const leads = encodeLeads(units, firstUnits, mms, lead, buffers);
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
    firstMm: leads.firstMm,
    lookBack: buffers.take('lookBack', lookBackBytes(planned.length)),
    records: leads.records,
    recordBytes: names.bytes + leads.bytes + vmas * VMA_IMAGE.SIZE,
  };
}

/** Adds an empty unit for each mm that has none, because its records have to belong to a unit. */
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

/** Fills the table of units. Returns PassTables.firstUnits. */
export function shareUnits(
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

/**
 * Encodes the NAME records of all files, which are numbered by their first appearance in the image.
 * `bytes` is the length of all NAME records in the image: one for each VMA that maps a file.
 */
async function encodeNames(
  mms: readonly DescribedMm[],
  yielder: Yielder,
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
      if (yielder.isDue()) await yielder.yield();
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

/**
 * Encodes the records before the units of each mm (file head and state before the first one, MM,
 * auxiliary vector and notes) and those after them (LDT).
 */
function encodeLeads(
  units: WorkUnits,
  firstUnits: readonly number[],
  mms: readonly DescribedMm[],
  { head, state }: ImageLead,
  buffers: SharedBuffers,
): {
  readonly buffer: SharedArrayBuffer;
  readonly firstMm: number;
  readonly records: MmRecords[];
  readonly bytes: number;
} {
  const objects: EncodedObject[] = [];
  const records: MmRecords[] = [];
  const states = [...state].map(([name, bytes]) => encodeState(name, bytes));
  let at = 0;
  const add = (group: readonly EncodedObject[]): number => {
    const bytes = group.reduce((sum, object) => sum + lengthOf(object), 0);
    objects.push(...group);
    at += bytes;
    return bytes;
  };
  mms.forEach(({ mm, addresses, auxv, notes, ldt }, ordinal) => {
    const lead = [
      ...(ordinal === 0 ? [encodeHead(head), ...states] : []),
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
  for (const object of objects) {
    const { bytes, rest } = object;
    const end = to + lengthOf(object);
    into.set(bytes, to);
    if (rest !== undefined) {
      const padding = to + bytes.length + rest.length;
      into.set(rest, to + bytes.length);
      into.fill(0, padding, end);
    }
    to = end;
  }
  const firstMm = FILE_HEAD.SIZE + states.reduce((sum, object) => sum + lengthOf(object), 0);
  return { buffer, firstMm, records, bytes: at };
}

/** Bytes of an object in the image. */
function lengthOf({ bytes, rest }: EncodedObject): number {
  return bytes.length + (rest === undefined ? 0 : pad8(rest.length));
}
