/** The targets of the project. Each belongs to a line of the benchmark; no test asserts a time. */

/** Node 20 copies and digests more slowly. Where it has a bound of its own, that is the second. */
const IS_NEW = Number(process.versions.node.split('.')[0]) >= 24;

export interface Target {
  /** What is compared with the bound: the value of the line, or its ratio. */
  readonly of: 'value' | 'ratio';
  readonly bound: 'at least' | 'at most';
  readonly limit: number;
  /** The target in words, with the limit that a ratio refers to. */
  readonly text: string;
}

function ratio(limit: number, of: string): Target {
  return { of: 'ratio', bound: 'at least', limit, text: `≥ ${limit.toFixed(2)} of ${of}` };
}

/** For lines in the unit ×: how many times as long as something else. */
function times(limit: number, of: string): Target {
  return { of: 'value', bound: 'at most', limit, text: `≤ ${limit} × ${of}` };
}

function atMost(limit: number, unit: string): Target {
  return { of: 'value', bound: 'at most', limit, text: `≤ ${limit} ${unit}` };
}

export const TARGETS = {
  memoryRuns: ratio(0.93, 'the copy limit'),
  memoryRandom: ratio(0.88, 'the copy limit'),
  memoryZeroTest: ratio(IS_NEW ? 0.8 : 0.75, 'the copy limit'),
  memoryDefaults: ratio(IS_NEW ? 0.75 : 0.55, 'the copy limit'),
  memoryDefaultsRandom: ratio(IS_NEW ? 0.6 : 0.45, 'the copy limit'),
  smallRead: atMost(120, 'ns'),
  tlbHit: ratio(0.66, 'a plain typed array'),
  interpreter: ratio(0.7, 'a plain ArrayBuffer'),
  twoWriters: { of: 'value', bound: 'at least', limit: 1.7, text: '≥ 1.7 × one thread' },
  twoWorkers: { of: 'value', bound: 'at least', limit: 1.9, text: '≥ 1.9 × one worker' },
  fileGather: ratio(1, "one thread's gather writes"),
  fileGcore: ratio(1.5, "gcore's speed"),
  importGcore: times(1, "gcore's time"),
  importCoreGcore: times(0.8, "gcore's time"),
  convertCp: ratio(0.8, "cp's speed"),
  importCriu: times(1.2, "CRIU's time"),
  importCriuLarge: times(1, "CRIU's time"),
  importMemory: ratio(1, 'the allowance: 64 MiB + 8 MiB a worker + 1 % of the process'),
  startVersion: times(1.3, 'an empty Node'),
  startDump: times(2.5, 'an empty Node'),
  classifyDense: atMost(6, 'ns/page'),
  classifySparse: atMost(4, 'ms'),
  mapping: atMost(0.5, 'µs'),
  mappingWorkers: { of: 'value', bound: 'at least', limit: 1.6, text: '≥ 1.6 × one worker' },
  small: ratio(0.67, 'the speed of the loop'),
  peak: atMost(64, 'MiB'),
  serial: atMost(2, '%'),
  overhead: ratio(1, 'the allowance: 2 % of memory + 4 MiB a worker'),
  onDemand: atMost(10, 'ms'),
  restore: ratio(0.7, 'the copy limit'),
  imageRead: { of: 'value', bound: 'at least', limit: 1, text: '≥ 1 GB/s' },
  reportShown: atMost(2000, 'ms'),
  reportFrame: atMost(33, 'ms'),
  search: { of: 'value', bound: 'at least', limit: 2, text: '≥ 2 GB/s' },
  diff: times(0.3, 'reading both'),
  v86Changed: atMost(40, 'ms'),
  v86Whole: { of: 'ratio', bound: 'at least', limit: 20, text: "≥ 20 × save_state's speed" },
  v86Restore: { of: 'ratio', bound: 'at least', limit: 10, text: "≥ 10 × restore_state's speed" },
  verify: ratio(0.9, "the digest's speed on as many threads"),
  verifyFile: ratio(0.85, "reading the file's speed on as many threads"),
} as const satisfies { readonly [name: string]: Target };

/** Whether a line reaches its target, to the two digits that are printed; null if not measured. */
export function isMet(target: Target, value: number, ratioReached: number | null): boolean | null {
  const measured = target.of === 'value' ? value : ratioReached;
  if (measured === null || Number.isNaN(measured)) return null;
  const shown = Math.round(measured * 100) / 100;
  return target.bound === 'at least' ? shown >= target.limit : shown <= target.limit;
}
