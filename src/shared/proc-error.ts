/** Errors of reading a file of /proc that is already open. */
import { errnoOf, MmdumpError, reasonOf } from './errors.ts';

/**
 * The error for a failed read at byte `offset`: PROCESS_GONE for ESRCH, PROCESS_DENIED for EACCES
 * and EPERM, otherwise INPUT_FAILED. `pid` is the process concerned, if any.
 */
export function procReadFailed(
  path: string,
  offset: number,
  error: unknown,
  pid?: number,
): MmdumpError {
  const errno = errnoOf(error) ?? 'EIO';
  const fields = { path, offset, errno, ...(pid === undefined ? {} : { pid }) };
  const message = `${path}: read at byte ${offset} failed: ${reasonOf(error)}`;
  if (errno === 'ESRCH') return new MmdumpError('PROCESS_GONE', message, fields);
  const isDenied = errno === 'EACCES' || errno === 'EPERM';
  return new MmdumpError(isDenied ? 'PROCESS_DENIED' : 'INPUT_FAILED', message, fields);
}
