/**
 * Late records, which a pass cannot finish because they stand before what they count: the file head
 * (total_len), VMAs that span units (page_num), and VMAs that share pages through clones
 * (anonvmaid). Each of them is encoded again as a whole, and overwrites the record in the image.
 */
import { writeSync } from 'node:fs';
import { vmaRecordOf } from '../../mmu/vma/vma-record.ts';
import { assert } from '../../shared/assert.ts';
import type { CopyTarget } from '../../shared/dump/tasks/copy-target.ts';
import { VmaTallies } from '../../shared/dump/vma-tally.ts';
import { WorkUnits } from '../../shared/dump/work-unit.ts';
import { encodeVma } from '../../shared/formats/cpt/encode.ts';
import { VMA_IMAGE } from '../../shared/formats/cpt/records.ts';
import type { Yielder } from '../job/stop.ts';
import { outputFailed } from '../sinks/output-error.ts';
import type { DescribedMm, PassTables } from './pass-tables.ts';
import type { RecordCrcs } from './record-crcs.ts';

/** Overwrites bytes of an image from byte `offset` on. Throws OUTPUT_FAILED. */
export type Rewrite = (offset: number, bytes: Uint8Array) => void;

/** How to overwrite bytes of a target. Only memory and a file have late records. */
export function rewriteIn(target: CopyTarget): Rewrite {
  switch (target.kind) {
    case 'memory': {
      const { chunks, chunkBytes } = target;
      return (offset, bytes) => {
        for (let done = 0; done < bytes.length; ) {
          const at = (offset + done) % chunkBytes;
          const count = Math.min(bytes.length - done, chunkBytes - at);
          const chunk = chunks[Math.floor((offset + done) / chunkBytes)]!;
          new Uint8Array(chunk.buffer, chunk.at + at, count).set(
            bytes.subarray(done, done + count),
          );
          done += count;
        }
      };
    }
    case 'file': {
      const { fd, path } = target;
      return (offset, bytes) => {
        try {
          for (let done = 0; done < bytes.length; ) {
            done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
          }
        } catch (error) {
          throw outputFailed(path, `cannot be written at byte ${offset}`, error);
        }
      };
    }
    default:
      return () => assert(false, 'a sink that cannot seek gets a counting pass');
  }
}

/** Numbers of the VMAs whose records are not final. `anonIds` has the id of each VMA. */
function lateVmas(tables: PassTables, mms: readonly DescribedMm[], anonIds: Int32Array): number[] {
  const units = new WorkUnits(tables.units);
  const late: number[] = [];
  mms.forEach(({ mm: { vmas } }, mm) => {
    const base = tables.vmaBases[mm]!;
    const last = tables.firstUnits[mm + 1]! - 1;
    for (let unit = tables.firstUnits[mm]!; unit <= last; unit++) {
      const vma = units.endVma(unit) - 1;
      if (vma < units.firstVma(unit) || anonIds[base + vma] !== 0) continue;
      if (unit < last && vmas.end(vmas.slot(vma)) > units.start(unit + 1)) late.push(base + vma);
    }
  });
  for (const [vma, id] of anonIds.entries()) if (id !== 0) late.push(vma);
  return late;
}

/**
 * Rewrites the records of VMAs, and their crcs. Throws OUTPUT_FAILED, and AbortError through
 * `yielder`.
 */
export async function finishVmas(
  tables: PassTables,
  mms: readonly DescribedMm[],
  anonIds: Int32Array,
  crcs: RecordCrcs,
  rewrite: Rewrite,
  yielder: Yielder,
): Promise<void> {
  const tallies = new VmaTallies(tables.tallies);
  const units = new WorkUnits(tables.units);
  const words = new Int32Array(VMA_IMAGE.SIZE >> 2);
  const bytes = new Uint8Array(words.buffer);
  for (const number of lateVmas(tables, mms, anonIds)) {
    if (yielder.isDue()) await yielder.yield();
    const mm = ordinalOf(tables.vmaBases, number);
    const { vmas } = mms[mm]!.mm;
    const vma = number - tables.vmaBases[mm]!;
    const stored = tallies.stored(number);
    const crc = encodeVma(
      words,
      0,
      vmaRecordOf(mms[mm]!.mm, vmas.slot(vma), anonIds[number]!, stored),
    );
    rewrite(tallies.recordAt(number), bytes);
    crcs.replace(unitOf(units, tables, mm, vma), tallies.record(number), crc);
  }
}

/** Ordinal of the mm to which VMA number `value` belongs. `bases` are PassTables.vmaBases. */
function ordinalOf(bases: readonly number[], value: number): number {
  let low = 0;
  let high = bases.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (bases[middle]! <= value) low = middle;
    else high = middle;
  }
  return low;
}

/** The unit that holds the record of VMA `vma` of mm `mm`. */
function unitOf(units: WorkUnits, { firstUnits }: PassTables, mm: number, vma: number): number {
  let low = firstUnits[mm]!;
  let high = firstUnits[mm + 1]! - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (units.endVma(middle) > vma) high = middle;
    else low = middle + 1;
  }
  return low;
}
