/** How a cost grows with one quantity: the measured points, and the line that fits them best. */
import { type Fit, fitLine } from './statistics.ts';

export interface Growth {
  /** Name of the case. */
  readonly of: string;
  /** The cost: that of the whole dump, or of one phase. */
  readonly cost: string;
  /** The quantity that it grows with. */
  readonly against: string;
  /** The quantities that stayed the same. */
  readonly at: string;
  /** [quantity, median milliseconds] */
  readonly points: readonly (readonly [x: number, ms: number])[];
  /** The constant is in milliseconds, the slope in milliseconds for one more of the quantity. */
  readonly fit: Fit;
}

export function growthOf(parts: Omit<Growth, 'fit'>): Growth {
  // A phase may be shorter than the resolution of the clock.
  const points = parts.points.map(([x, ms]) => [x, Math.max(ms, 1e-3)] as const);
  return { ...parts, points, fit: fitLine(points) };
}
