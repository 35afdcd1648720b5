/** What every benchmark prints and writes: the machine, a table, one object of JSON. */
import { writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import Table from 'cli-table3';

export interface BenchMachine {
  readonly command: string;
  readonly cpu: string;
  readonly cores: number;
  readonly node: string;
  readonly kernel: string;
}

/** The machine that this runs on, and `command` with the options that were given. */
export function describeMachine(command: string): BenchMachine {
  const options = process.argv.slice(2);
  return {
    command: options.length === 0 ? command : `${command} -- ${options.join(' ')}`,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    node: process.version,
    kernel: release(),
  };
}

export function printHeader(machine: BenchMachine, what: string): void {
  const { command, cores, cpu, node, kernel } = machine;
  process.stdout.write(`${command}: ${what} on ${cores} × ${cpu}, Node ${node}, Linux ${kernel}\n`);
}

export function printTable(head: string[], rows: readonly (string | number)[][]): void {
  const table = new Table({
    head,
    style: { head: [], border: [] },
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
  });
  table.push(...rows);
  process.stdout.write(`${table.toString()}\n`);
}

export function writeJson(path: string | undefined, results: object): void {
  if (path !== undefined) writeFileSync(path, `${JSON.stringify(results, null, 2)}\n`);
}

export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}
