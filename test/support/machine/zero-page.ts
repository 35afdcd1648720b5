/**
 * Whether machines of tests have a zero page. MMDUMP_ZERO_PAGE=0 or 1 forces it either way; a test
 * that is about one of the two ways says so itself.
 */
const { MMDUMP_ZERO_PAGE: forced } = process.env;
if (forced !== undefined && forced !== '0' && forced !== '1') {
  throw new Error(`MMDUMP_ZERO_PAGE=${forced}: expected 0 or 1`);
}

/** For tests that take one way: the usual one, unless the other is forced. */
export const ZERO_PAGE: boolean = forced !== '0';

/** For tests that take every way: both, unless one is forced. */
export const ZERO_PAGE_WAYS: readonly boolean[] =
  forced === undefined ? [true, false] : [ZERO_PAGE];
