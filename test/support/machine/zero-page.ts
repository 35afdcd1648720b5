/**
 * Whether machines in tests have a zero page. MMDUMP_ZERO_PAGE=0 or 1 forces one of the two ways; a
 * test that is about one of them chooses it itself.
 */
const { MMDUMP_ZERO_PAGE: forced } = process.env;
if (forced !== undefined && forced !== '0' && forced !== '1') {
  throw new Error(`MMDUMP_ZERO_PAGE=${forced}: expected 0 or 1`);
}

/** For tests that run one way: the usual one, unless the other is forced. */
export const ZERO_PAGE: boolean = forced !== '0';

/** For tests that run both ways: both, unless one is forced. */
export const ZERO_PAGE_WAYS: readonly boolean[] =
  forced === undefined ? [true, false] : [ZERO_PAGE];
