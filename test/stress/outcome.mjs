import { MmdumpError } from 'mmdump';

export const PAGE = 4096;

/**
 * Shared memory cannot be swapped out, and an object keeps its pages as long as one of them is
 * mapped: so objects are small, or the machine would be full of them.
 */
export const SHARED_PAGES_MAX = 8;

/** Memory ran out, and nothing that could be reclaimed was left. */
export const SHORT = 'short of memory';

/** 'nothing', the code of the error, or SHORT. A poisoned machine and broken assertions are thrown. */
export function outcomeOf(action) {
  try {
    action();
    return 'nothing';
  } catch (error) {
    if (!(error instanceof MmdumpError) || error.code === 'MACHINE_POISONED') throw error;
    return error.code === 'ENOMEM' && error.fields.reason === 'no free frames' ? SHORT : error.code;
  }
}

/** The one byte value of a page. A page is copied under its table's lock: it is never half-written. */
export function uniform(bytes, what) {
  const odd = bytes.findIndex((byte) => byte !== bytes[0]);
  if (odd >= 0) throw new Error(`${what}: byte 0 is ${bytes[0]}, byte ${odd} is ${bytes[odd]}`);
  return bytes[0];
}
