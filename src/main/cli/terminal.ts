/** Prints what a command has to say: results on stdout, progress and errors on stderr. */
import { createRequire } from 'node:module';
import type CliProgress from 'cli-progress';
import type Table from 'cli-table3';
import { formatBytes, formatMs } from '../../shared/human-units.ts';
import { type Column, type Fit, fitTable } from './layout/fit-table.ts';
import { type Screen, screenOf, styled } from './layout/screen.ts';

/** The libraries for tables and progress bars are loaded only when one is needed. */
const require = createRequire(import.meta.url);

export interface OutputOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Prints a result on stderr, for commands that use stdout for something else. */
export function printAside(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Prints one object on stdout, and nothing else. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** A table: in a terminal one that fits its width, else one that is always the same. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  screen: Screen = screenOf(process.stdout),
): string {
  if (!screen.isTerminal) return plainTable(columns, rows);
  const { head, rows: lines } = fitTable(columns, rows, fitOf(screen));
  const top = head === undefined ? [] : [styled(screen, 'bold', head)];
  return [...top, ...lines.flat()].join('\n');
}

/** What the lines of a table in this terminal have to fit into. */
export function fitOf({ width, isUnicode }: Screen): Fit {
  return { width, mark: isUnicode ? '…' : '...' };
}

/** A table without colours, for scripts and screen readers. */
export function plainTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string {
  const noLines = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' };
  const Plain = require('cli-table3') as typeof Table;
  const head = columns.map(({ name }) => name);
  const plain = new Plain({ head, style: { head: [], border: [] }, chars: noLines });
  for (const row of rows) plain.push([...row]);
  return plain.toString();
}

/**
 * A progress bar with the remaining time. It is shown on a terminal only, without --quiet and
 * --json.
 */
export class Progress {
  #bar: CliProgress.SingleBar | undefined;
  #label = '';
  #startedAt = 0;
  readonly #isShown: boolean;

  constructor({ json, quiet }: OutputOptions) {
    this.#isShown = process.stderr.isTTY && json !== true && quiet !== true;
  }

  /**
   * Shows `done` of `total` bytes of a step. `etaMs` is the remaining time, if the step knows it.
   */
  show(label: string, done: number, total: number, etaMs: number | null = null): void {
    if (!this.#isShown || total === 0) return;
    if (this.#label !== label) {
      this.stop();
      this.#label = label;
      this.#bar = newBar();
      this.#bar.start(total, 0, { label, done: '', all: formatBytes(total), left: '?' });
      this.#startedAt = performance.now();
    }
    const left = etaMs ?? this.#guess(done, total);
    this.#bar?.update(Math.min(done, total), {
      label,
      done: formatBytes(done),
      left: left === null ? '?' : formatMs(left),
    });
  }

  /** Estimates the remaining time of a step that does not give it. */
  #guess(done: number, total: number): number | null {
    if (done === 0) return null;
    return ((performance.now() - this.#startedAt) * Math.max(0, total - done)) / done;
  }

  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
    this.#label = '';
  }
}

function newBar(): CliProgress.SingleBar {
  const { SingleBar, Presets } = require('cli-progress') as typeof CliProgress;
  const format = '{label} {bar} {percentage}% | {done} of {all} | {left} left';
  const options = { format, stream: process.stderr, clearOnComplete: true, hideCursor: null };
  return new SingleBar({ ...options, fps: 10 }, Presets.shades_classic);
}
