/**
 * The seed of every property test. A normal run draws the same cases each time, so that no change
 * is held up by a case that is unrelated to it; MMDUMP_LONG=1 draws new cases. MMDUMP_SEED=n draws
 * the cases of seed n.
 */
import fc from 'fast-check';

const { MMDUMP_SEED, MMDUMP_LONG } = process.env;
const USUAL = 2008;

if (MMDUMP_SEED !== undefined) fc.configureGlobal({ seed: Number(MMDUMP_SEED) });
else if (MMDUMP_LONG !== '1') fc.configureGlobal({ seed: USUAL });
