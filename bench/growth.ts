/** How cost grows with one quantity: the points that were measured, and the line through them. */
import { type Fit, fitLine } from './statistics.ts';

export interface Growth {
  /** Name of the case. */
  readonly of: string;
  /** Which cost: the whole, or a phase. */
  readonly cost: string;
  /** What it grows with. */
  readonly against: string;
  /** What else was held fast. */
  readonly at: string;
  /** [quantity, median milliseconds] */
  readonly points: readonly (readonly [x: number, ms: number])[];
  /** Milliseconds, and milliseconds for one more. */
  readonly fit: Fit;
}

export function growthOf(parts: Omit<Growth, 'fit'>): Growth {
  // A phase may be shorter than the clock's step.
  const points = parts.points.map(([x, ms]) => [x, Math.max(ms, 1e-3)] as const);
  return { ...parts, points, fit: fitLine(points) };
}
