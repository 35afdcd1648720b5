/** Medians, spreads, and least-squares fits. Pure arithmetic. */

/** What several samples of one thing come to. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly samples: number;
}

/** The middle sample; of an even number, the mean of the two in the middle. */
export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle]!;
  return (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function spreadOf(samples: readonly number[]): Spread {
  return {
    median: median(samples),
    min: Math.min(...samples),
    max: Math.max(...samples),
    samples: samples.length,
  };
}

/** Quotients of neighbours: both were measured in the same round of a machine that drifts. */
export function quotients(above: readonly number[], below: readonly number[]): number[] {
  if (above.length !== below.length) throw new RangeError('as many samples of both are needed');
  return above.map((value, round) => value / below[round]!);
}

/** y = constant + slope × x, as near to the points as a straight line comes. */
export interface Fit {
  readonly constant: number;
  readonly slope: number;
  /** Root mean square of the relative deviations, (measured - fitted) / measured. */
  readonly residual: number;
}

/**
 * Least squares of the relative deviations: over three orders of magnitude the absolute ones of the
 * largest points would decide alone, and the constant would be what their noise leaves of it. y > 0.
 */
export function fitLine(points: readonly (readonly [x: number, y: number])[]): Fit {
  const distinct = new Set(points.map(([x]) => x)).size;
  if (distinct < 2) throw new RangeError('a line takes two points');
  if (points.some(([, y]) => !(y > 0))) throw new RangeError('every y has to be above 0');
  // Minimise Σ ((y - a - b x) / y)²: ordinary least squares of 1 = a u + b v, u = 1/y, v = x/y.
  let uu = 0;
  let uv = 0;
  let vv = 0;
  let u1 = 0;
  let v1 = 0;
  for (const [x, y] of points) {
    const u = 1 / y;
    const v = x / y;
    uu += u * u;
    uv += u * v;
    vv += v * v;
    u1 += u;
    v1 += v;
  }
  const determinant = uu * vv - uv * uv;
  const constant = (u1 * vv - v1 * uv) / determinant;
  const slope = (uu * v1 - uv * u1) / determinant;
  const squares = points.map(([x, y]) => ((y - constant - slope * x) / y) ** 2);
  const residual = Math.sqrt(squares.reduce((sum, each) => sum + each, 0) / points.length);
  return { constant, slope, residual };
}
