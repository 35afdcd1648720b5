import { MmdumpError } from 'mmdump';

export const PAGE = 4096;

/**
 * The most pages of a shared memory object. Shared memory cannot be swapped out, and an object
 * keeps all its pages as long as one of them is mapped, so large objects would fill the machine.
 */
export const SHARED_PAGES_MAX = 8;

/** Memory ran out, and nothing that could be reclaimed was left. */
export const SHORT = 'short of memory';

/**
 * Returns 'nothing', the code of the error, or SHORT. Errors of a poisoned machine and broken
 * assertions are thrown on.
 */
export function outcomeOf(action) {
  try {
    action();
    return 'nothing';
  } catch (error) {
    if (!(error instanceof MmdumpError) || error.code === 'MACHINE_POISONED') throw error;
    return error.code === 'ENOMEM' && error.fields.reason === 'no free frames' ? SHORT : error.code;
  }
}

/**
 * Returns the one byte value of a page, and throws if there are several. A page is copied under its
 * table's lock, so it is never half-written.
 */
export function uniform(bytes, what) {
  const odd = bytes.findIndex((byte) => byte !== bytes[0]);
  if (odd >= 0) throw new Error(`${what}: byte 0 is ${bytes[0]}, byte ${odd} is ${bytes[odd]}`);
  return bytes[0];
}
