/** Which mms a dump is of, and what of each goes into its image. */
import { readBlob } from '../../mmu/address-space.ts';
import type { MmReference } from '../../mmu/enter.ts';
import type { Mm } from '../../mmu/mm.ts';
import { MM_FIELD } from '../../mmu/mm-struct.ts';
import type { WorkUnits } from '../../shared/dump/work-unit.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { AUXV_MAX_BYTES, MMS_MAX, NOTES_MAX_BYTES } from '../../shared/image/cpt-records.ts';
import type { LayoutMm } from '../formats/layout.ts';
import type { Turns } from '../stop.ts';
import type { Plan } from './plan.ts';
import { type SkippedPages, tallyMm, type UnitRange } from './tally.ts';

/** OPTION_INVALID unless these can be one dump: some mms of one machine, each of them once. */
export function assertDumpable(references: readonly MmReference[]): void {
  const [first] = references;
  if (first === undefined || references.length > MMS_MAX) {
    throw invalid(`${references.length} address spaces: expected 1 to ${MMS_MAX}`);
  }
  const seen = new Map<string, number>();
  references.forEach(({ machine, slot, generation }, ordinal) => {
    if (!machine.isSameMachine(first.machine)) {
      throw invalid(`mm ${ordinal} belongs to another machine than mm 0`, ordinal);
    }
    const life = `${slot} ${generation}`;
    const before = seen.get(life);
    if (before !== undefined) {
      throw invalid(`mm ${ordinal} is the same address space as mm ${before}`, ordinal);
    }
    seen.set(life, ordinal);
  });
}

function invalid(message: string, mm?: number): MmdumpError {
  return new MmdumpError('OPTION_INVALID', message, mm === undefined ? {} : { mm });
}

/** Everything of the mms but their pages, and the pages counted. Fills `unsupported`. */
export async function describeMms(
  mms: readonly Mm[],
  ldts: readonly Uint8Array[],
  plan: Plan,
  units: WorkUnits,
  runs: Int32Array,
  unsupported: SkippedPages[],
  turns: Turns,
): Promise<LayoutMm[]> {
  let first = 0;
  const described: LayoutMm[] = [];
  for (const [ordinal, mm] of mms.entries()) {
    const range = unitsOf(plan, ordinal, first);
    first = range.last;
    const auxv = readBlob(mm, MM_FIELD.AUXV_BYTES, MM_FIELD.AUXV_AT);
    const notes = readBlob(mm, MM_FIELD.NOTES_BYTES, MM_FIELD.NOTES_AT);
    assertLength('auxiliary vector', auxv.length, AUXV_MAX_BYTES);
    assertLength('notes', notes.length, NOTES_MAX_BYTES);
    const { leftOut } = plan;
    described.push({
      mm,
      addresses: mm.struct.addresses(),
      ldt: ldts[ordinal]!,
      auxv,
      notes,
      tally: await tallyMm(mm, ordinal, units, range, runs, leftOut, unsupported, turns),
      units: range,
    });
  }
  return described;
}

/** The units of one mm lie together, in the order of mms. */
function unitsOf({ units }: Plan, mm: number, first: number): UnitRange {
  let last = first;
  while (units[last]?.mm === mm) last++;
  return { first, last };
}

/** A reader does not believe in longer ones. */
function assertLength(name: string, bytes: number, most: number): void {
  if (bytes > most) throw invalid(`${name} of ${bytes} bytes: an image takes at most ${most}`);
}
