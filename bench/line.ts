/** One line of the benchmark's output. */
import { quotients, type Spread, spreadOf } from './statistics.ts';
import { isMet, type Target } from './targets.ts';

export type Unit = 'ms' | 'ns/page' | 'ns' | 'µs' | 'GB/s' | '%' | 'MiB' | '×';

/** What a line is compared with; it was measured in the same rounds. */
export interface Limit {
  readonly name: string;
  /** In the unit of the line. */
  readonly value: Spread;
}

export interface Line {
  /** Name of the case. */
  readonly of: string;
  readonly name: string;
  readonly parameters: Parameters;
  readonly unit: Unit;
  /** Null where the line was skipped; the note says why. */
  readonly value: Spread | null;
  readonly limit: Limit | null;
  /** The share of the limit that is reached: limit / value, round by round. */
  readonly ratio: Spread | null;
  readonly target: Target | null;
  readonly met: boolean | null;
  readonly bytesPerSecond: number | null;
  /** The median milliseconds of each phase, where the line is a dump. */
  readonly phases: { readonly [phase: string]: number } | null;
  readonly note: string;
}

export type Parameters = { readonly [name: string]: string | number };

/** What a case has to give for a line. The rest is computed from it. */
export interface LineParts {
  readonly name: string;
  readonly parameters?: Parameters;
  readonly unit: Unit;
  readonly samples: readonly number[];
  /** It must have as many samples as the line. */
  readonly limit?: { readonly name: string; readonly samples: readonly number[] } | undefined;
  readonly target?: Target | undefined;
  /** Bytes that were moved, for a line in milliseconds. */
  readonly bytes?: number;
  readonly phases?: { readonly [phase: string]: number } | null | undefined;
  readonly note?: string | undefined;
}

export function toLine(of: string, parts: LineParts): Line {
  const { name, unit, samples, limit, target, bytes, note = '' } = parts;
  const value = spreadOf(samples);
  const ratio = limit === undefined ? null : spreadOf(quotients(limit.samples, samples));
  return {
    of,
    name,
    parameters: parts.parameters ?? {},
    unit,
    value,
    limit: limit === undefined ? null : { name: limit.name, value: spreadOf(limit.samples) },
    ratio,
    target: target ?? null,
    met: target === undefined ? null : isMet(target, value.median, ratio?.median ?? null),
    bytesPerSecond: bytes === undefined ? null : (bytes / value.median) * 1000,
    phases: parts.phases ?? null,
    note,
  };
}

/** A line that could not be measured on this machine. */
export function skippedLine(of: string, name: string, why: string, target?: Target): Line {
  return {
    of,
    name,
    parameters: {},
    unit: 'ms',
    value: null,
    limit: null,
    ratio: null,
    target: target ?? null,
    met: null,
    bytesPerSecond: null,
    phases: null,
    note: `skipped: ${why}`,
  };
}
