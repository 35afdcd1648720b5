/**
 * Walks what a unit contributes to the image, in the order of the image: the records of its VMAs,
 * and after each record the runs of the VMA's pages.
 */
import type { Mm } from '../../mmu/mm/mm.ts';
import { RUN } from '../../shared/dump/run-table.ts';
import type { WorkUnits } from '../../shared/dump/work-unit.ts';
import type { RunWriter } from '../classify/run-writer.ts';

const { OFFSET, COUNT, CLASS, SOURCE, WORDS } = RUN;

/** Gets the parts of a unit. `vma` is the ordinal of a VMA in its mm. */
export interface UnitVisitor {
  /** The record of a VMA comes here. */
  vma(vma: number): void;
  /**
   * A run comes here: `count` pages from page `start` on, all with class word `word`. `source` is
   * the index of its first frame in the list.
   */
  run(vma: number, start: number, count: number, word: number, source: number): void;
}

/** Walks a unit of this mm, whose runs are in `found` from record `firstRun` on. */
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
