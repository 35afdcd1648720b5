/**
 * The error class of mmdump and the closed list of its codes, which docs/ERRORS.md documents.
 *
 * Errors lose their class and fields when they are posted between threads. So workers return a
 * `Failure` as data, and the main thread rebuilds the error from it.
 */

/** Linux errno names and signals, which operations of the simulated machine raise. */
export const KERNEL_CODES = [
  'EACCES',
  'EAGAIN',
  'EBADF',
  'EBUSY',
  'EEXIST',
  'EFAULT',
  'EHWPOISON',
  'EINVAL',
  'EMFILE',
  'ENOENT',
  'ENOMEM',
  'ENOSPC',
  'EOVERFLOW',
  'EPERM',
  'SIGBUS',
  'SIGSEGV',
] as const;

/** Codes of mmdump itself. */
export const MMDUMP_CODES = [
  'MACHINE_POISONED', //     a thread died or hung in the middle of a change
  'MACHINE_CLOSED', //       the machine was closed
  'MACHINE_TOO_LARGE', //    the system refused the address space of the simulated machine
  'BANK_UNREACHABLE', //     memory of the caller that is not shared, from another thread, or gone
  'TOO_MANY_THREADS', //     too few thread slots of the machine are left
  'MM_GONE', //              the address space was destroyed
  'OPTION_INVALID', //       an argument or option is not what the function takes
  'DUMPER_CLOSED', //        the dumper was closed
  'TIMEOUT', //              the time limit of a job has passed
  'WORKER_LOST', //          a worker thread ended or crashed in the middle of its task
  'PAGE_UNSUPPORTED', //     a page that no rule can store, and the policy is 'fail'
  'HUGETLB_REFUSED', //      a VM_HUGETLB mapping, and the policy is 'fail'
  'SIZE_LIMIT', //           the image, or a string in it, is longer than allowed
  'OUTPUT_EXISTS', //        the output exists already, and force is off
  'OUTPUT_FAILED', //        the output cannot be created, written or committed
  'INPUT_FAILED', //         the input cannot be opened or read
  'IMAGE_NOT_RECOGNISED', // the file is no image
  'IMAGE_VERSION', //        the image has a version or architecture that this program does not read
  'IMAGE_TRUNCATED', //      the image ends before its own length says
  'IMAGE_CORRUPT', //        a record or payload contradicts the format
  'IMAGE_CHECKSUM', //       a checksum does not match
  'IMAGE_TOO_LARGE', //      the records or the state of the image need more memory than allowed
  'IMAGE_PARENT_MISSING', // the parent of the image is neither given nor beside it
  'IMAGE_PARENT_DIFFERS', // what was found as the parent of the image is another image
  'IMAGE_CLOSED', //         the image was closed
  'ZSTD_MISSING', //         compressed pages, and this Node has no zstd
  'PAGE_ABSENT', //          the image does not hold this page
  'PROCESS_NOT_FOUND', //    no process with this pid
  'PROCESS_DENIED', //       the system does not allow reading the process
  'PROCESS_GONE', //         the process ended while it was read, or has no memory
  'PROCESS_UNSTOPPABLE', //  the process did not stop
  'PROCESS_CHANGED', //      the mappings of a running process changed every time it was read
  'PROCESS_RESUMED', //      the process was resumed while it was read
  'PACKAGE_BUNDLED', //      a bundler has left out the files of this package
  'UNSUPPORTED_PLATFORM', // the system has no /proc, or not in the form that is needed
] as const;

/** Every code that an MmdumpError can have. docs/ERRORS.md says what each of them means. */
export type ErrorCode = (typeof KERNEL_CODES)[number] | (typeof MMDUMP_CODES)[number];

/**
 * The numbers and names that the message of an error mentions, for programs. Addresses and offsets
 * are in bytes.
 */
export interface ErrorFields {
  /** Path of the file concerned. */
  readonly path?: string;
  /** Byte of the file or image at which the trouble begins. */
  readonly offset?: number;
  /** Address in the address space. */
  readonly address?: number;
  /** The process concerned. */
  readonly pid?: number;
  /** Ordinal of the mm in its dump or image. */
  readonly mm?: number;
  /** Address at which the mapping concerned begins. */
  readonly vmaStart?: number;
  /** First address after that mapping. */
  readonly vmaEnd?: number;
  /** Ordinal of the worker, from 0. */
  readonly worker?: number;
  /** Ordinal of the work unit that the worker had claimed. */
  readonly unit?: number;
  /** Of TIMEOUT: what the job was doing when its time limit passed. */
  readonly phase?: string;
  /** Of TIMEOUT: the time limit of the job, in milliseconds. */
  readonly ms?: number;
  /** Of SIZE_LIMIT: the length that the image would have, in bytes. */
  readonly bytes?: number;
  /** Of SIZE_LIMIT: the most bytes that are allowed. */
  readonly limit?: number;
  /** The errno name of the system call that failed, if there was one. */
  readonly errno?: string;
  /** What the system said, or which rule was broken. */
  readonly reason?: string;
}

/** Every failure that mmdump reports on purpose. */
export class MmdumpError extends Error {
  /** Distinguishes it from other errors in stack traces. */
  override readonly name = 'MmdumpError';
  /** The code is stable: programs may rely on it. */
  readonly code: ErrorCode;
  /** The numbers and names that the message mentions. */
  readonly fields: ErrorFields;

  /** `cause` is the error of the system, if there was one. */
  constructor(code: ErrorCode, message: string, fields: ErrorFields = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.fields = fields;
  }
}

/** The error with which an aborted operation rejects, in the form that Node's own APIs use. */
export class AbortError extends Error {
  /** The name that Node gives to such errors. */
  override readonly name = 'AbortError';
  /** The code that Node gives to such errors. */
  readonly code = 'ABORT_ERR';

  /** `cause` is the reason of the signal. */
  constructor(cause?: unknown) {
    super('The operation was aborted', cause === undefined ? undefined : { cause });
  }
}

/** An error as plain data, which can be posted to another thread. */
export type Failure =
  | { readonly kind: 'mmdump'; code: ErrorCode; message: string; fields: ErrorFields }
  | { readonly kind: 'abort' }
  | { readonly kind: 'crash'; name: string; message: string; stack: string };

/** The result of a task on a worker. */
export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly failure: Failure };

/** Turns an error into data. What is no MmdumpError and no AbortError becomes a crash. */
export function toFailure(error: unknown): Failure {
  if (error instanceof MmdumpError) {
    const { code, message, fields } = error;
    return { kind: 'mmdump', code, message, fields };
  }
  if (error instanceof AbortError) return { kind: 'abort' };
  const crash = error instanceof Error ? error : new Error(String(error));
  return { kind: 'crash', name: crash.name, message: crash.message, stack: crash.stack ?? '' };
}

/**
 * Rebuilds the error of a task that failed. `worker`, `task` and `unit`, the unit at work if any,
 * say where a crash happened.
 */
export function fromFailure(failure: Failure, worker: number, task: string, unit?: number): Error {
  if (failure.kind === 'abort') return new AbortError();
  if (failure.kind === 'mmdump') {
    return new MmdumpError(failure.code, failure.message, { worker, ...failure.fields });
  }
  const reason = `${failure.name}: ${failure.message}`;
  const error = workerLost('failed', worker, task, unit, reason);
  if (failure.stack !== '') error.stack = failure.stack;
  return error;
}

/**
 * The error WORKER_LOST. It names the worker, its task, and the unit that it had claimed, if any.
 */
export function workerLost(
  what: 'failed' | 'was lost',
  worker: number,
  task: string,
  unit: number | undefined,
  reason: string,
): MmdumpError {
  const place = unit === undefined ? task : `${task}, unit ${unit}`;
  const fields = unit === undefined ? { worker, reason } : { worker, unit, reason };
  return new MmdumpError('WORKER_LOST', `worker ${worker} ${what} in ${place}: ${reason}`, fields);
}

/** The errno name of a system error of Node, or undefined if `error` is none. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** A short reason for messages: the words of the system, without what Node adds to them. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const system = /^([A-Z0-9]+): ([^,]+)/.exec(error.message);
  return system ? `${system[2]} (${system[1]})` : error.message;
}
