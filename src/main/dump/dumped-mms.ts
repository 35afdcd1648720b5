/** Checks the mms of a dump, and collects everything of them that is stored besides their pages. */

import type { MmReference } from '../../mmu/machine/enter.ts';
import { readBlob } from '../../mmu/mm/blobs.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { MM_FIELD } from '../../mmu/mm/mm-struct.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { AUXV_MAX_BYTES, MMS_MAX, NOTES_MAX_BYTES } from '../../shared/formats/cpt/records.ts';
import type { DescribedMm } from './pass-tables.ts';

/** Throws OPTION_INVALID unless these are 1 to MMS_MAX mms of one machine, each of them once. */
export function assertDumpable(references: readonly MmReference[]): void {
  const [first] = references;
  if (first === undefined || references.length > MMS_MAX) {
    throw invalid(`${references.length} address spaces: expected 1 to ${MMS_MAX}`);
  }
  first.machine.memory.assertReachesAll();
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

/**
 * Everything of the mms except their pages. Throws OPTION_INVALID for an auxiliary vector or notes
 * that are too long for an image. Precondition: the mms are held.
 */
export function describeMms(mms: readonly Mm[], ldts: readonly Uint8Array[]): DescribedMm[] {
  return mms.map((mm, ordinal) => {
    const auxv = readBlob(mm, MM_FIELD.AUXV_BYTES, MM_FIELD.AUXV_AT);
    const notes = readBlob(mm, MM_FIELD.NOTES_BYTES, MM_FIELD.NOTES_AT);
    assertLength('auxiliary vector', auxv.length, AUXV_MAX_BYTES);
    assertLength('notes', notes.length, NOTES_MAX_BYTES);
    return { mm, addresses: mm.struct.addresses(), ldt: ldts[ordinal]!, auxv, notes };
  });
}

/** Throws OPTION_INVALID for more bytes than readers accept. */
function assertLength(name: string, bytes: number, most: number): void {
  if (bytes > most) throw invalid(`${name} of ${bytes} bytes: an image holds at most ${most}`);
}
