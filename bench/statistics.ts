/** Medians, spreads, and least-squares fits. Pure arithmetic. */

/** The summary of several samples. */
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

/** Quotients round by round, since on a machine that drifts only the same round can be compared. */
export function quotients(above: readonly number[], below: readonly number[]): number[] {
  if (above.length !== below.length) throw new RangeError('as many samples of both are needed');
  return above.map((value, round) => value / below[round]!);
}

/** y = constant + slope × x, the straight line that fits the points best. */
export interface Fit {
  readonly constant: number;
  readonly slope: number;
  /** Root mean square of the relative deviations, (measured - fitted) / measured. */
  readonly residual: number;
}

/**
 * Fits a line by least squares of the relative deviations. Over three orders of magnitude the
 * absolute deviations of the largest points alone would decide, and the constant would be lost in
 * their noise. Every y must be above 0.
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
