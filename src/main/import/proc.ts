/** Reads files under /proc/PID, with errors that say what is wrong. */
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { type ErrorFields, errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';

/** The error for a process that has ended, or never had an mm. */
export function processGone(pid: number, fields: ErrorFields = {}): MmdumpError {
  const message = `process ${pid} has no memory to read: it has ended, or is a kernel thread`;
  return new MmdumpError('PROCESS_GONE', message, { pid, ...fields });
}

/** The error of a failed access to /proc/PID. */
export function procError(pid: number, file: string, error: unknown): MmdumpError {
  const errno = errnoOf(error) ?? 'EIO';
  const path = `/proc/${pid}/${file}`;
  const fields = { pid, path, errno };
  if (errno === 'ESRCH') return processGone(pid, fields);
  if (errno === 'ENOENT') {
    return new MmdumpError('PROCESS_NOT_FOUND', `process ${pid} does not exist`, fields, error);
  }
  if (errno === 'EACCES' || errno === 'EPERM') {
    const message =
      `process ${pid}: not permitted to read ${path}: it must be a process of yours that may be ` +
      'traced, or you must be root';
    return new MmdumpError('PROCESS_DENIED', message, fields, error);
  }
  return new MmdumpError('INPUT_FAILED', `${path}: ${reasonOf(error)}`, fields, error);
}

export async function readProc(pid: number, file: string): Promise<Buffer> {
  try {
    return await readFile(`/proc/${pid}/${file}`);
  } catch (error) {
    throw procError(pid, file, error);
  }
}

export async function openProc(pid: number, file: string): Promise<FileHandle> {
  try {
    return await open(`/proc/${pid}/${file}`, 'r');
  } catch (error) {
    throw procError(pid, file, error);
  }
}

/** /proc/PID/stat, with the fields by their number in proc(5). */
export interface ProcStat {
  readonly state: string; //   3
  /** A field by its number; 0 where the kernel hides it. */
  field(number: number): number;
  readonly startTime: string; // 22, exact
  readonly name: string; //      2, without the parentheses
}

/** The name may hold spaces and parentheses, so fields are counted from the last ')'. */
export function parseStat(text: string): ProcStat {
  const close = text.lastIndexOf(')');
  const fields = text
    .slice(close + 2)
    .trim()
    .split(' ');
  return {
    state: fields[0] ?? '?',
    field: (number) => Number(fields[number - 3] ?? 0),
    startTime: fields[22 - 3] ?? '',
    name: text.slice(text.indexOf('(') + 1, close),
  };
}

export async function readStat(pid: number): Promise<ProcStat> {
  return parseStat((await readProc(pid, 'stat')).toString('latin1'));
}
