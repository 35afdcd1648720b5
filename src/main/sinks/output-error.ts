/** The errors of sinks that write files. Every error names the file. */
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';

export function outputExists(path: string): MmdumpError {
  const message = `${path} exists already: use force to replace it`;
  return new MmdumpError('OUTPUT_EXISTS', message, { path });
}

/** The output is refused for a reason that no system call has reported. */
export function outputRefused(path: string, what: string): MmdumpError {
  return new MmdumpError('OUTPUT_FAILED', `${path} ${what}`, { path });
}

/** A system call has failed. */
export function outputFailed(path: string, what: string, error: unknown): MmdumpError {
  const reason = reasonOf(error);
  const fields = { path, reason, errno: errnoOf(error) ?? 'EIO' };
  return new MmdumpError('OUTPUT_FAILED', `${path} ${what}: ${reason}`, fields, error);
}
