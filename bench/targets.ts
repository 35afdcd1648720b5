/** The targets of the project: each is a line of the benchmark's output, none is a timed test. */

export interface Target {
  /** What is held against the bound: the line's value, or its ratio. */
  readonly of: 'value' | 'ratio';
  readonly bound: 'at least' | 'at most';
  readonly limit: number;
  /** In words, with what it is a ratio of. */
  readonly text: string;
}

function ratio(limit: number, of: string): Target {
  return { of: 'ratio', bound: 'at least', limit, text: `≥ ${limit.toFixed(2)} of ${of}` };
}

function atMost(limit: number, unit: string): Target {
  return { of: 'value', bound: 'at most', limit, text: `≤ ${limit} ${unit}` };
}

export const TARGETS = {
  memoryRuns: ratio(0.95, 'the copy limit'),
  memoryRandom: ratio(0.9, 'the copy limit'),
  memoryZeroTest: ratio(0.8, 'the copy limit'),
  memoryDefaults: ratio(0.38, 'the copy limit'),
  twoWorkers: { of: 'value', bound: 'at least', limit: 1.8, text: '≥ 1.8 × one worker' },
  fileGather: ratio(1, "one thread's gather writes"),
  fileGcore: ratio(1.5, "gcore's speed"),
  importFloors: ratio(0.8, 'the sum of its floors'),
  classifyDense: atMost(5, 'ns/page'),
  classifySparse: atMost(5, 'ms'),
  serial: atMost(2, '%'),
  overhead: ratio(1, 'the allowance: 2 % of memory + 4 MiB a worker'),
  restore: ratio(0.7, 'the copy limit'),
  imageRead: { of: 'value', bound: 'at least', limit: 1, text: '≥ 1 GB/s' },
  verify: ratio(1, "crc32's speed on as many threads"),
} as const satisfies { readonly [name: string]: Target };

/** Whether a line reaches its target, to the two digits that are printed. Null: nothing measured. */
export function isMet(target: Target, value: number, ratioReached: number | null): boolean | null {
  const measured = target.of === 'value' ? value : ratioReached;
  if (measured === null || Number.isNaN(measured)) return null;
  const shown = Math.round(measured * 100) / 100;
  return target.bound === 'at least' ? shown >= target.limit : shown <= target.limit;
}
