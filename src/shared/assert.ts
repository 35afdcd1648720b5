/**
 * Programming errors, as opposed to the failures of `errors.ts`: a caller broke an invariant of
 * this code, nothing that a user does can make one true.
 */
export class AssertionFailure extends Error {
  override readonly name = 'AssertionFailure';
}

/** Throws when `condition` does not hold. The message says what must be true. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionFailure(message);
}
