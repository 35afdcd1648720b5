/**
 * Facts about the kernel that the tests run on, found by probing it, because kernels of one release
 * are built in several ways. Nothing here needs a compiler.
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { release } from 'node:os';

/** Answers of a kernel to the probes, named as in the heads of recorded transcripts. */
export interface KernelProbes {
  /** Reads of untouched private anonymous memory map the zero page; false: a fresh page each. */
  readonly zeroPage: boolean;
  /** CONFIG_MEM_SOFT_DIRTY: bit 55 of the page map. Null: the kernel was not probed. */
  readonly softDirty: boolean | null;
  /** The processor has protection keys, and the kernel uses them. */
  readonly protectionKeys: boolean;
  /** /sys/kernel/mm/transparent_hugepage/enabled; '' if it does not exist. */
  readonly hugePages: string;
}

export interface RunningKernel {
  readonly release: string;
  readonly probes: KernelProbes;
}

/** Reads a setting; '' if it does not exist. */
export function readSetting(path: string): string {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return '';
  }
}

let asked: RunningKernel | string | undefined;

/** Returns the kernel that runs the tests, or the reason why it cannot be probed. */
export function runningKernel(): RunningKernel | string {
  asked ??= ask();
  return asked;
}

/** Returns its answers, for tests that need Linux anyway. */
export function runningProbes(): KernelProbes {
  const kernel = runningKernel();
  if (typeof kernel === 'string') throw new Error(kernel);
  return kernel.probes;
}

function ask(): RunningKernel | string {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'this is no Linux on x86-64';
  const zeroPage = readsMapZeroPage();
  if (zeroPage === undefined) return '/proc/self/smaps_rollup cannot be read';
  const [, hugePages = ''] =
    /\[(\w+)\]/.exec(readSetting('/sys/kernel/mm/transparent_hugepage/enabled')) ?? [];
  const protectionKeys = /^flags\b.*\bospke\b/m.test(readSetting('/proc/cpuinfo'));
  const probes = { zeroPage, softDirty: hasSoftDirty(), protectionKeys, hugePages };
  return { release: release(), probes };
}

const PAGE = 4096;
const READ_BYTES = 32 * 2 ** 20;

/**
 * Causes read faults in untouched memory of this process (large zeroed buffers come from mmap). A
 * fresh page counts as anonymous memory of this process; the zero page does not.
 */
function readsMapZeroPage(): boolean | undefined {
  const before = anonymousKb();
  const untouched = new Uint8Array(READ_BYTES);
  let sum = 0;
  for (let at = 0; at < READ_BYTES; at += PAGE) sum |= untouched[at]!;
  const after = anonymousKb();
  if (before === undefined || after === undefined || sum !== 0) return undefined;
  return (after - before) * 1024 < READ_BYTES / 2;
}

function anonymousKb(): number | undefined {
  const [, kb] = /^Anonymous: +(\d+) kB/m.exec(readSetting('/proc/self/smaps_rollup')) ?? [];
  return kb === undefined ? undefined : Number(kb);
}

/** Whether the page map reports any page of this process's stack as soft-dirty. */
function hasSoftDirty(): boolean {
  const [, start, end] =
    /^([0-9a-f]+)-([0-9a-f]+) .*\[stack\]/m.exec(readSetting('/proc/self/maps')) ?? [];
  if (start === undefined || end === undefined) return false;
  const first = Number.parseInt(start, 16) / PAGE;
  const entries = new BigUint64Array(Number.parseInt(end, 16) / PAGE - first);
  try {
    const pagemap = openSync('/proc/self/pagemap', 'r');
    try {
      readSync(pagemap, new Uint8Array(entries.buffer), 0, entries.byteLength, first * 8);
    } finally {
      closeSync(pagemap);
    }
  } catch {
    return false;
  }
  return entries.some((entry) => ((entry >> 55n) & 1n) === 1n);
}
