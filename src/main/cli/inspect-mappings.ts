/** The mappings of an mm as `mmdump inspect` prints them: a table, and a map of the pages of each. */
import { vpnOf } from '../../shared/page.ts';
import { protLetters } from '../../shared/vm-flags.ts';
import { BLOCK, type BlockKind } from '../image/index/block-index.ts';
import type { ImageMm, ImageVma } from '../image/index/image-mm.ts';
import { type Column, fitTable } from './layout/fit-table.ts';
import { type MapKind, mapCells, mapLine, type PageSpan } from './layout/page-map.ts';
import { type Screen, styled } from './layout/screen.ts';
import { fitOf, plainTable } from './terminal.ts';

const KIND_OF: { readonly [kind in BlockKind]: MapKind } = {
  [BLOCK.DATA]: 'copy',
  [BLOCK.ZERO]: 'zero',
  [BLOCK.CLONE]: 'clone',
  [BLOCK.GUARD]: 'guard',
  [BLOCK.PARENT]: 'parent',
};

/** Most characters of a map: a longer one says little more, and is hard to take in. */
const CELLS_MOST = 96;
const INDENT = '  ';

/** The table, and with `hasMaps` a line behind each row. The lines fit the screen. */
export function mappingLines(
  mm: ImageMm,
  hasParent: boolean,
  screen: Screen,
  hasMaps: boolean,
): string[] {
  const columns = columnsOf(hasParent);
  const rows = mm.vmas.map((vma) => rowOf(vma, hasParent));
  if (!screen.isTerminal && !hasMaps) return [plainTable(columns, rows)];
  const { head, rows: lines } = fitTable(columns, rows, fitOf(screen));
  const top = head === undefined ? [] : [styled(screen, 'bold', head)];
  const cells = Math.max(1, Math.min(screen.width - INDENT.length, CELLS_MOST));
  const mapped = mm.vmas.map((vma, ordinal) => {
    if (!hasMaps) return lines[ordinal]!;
    const pages = vpnOf(vma.end) - vpnOf(vma.start);
    return [...lines[ordinal]!, INDENT + mapLine(mapCells(spansOf(mm, vma), pages, cells), screen)];
  });
  return [...top, ...mapped.flat()];
}

function columnsOf(hasParent: boolean): Column[] {
  const counts = ['copy', 'zero', 'clone', ...(hasParent ? ['parent'] : [])];
  return [
    { name: 'addresses', kind: 'address' },
    { name: 'prot', kind: 'number' },
    ...counts.map((name): Column => ({ name, kind: 'number' })),
    { name: 'file', kind: 'text' },
  ];
}

function rowOf(vma: ImageVma, hasParent: boolean): string[] {
  const { copy, zero, clone, parent } = vma.pages;
  return [
    `${vma.start.toString(16)}-${vma.end.toString(16)}`,
    protLetters(vma.flags),
    ...[copy, zero, clone, ...(hasParent ? [parent] : [])].map(String),
    vma.isVdso ? '[vdso]' : (vma.file?.path ?? ''),
  ];
}

/** What the image has of the pages of a mapping, from its first page on. */
function* spansOf({ blocks }: ImageMm, vma: ImageVma): Generator<PageSpan> {
  let at: number = vpnOf(vma.start);
  for (let index = vma.firstBlock; index < vma.lastBlock; index++) {
    const { start, pages, kind } = blocks.at(index);
    if (start > at) yield { kind: 'absent', pages: start - at };
    yield { kind: KIND_OF[kind], pages };
    at = start + pages;
  }
}
