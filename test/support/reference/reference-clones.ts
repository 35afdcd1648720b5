/**
 * Row 18 of docs/CLASSIFICATION.md, for the reference dumper: once all other rows are decided, each
 * page is looked up in the mms before.
 */
import type { Machine } from 'mmdump';
import { PG } from '../../../src/mmu/physical/page-struct.ts';
import type { ClassifiedVma, PageFate } from './reference-classifier.ts';
import { isInMemory, isPrivate, pageStruct, referencesTo } from './reference-memory.ts';

/** Row 18: finds the pages that an earlier mm stores itself, in its own private mapping. */
export function findClones(
  machine: Machine,
  { vma, pages, rows }: ClassifiedVma,
  earlier: readonly (readonly ClassifiedVma[])[],
): ClassifiedVma {
  const found = new Set(rows);
  const sorted = pages.map(({ vpn, fate }): PageFate => {
    if (fate.row !== 19 || fate.is !== 'COPY' || fate.ofCache || !isPrivate(vma)) {
      return { vpn, fate };
    }
    const { frame } = fate;
    const isMerged =
      isInMemory(machine, frame) && (pageStruct(machine, frame).flags & PG.KSM) !== 0;
    if (isMerged || referencesTo(machine, frame) < 2) return { vpn, fate };
    const donor = earlier.findIndex((vmas) => storesItself(vmas, vpn, frame));
    if (donor < 0) return { vpn, fate };
    found.add(18);
    return { vpn, fate: { row: 18, is: 'CLONE', donor } };
  });
  return { vma, pages: sorted, rows: found };
}

function storesItself(vmas: readonly ClassifiedVma[], vpn: number, frame: number): boolean {
  const around = vmas.find(({ vma }) => vma.start <= vpn && vpn < vma.end);
  if (around === undefined || !isPrivate(around.vma)) return false;
  const fate = around.pages[firstFrom(around.pages, vpn)];
  return (
    fate?.vpn === vpn &&
    fate.fate.row === 19 &&
    fate.fate.is === 'COPY' &&
    !fate.fate.ofCache &&
    fate.fate.frame === frame
  );
}

/**
 * Returns the index of the first page not below `vpn`, by binary search: some mappings are long.
 */
function firstFrom(pages: readonly PageFate[], vpn: number): number {
  let low = 0;
  let high = pages.length;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (pages[middle]!.vpn < vpn) low = middle + 1;
    else high = middle;
  }
  return low;
}
