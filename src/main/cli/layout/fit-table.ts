/**
 * Tables for a terminal. Every line fits its width: texts are shortened in the middle, and where that
 * is not enough, a row takes several lines. Addresses and numbers are never cut; only an output that
 * is narrower than one of them gets a longer line.
 */
import { printable } from '../../../shared/printable.ts';
import { padded, shortened, widthOf } from './text-width.ts';

/** A column of a table. */
export interface Column {
  readonly name: string;
  /** An 'address' and a 'number' are always whole. A 'text' may be shortened. */
  readonly kind: 'address' | 'number' | 'text';
}

/** The lines of a table. */
export interface FittedTable {
  /** Names of the columns; undefined if the rows have them, since a row takes several lines. */
  readonly head: string | undefined;
  /** The lines of each row. */
  readonly rows: readonly (readonly string[])[];
}

/** What the lines of a table have to fit into. */
export interface Fit {
  readonly width: number;
  /** Stands where a text was shortened: one column, or three in ASCII. */
  readonly mark: string;
}

type Row = readonly string[];

const GAP = '  ';
/** A text is not made shorter than this; the row then takes several lines. */
const TEXT_LEAST = 12;

/** Lays out the rows. Each has one value per column. */
export function fitTable(columns: readonly Column[], rows: readonly Row[], fit: Fit): FittedTable {
  const clean = rows.map((row) => row.map(printable));
  const widths = fittingWidths(columns, clean, fit.width);
  if (widths === undefined) {
    return { head: undefined, rows: clean.map((row) => stacked(columns, row, fit)) };
  }
  const line = (values: Row): string => {
    const cells = columns.map(({ kind }, index) => {
      const text = shortened(values[index]!, widths[index]!, fit.mark);
      return padded(text, widths[index]!, kind === 'number' ? 'right' : 'left');
    });
    return cells.join(GAP).trimEnd();
  };
  return { head: line(columns.map(({ name }) => name)), rows: clean.map((row) => [line(row)]) };
}

/** The width of each column; undefined if the columns do not fit beside each other. */
function fittingWidths(
  columns: readonly Column[],
  rows: readonly Row[],
  width: number,
): number[] | undefined {
  const widths = columns.map(({ name }) => widthOf(name));
  for (const row of rows) {
    row.forEach((value, index) => {
      widths[index] = Math.max(widths[index]!, widthOf(value));
    });
  }
  let excess = widths.reduce((sum, each) => sum + each, 0) + GAP.length * (widths.length - 1);
  excess -= width;
  // The widest text gives most, until it is as wide as the next one.
  while (excess > 0) {
    const index = widestText(columns, widths);
    const least = index === undefined ? 0 : Math.max(TEXT_LEAST, widthOf(columns[index]!.name));
    if (index === undefined || widths[index]! <= least) return undefined;
    widths[index]!--;
    excess--;
  }
  return widths;
}

function widestText(columns: readonly Column[], widths: readonly number[]): number | undefined {
  let widest: number | undefined;
  for (const [index, { kind }] of columns.entries()) {
    if (kind !== 'text') continue;
    if (widest === undefined || widths[index]! > widths[widest]!) widest = index;
  }
  return widest;
}

/** A row as lines of `name value` pairs, as many in a line as fit. The first line stands out. */
function stacked(columns: readonly Column[], row: Row, { width, mark }: Fit): string[] {
  const lines: string[] = [];
  columns.forEach((column, index) => {
    const value = row[index]!;
    if (value === '') return;
    const item = pair(column, value, width - GAP.length, mark);
    const last = lines.at(-1);
    const joined = last === undefined ? item : `${last}${GAP}${item}`;
    if (last !== undefined && widthOf(joined) <= width) lines[lines.length - 1] = joined;
    else if (last === undefined) lines.push(pair(column, value, width, mark));
    else lines.push(widthOf(item) <= width - GAP.length ? GAP + item : item);
  });
  return lines;
}

/** A value with the name of its column, or without it where there is no room. */
function pair({ name, kind }: Column, value: string, width: number, mark: string): string {
  if (kind === 'address') return value;
  const named = `${name} ${value}`;
  if (widthOf(named) <= width) return named;
  return kind === 'number' ? value : shortened(value, width, mark);
}
