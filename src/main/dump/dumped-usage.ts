/** Computes, from the runs, what the mms of a dump have of their own and what they share. */
import { isUnreachableKind } from '../../mmu/files/file-record.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { NO_DIGEST } from '../../shared/digest/digest-kind.ts';
import { PAGE_CLASS } from '../../shared/dump/page-class.ts';
import { classOf, donorOf, FILE_PAGES_BIT } from '../../shared/dump/run-table.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { BLOCK, BlockIndex, type BlockKind } from '../image/index/block-index.ts';
import { type FamilyUsage, familyUsage, type UnreachableMapping } from '../image/memory-usage.ts';
import type { PassResult } from './pass.ts';

const { COPY, PARENT } = PAGE_CLASS;

const KINDS: ReadonlyMap<number, BlockKind> = new Map([
  [PAGE_CLASS.COPY, BLOCK.DATA],
  [PAGE_CLASS.PARENT, BLOCK.PARENT],
  [PAGE_CLASS.ZERO, BLOCK.ZERO],
  [PAGE_CLASS.CLONE, BLOCK.CLONE],
  [PAGE_CLASS.GUARD, BLOCK.GUARD],
]);

/**
 * Notes the unreachable files that the mms map, while the mms are held. The returned function adds
 * up the usage later, from the runs that the pass has reported.
 */
export function noteUsage(mms: readonly Mm[]): (pass: PassResult) => FamilyUsage {
  if (mms.length === 1) return aloneUsage;
  const mappings = mms.map(unreachableMappings);
  return ({ runs, tables: { firstUnits } }) => {
    const byUnit: Float64Array[] = [];
    for (const { unit, runs: ofUnit } of runs) byUnit[unit] = ofUnit;
    return familyUsage(
      mappings.map((ofMm, mm) => ({
        blocks: blocksOf(byUnit.slice(firstUnits[mm]!, firstUnits[mm + 1]!)),
        mappings: ofMm,
        donorOf: (source) => source,
      })),
    );
  };
}

/** The usage of an mm that is dumped alone: everything that is stored is its own. */
function aloneUsage({ tallies, tables }: PassResult): FamilyUsage {
  let pages = 0;
  for (let vma = 0; vma < tables.vmaBases.at(-1)!; vma++) {
    pages += tallies.pages(vma, COPY) + tallies.pages(vma, PARENT);
  }
  const bytes = pages * PAGE_SIZE;
  return { mms: [{ rss: bytes, pss: bytes, unique: bytes }], savedBytes: 0 };
}

/** The blocks of an mm, from the runs of its units: first page, pages and class word of each. */
function blocksOf(units: readonly Float64Array[]): BlockIndex {
  const blocks = new BlockIndex();
  for (const runs of units) {
    for (let run = 0; run < runs.length; run += 3) {
      const word = runs[run + 2]!;
      const kind = KINDS.get(classOf(word));
      if (kind === undefined) continue;
      const isClone = kind === BLOCK.CLONE;
      blocks.add({
        start: runs[run]!,
        pages: runs[run + 1]!,
        kind,
        packed: 0,
        source: isClone ? donorOf(word) : 0,
        ...NO_DIGEST,
        isFilePages: !isClone && (word & FILE_PAGES_BIT) !== 0,
      });
    }
  }
  return blocks;
}

/** The VMAs of an mm that map unreachable files. */
function unreachableMappings({ vmas, files }: Mm): UnreachableMapping[] {
  const mappings: UnreachableMapping[] = [];
  for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
    const { start, end, pgoff, flags, file } = vmas.fields(vmas.slot(ordinal));
    if (file === 0 || !isUnreachableKind(files.kind(file))) continue;
    if ((flags & (VM.IO | VM.PFNMAP)) !== 0) continue; // it shows a device
    mappings.push({ start, end, pgoff, file, flags });
  }
  return mappings;
}
