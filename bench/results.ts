/** What every benchmark prints and writes: the machine, a table, and one JSON object. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import Table from 'cli-table3';

export interface BenchMachine {
  readonly command: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly node: string;
  readonly v8: string;
  readonly kernel: string;
  /** Mode of transparent huge pages; with `always` a first touch is far quicker. Null: no mode. */
  readonly hugePages: string | null;
  /** The commit of this repository; null outside of a repository. */
  readonly commit: string | null;
  /** Whether files differ from that commit. */
  readonly isDirty: boolean;
  readonly startedAt: string;
}

/** The machine that this runs on, and `command` with the options that were given. */
export function describeMachine(command: string): BenchMachine {
  const options = process.argv.slice(2);
  return {
    command: options.length === 0 ? command : `${command} -- ${options.join(' ')}`,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    node: process.version,
    v8: process.versions.v8,
    kernel: release(),
    hugePages: hugePages(),
    commit: git('rev-parse', 'HEAD'),
    isDirty: git('status', '--porcelain', '--untracked-files=no') !== '',
    startedAt: new Date().toISOString(),
  };
}

/** The mode in brackets, of a text like `always [madvise] never`. */
function hugePages(): string | null {
  try {
    const modes = readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'latin1');
    return /\[(\w+)\]/.exec(modes)?.[1] ?? null;
  } catch {
    return null; // another system, or a kernel without them
  }
}

function git(...args: readonly string[]): string | null {
  try {
    const cwd = new URL('.', import.meta.url);
    return execFileSync('git', args, {
      cwd,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return null; // no git, or a package without its repository
  }
}

export function printHeader(machine: BenchMachine, what: string): void {
  const { command, cores, cpu, node, kernel, hugePages } = machine;
  const system = `Linux ${kernel}, huge pages: ${hugePages ?? 'none'}`;
  process.stdout.write(`${command}: ${what} on ${cores} × ${cpu}, Node ${node}, ${system}\n`);
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
