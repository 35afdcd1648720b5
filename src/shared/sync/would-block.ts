/** The error of what would have to wait on a thread that must not. */
import { MmdumpError } from '../errors.ts';

/** The EAGAIN that an operation throws on a thread that must not wait. `what` is what is held. */
export function wouldBlock(what: string): MmdumpError {
  return new MmdumpError(
    'EAGAIN',
    `${what} is held by another thread, and this thread must not wait: use the Async form`,
  );
}
