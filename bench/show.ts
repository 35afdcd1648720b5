/** Prints lines and fits as tables. */
import type { Growth } from './growth.ts';
import type { Line } from './line.ts';
import { printTable } from './results.ts';
import type { Spread } from './statistics.ts';

/** About three digits. */
function digits(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 4);
}

function range({ min, max }: Spread, format: (value: number) => string): string {
  return `${format(min)}–${format(max)}`;
}

function parameters(line: Line): string {
  return Object.entries(line.parameters)
    .map(([name, value]) => `${name}: ${value}`)
    .join(', ');
}

function rowOf(line: Line): string[] {
  const { value, ratio, target, met, bytesPerSecond } = line;
  const two = (each: number): string => each.toFixed(2);
  return [
    line.name,
    parameters(line),
    value === null ? '' : `${digits(value.median)} ${line.unit}`,
    value === null ? '' : range(value, digits),
    bytesPerSecond === null ? '' : (bytesPerSecond / 1e9).toFixed(2),
    ratio === null ? '' : `${two(ratio.median)} (${range(ratio, two)})`,
    target?.text ?? '',
    met === null ? '' : met ? 'yes' : 'NO',
    line.note,
  ];
}

const HEAD = ['line', 'at', 'median', 'min–max', 'GB/s', 'ratio to the limit', 'target', 'met', ''];

export function showLines(lines: readonly Line[]): void {
  printTable(HEAD, lines.map(rowOf));
}

/** Prints what one more of a quantity costs, and the constant that remains without any. */
export function showGrowth(growth: readonly Growth[]): void {
  printTable(
    ['cost', 'against', 'at', 'constant ms', 'ns for one more', 'residual', 'points (ms)'],
    growth.map(({ cost, against, at, fit, points }) => [
      cost,
      against,
      at,
      digits(fit.constant),
      digits(fit.slope * 1e6),
      `${(fit.residual * 100).toFixed(0)} %`,
      points.map(([x, ms]) => `${x}: ${digits(ms)}`).join('  '),
    ]),
  );
}

/** Prints the lines that have a target, once more at the end. */
export function showTargets(lines: readonly Line[]): void {
  const aimed = lines.filter(({ target }) => target !== null);
  if (aimed.length === 0) return;
  const met = aimed.filter((line) => line.met === true).length;
  const skipped = aimed.filter((line) => line.met === null).length;
  process.stdout.write(`\nTargets: ${met} of ${aimed.length} met, ${skipped} not measured\n`);
  showLines(aimed);
}
