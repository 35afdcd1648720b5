/**
 * A programming error, as opposed to the failures of `errors.ts`: code of this project broke one of
 * its own invariants. No input of a user leads to one.
 */
export class AssertionFailure extends Error {
  override readonly name = 'AssertionFailure';
}

/** Throws an AssertionFailure if `condition` is false. The message says what must be true. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionFailure(message);
}
