/** What a command prints: results on stdout, progress and errors on stderr. */
import { createRequire } from 'node:module';
import type CliProgress from 'cli-progress';
import type Table from 'cli-table3';
import { formatBytes, formatMs } from '../../shared/human-units.ts';

/** A table or a progress bar is not always wanted: their libraries are loaded when one is. */
const require = createRequire(import.meta.url);

export interface OutputOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** A result where stdout holds something else. */
export function printAside(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** One object on stdout and nothing else. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** A table without colours: what scripts and screen readers can take. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const noLines = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' };
  const Plain = require('cli-table3') as typeof Table;
  const plain = new Plain({ head: [...head], style: { head: [], border: [] }, chars: noLines });
  for (const row of rows) plain.push([...row]);
  return plain.toString();
}

/** A progress bar with the remaining time: only on a terminal, and only if anybody wants it. */
export class Progress {
  #bar: CliProgress.SingleBar | undefined;
  #label = '';
  #startedAt = 0;
  readonly #isShown: boolean;

  constructor({ json, quiet }: OutputOptions) {
    this.#isShown = process.stderr.isTTY && json !== true && quiet !== true;
  }

  /** Shows `done` of `total` bytes of the step called `label`; `etaMs`: what is left, if known. */
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

  /** Of steps that do not say it themselves. */
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
