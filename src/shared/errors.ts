/**
 * The one error class of mmdump and the closed list of its codes (documented in docs/ERRORS.md).
 *
 * Errors lose their class and fields when they cross a worker's boundary, so workers return a
 * `Failure` as data and the main thread rebuilds the error from it.
 */

/** Linux errno names and signals, raised by operations of the simulated machine. */
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
  'MACHINE_POISONED', //     a thread died inside a write; the machine is not to be trusted
  'MACHINE_CLOSED', //       the machine was closed
  'MACHINE_TOO_LARGE', //    the system refused the address space of the simulated machine
  'TOO_MANY_THREADS', //     every thread slot of the machine is taken
  'MM_GONE', //              the address space was destroyed
  'OPTION_INVALID', //       a value of an option is wrong
  'DUMPER_CLOSED', //        the dumper was closed
  'TIMEOUT', //              the time that was given is over
  'WORKER_LOST', //          a worker thread ended or threw in the middle of its task
  'PAGE_UNSUPPORTED', //     a page that CLASSIFICATION calls unsupported, and the policy is 'fail'
  'HUGETLB_REFUSED', //      a VM_HUGETLB mapping, and the policy is 'fail'
  'SIZE_LIMIT', //           the image would be larger than allowed
  'OUTPUT_EXISTS', //        the output is there already and force is off
  'OUTPUT_FAILED', //        the output cannot be created or written
  'INPUT_FAILED', //         the input cannot be opened or read
  'IMAGE_NOT_RECOGNISED', // the file is no image
  'IMAGE_VERSION', //        an image of a version or architecture that this program does not read
  'IMAGE_TRUNCATED', //      the image ends before its own length says
  'IMAGE_CORRUPT', //        a record or payload contradicts the format
  'IMAGE_CHECKSUM', //       a checksum does not match
  'IMAGE_TOO_LARGE', //      its records need more memory than the reader allows
  'IMAGE_CLOSED', //         the image was closed
  'PAGE_ABSENT', //          the image does not hold this page
  'PROCESS_NOT_FOUND', //    no process with this pid
  'PROCESS_DENIED', //       the system does not let us read the process
  'PROCESS_GONE', //         the process ended while it was read
  'PROCESS_UNSTOPPABLE', //  the process did not stop when asked
  'PROCESS_CHANGED', //      mappings of a running process changed while it was read
  'PROCESS_RESUMED', //      the process went on while it was read
  'PACKAGE_BUNDLED', //      a bundler has left the files of this package behind
  'UNSUPPORTED_PLATFORM', // this system has no /proc, or not in the form that is needed
] as const;

/** Every code that an MmdumpError can have; docs/ERRORS.md says what each means. */
export type ErrorCode = (typeof KERNEL_CODES)[number] | (typeof MMDUMP_CODES)[number];

/** Numbers and names that the message mentions, for programs. Addresses and offsets in bytes. */
export interface ErrorFields {
  /** Of the file concerned. */
  readonly path?: string;
  /** Byte of the image at which the trouble begins. */
  readonly offset?: number;
  /** Address in the address space. */
  readonly address?: number;
  /** The process concerned. */
  readonly pid?: number;
  /** Ordinal of the mm in its dump or image. */
  readonly mm?: number;
  /** Address at which the mapping concerned begins. */
  readonly vmaStart?: number;
  /** First address after it. */
  readonly vmaEnd?: number;
  /** Ordinal of the worker, from 0. */
  readonly worker?: number;
  /** Ordinal of the work unit that the worker had claimed. */
  readonly unit?: number;
  /** What a job was at when its time was over, and that time in milliseconds. */
  readonly phase?: string;
  /** The time that was given, in milliseconds. */
  readonly ms?: number;
  /** Of the image, and what is allowed. */
  readonly bytes?: number;
  /** What is allowed, in bytes. */
  readonly limit?: number;
  /** The errno name of the system call below, where there was one. */
  readonly errno?: string;
  /** What the system, or the rule that was broken, says. */
  readonly reason?: string;
}

/** Every failure that mmdump reports on purpose. */
export class MmdumpError extends Error {
  /** Tells it from other errors in stack traces. */
  override readonly name = 'MmdumpError';
  /** Stable: programs may rely on it. */
  readonly code: ErrorCode;
  /** The numbers and names that the message mentions. */
  readonly fields: ErrorFields;

  /** `cause`: the error of the system, where there was one. */
  constructor(code: ErrorCode, message: string, fields: ErrorFields = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.fields = fields;
  }
}

/** Rejection of an aborted operation, in the form Node's own APIs use. */
export class AbortError extends Error {
  /** As Node's own aborted operations have it. */
  override readonly name = 'AbortError';
  /** As Node's own aborted operations have it. */
  readonly code = 'ABORT_ERR';

  /** `cause`: the signal's reason. */
  constructor(cause?: unknown) {
    super('The operation was aborted', cause === undefined ? undefined : { cause });
  }
}

/** An error as plain data, able to cross a thread boundary. */
export type Failure =
  | { readonly kind: 'mmdump'; code: ErrorCode; message: string; fields: ErrorFields }
  | { readonly kind: 'abort' }
  | { readonly kind: 'crash'; name: string; message: string; stack: string };

/** The outcome of a task on a worker. */
export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly failure: Failure };

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
 * Rebuilds the error of a failed task; `worker`, `task` and the `unit` that it worked on, if any,
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

/** WORKER_LOST: a worker, and the unit that it had claimed, if any. */
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

/** The errno name of a Node system error, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** A short reason for a message: the system's words without Node's decoration. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const system = /^([A-Z0-9]+): ([^,]+)/.exec(error.message);
  return system ? `${system[2]} (${system[1]})` : error.message;
}
