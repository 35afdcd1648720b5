/**
 * Walks what a unit contributes to the image, in the order of the image: the records of its mappings,
 * and behind each the runs of its pages.
 */
import type { Mm } from '../../mmu/mm/mm.ts';
import { RUN } from '../../shared/dump/run-table.ts';
import type { WorkUnits } from '../../shared/dump/work-unit.ts';
import type { RunWriter } from '../classify/run-writer.ts';

const { OFFSET, COUNT, CLASS, SOURCE, WORDS } = RUN;

/** What is told of a unit. `vma`: ordinal of the mapping; pages as page numbers. */
export interface UnitVisitor {
  /** The record of a mapping stands here. */
  vma(vma: number): void;
  /** A run of pages of one class, in the mapping `vma`. `source`: its first frame in the list. */
  run(vma: number, start: number, count: number, word: number, source: number): void;
}

/** Tells `visitor` of a unit whose runs stand in `found` from record `firstRun` on. */
export function walkUnit(
  { vmas }: Mm,
  units: WorkUnits,
  unit: number,
  found: RunWriter,
  firstRun: number,
  visitor: UnitVisitor,
): void {
  const { runs, runEnd } = found;
  const unitStart = units.start(unit);
  const firstVma = units.firstVma(unit);
  const endVma = units.endVma(unit);
  let run = firstRun;
  for (let vma = Math.min(firstVma, vmas.find(unitStart)); vma < endVma; vma++) {
    if (vma >= firstVma) visitor.vma(vma);
    if (run === runEnd) continue;
    const end = vmas.end(vmas.slot(vma)) - unitStart;
    for (; run < runEnd; run++) {
      const at = run * WORDS;
      const offset = runs[at + OFFSET]!;
      if (offset >= end) break;
      visitor.run(
        vma,
        unitStart + offset,
        runs[at + COUNT]!,
        runs[at + CLASS]!,
        runs[at + SOURCE]!,
      );
    }
  }
}
