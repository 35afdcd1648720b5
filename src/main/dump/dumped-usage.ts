/** What the mms of a dump have of their own, and what they share, from the runs. */
import { FILE_KIND } from '../../mmu/files/file-record.ts';
import type { Mm } from '../../mmu/mm.ts';
import { PAGE_CLASS } from '../../shared/dump/page-class.ts';
import { donorOf, FILE_PAGES_BIT } from '../../shared/dump/run-table.ts';
import type { WorkUnits } from '../../shared/dump/work-unit.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { LayoutMm } from '../formats/layout.ts';
import { BLOCK, BlockIndex, type BlockKind } from '../image/block-index.ts';
import { type FamilyUsage, familyUsage, type LostMapping } from '../memory-usage.ts';
import { RunCursor } from './run-cursor.ts';

const KINDS: ReadonlyMap<number, BlockKind> = new Map([
  [PAGE_CLASS.COPY, BLOCK.DATA],
  [PAGE_CLASS.ZERO, BLOCK.ZERO],
  [PAGE_CLASS.CLONE, BLOCK.CLONE],
  [PAGE_CLASS.GUARD, BLOCK.GUARD],
]);

/**
 * Notes what the mms map while they stand still. The function that it returns adds up, once they go
 * on; the runs must still be there then.
 */
export function noteUsage(
  mms: readonly LayoutMm[],
  units: WorkUnits,
  runs: Int32Array,
): () => FamilyUsage {
  const [first] = mms;
  if (mms.length === 1 && first !== undefined) return () => aloneUsage(first);
  const noted = mms.map(({ mm, units: range }) => ({ range, mappings: lostMappings(mm) }));
  return () =>
    familyUsage(
      noted.map(({ range, mappings }) => {
        const blocks = blocksOf(new RunCursor(units, runs, range.first, range.last));
        return { blocks, mappings, donorOf: (source) => source };
      }),
    );
}

/** Whatever is stored is the one mm's own. */
function aloneUsage({ tally }: LayoutMm): FamilyUsage {
  const bytes = tally.copy.reduce((sum, pages) => sum + pages, 0) * PAGE_SIZE;
  return { mms: [{ rss: bytes, pss: bytes, unique: bytes }], savedBytes: 0 };
}

function blocksOf(cursor: RunCursor): BlockIndex {
  const blocks = new BlockIndex();
  for (; cursor.start < Number.POSITIVE_INFINITY; cursor.next()) {
    const { start, count: pages, pageClass, word } = cursor;
    const kind = KINDS.get(pageClass);
    if (kind === undefined) continue;
    const isClone = kind === BLOCK.CLONE;
    blocks.add({
      start,
      pages,
      kind,
      source: isClone ? donorOf(word) : 0,
      crc: 0,
      hasCrc: false,
      isFilePages: !isClone && (word & FILE_PAGES_BIT) !== 0,
    });
  }
  return blocks;
}

function lostMappings({ vmas, files }: Mm): LostMapping[] {
  const mappings: LostMapping[] = [];
  for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
    const { start, end, pgoff, flags, file } = vmas.fields(vmas.slot(ordinal));
    if (file === 0 || (files.kind(file) & (FILE_KIND.MEMORY | FILE_KIND.DELETED)) === 0) continue;
    if ((flags & (VM.IO | VM.PFNMAP)) !== 0) continue; // shows a device
    mappings.push({ start, end, pgoff, file, isShared: (flags & VM.MAYSHARE) !== 0 });
  }
  return mappings;
}
