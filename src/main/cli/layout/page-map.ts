/**
 * The pages of a mapping as one line. A character stands for a page, or for as many neighbouring
 * pages as make the whole mapping fit.
 */
import { type Screen, type Style, styled } from './screen.ts';

/** What an image has of a page. */
export const MAP_KINDS = ['copy', 'clone', 'parent', 'zero', 'guard', 'absent'] as const;
export type MapKind = (typeof MAP_KINDS)[number];

/** Neighbouring pages of one kind. */
export interface PageSpan {
  readonly kind: MapKind;
  readonly pages: number;
}

interface Mark {
  readonly unicode: string;
  readonly ascii: string;
  readonly style: Style;
  readonly meaning: string;
}

const MARKS: { readonly [kind in MapKind]: Mark } = {
  copy: { unicode: '█', ascii: '#', style: 'green', meaning: 'stored' },
  clone: { unicode: '▓', ascii: 'c', style: 'cyan', meaning: 'clone' },
  parent: { unicode: '▒', ascii: 'p', style: 'blue', meaning: 'in the parent' },
  zero: { unicode: '░', ascii: '0', style: 'yellow', meaning: 'zero' },
  guard: { unicode: 'x', ascii: 'x', style: 'red', meaning: 'guard' },
  absent: { unicode: '·', ascii: '.', style: 'gray', meaning: 'absent' },
};
/** Fewer than half of the pages are there; the colour tells the kind of most of them. */
const SPARSE = { unicode: '▂', ascii: ':', meaning: 'less than half' } as const;

const KINDS = MAP_KINDS.length;
const ABSENT = MAP_KINDS.indexOf('absent');

/** A character of a map: the kind of most pages that are there, and whether those are few. */
export interface MapCell {
  readonly kind: MapKind;
  readonly isSparse: boolean;
}

/**
 * Divides `pages` pages into at most `most` cells of equal length, by a page. The spans follow each
 * other from the first page on; pages behind the last span are absent.
 */
export function mapCells(spans: Iterable<PageSpan>, pages: number, most: number): MapCell[] {
  const count = Math.min(pages, most);
  const startOf = (cell: number): number => Math.floor((cell * pages) / count);
  const counts = new Float64Array(count * KINDS);
  let at = 0;
  let cell = 0;
  for (const { kind, pages: length } of spans) {
    const end = Math.min(at + length, pages);
    while (at < end) {
      while (startOf(cell + 1) <= at) cell++;
      const until = Math.min(end, startOf(cell + 1));
      counts[cell * KINDS + MAP_KINDS.indexOf(kind)]! += until - at;
      at = until;
    }
  }
  return Array.from({ length: count }, (_, index) => {
    const from = index * KINDS;
    return cellOf(counts.subarray(from, from + KINDS), startOf(index + 1) - startOf(index));
  });
}

/** A page that is there shows, however many are absent beside it. */
function cellOf(counts: Float64Array, pages: number): MapCell {
  let most = ABSENT;
  let there = 0;
  for (let kind = 0; kind < ABSENT; kind++) {
    there += counts[kind]!;
    if (counts[kind]! > (most === ABSENT ? 0 : counts[most]!)) most = kind;
  }
  return { kind: MAP_KINDS[most]!, isSparse: there > 0 && there * 2 < pages };
}

/** The line of a map. Neighbouring cells of one kind have one style. */
export function mapLine(cells: readonly MapCell[], screen: Screen): string {
  let line = '';
  for (let from = 0; from < cells.length; ) {
    const { kind } = cells[from]!;
    let text = '';
    while (from < cells.length && cells[from]!.kind === kind) {
      text += characterOf(cells[from]!, screen);
      from++;
    }
    line += styled(screen, MARKS[kind].style, text);
  }
  return line;
}

function characterOf({ kind, isSparse }: MapCell, { isUnicode }: Screen): string {
  const mark = isSparse ? SPARSE : MARKS[kind];
  return isUnicode ? mark.unicode : mark.ascii;
}

/** Says what the characters mean, in lines that fit the screen. */
export function mapLegend(screen: Screen): string[] {
  const { isUnicode, width } = screen;
  const marks = [...MAP_KINDS.map((kind) => MARKS[kind]), SPARSE];
  const lines: { text: string; width: number }[] = [];
  for (const mark of marks) {
    const character = isUnicode ? mark.unicode : mark.ascii;
    const item = `${'style' in mark ? styled(screen, mark.style, character) : character} ${mark.meaning}`;
    const length = 2 + mark.meaning.length;
    const last = lines.at(-1);
    if (last !== undefined && last.width + 2 + length <= width) {
      last.text += `  ${item}`;
      last.width += 2 + length;
    } else lines.push({ text: item, width: length });
  }
  return lines.map(({ text }) => text);
}
