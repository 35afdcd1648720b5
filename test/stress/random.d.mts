/** The types of `random.mjs`, which threads load as it is. */
export class Random {
  constructor(seed: number);
  below(limit: number): number;
  pick<T>(choices: readonly T[]): T;
  weighted<T>(choices: readonly (readonly [number, T])[]): T;
  range(pages: number): [number, number];
}
