/** Errors of reading files of /proc that are open already. */
import { errnoOf, MmdumpError, reasonOf } from './errors.ts';

/** PROCESS_GONE, PROCESS_DENIED or INPUT_FAILED, by what the system says. */
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
