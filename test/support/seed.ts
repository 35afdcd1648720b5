/**
 * The seed of every property test. A normal run draws the same cases each time, so that nobody's change
 * is held up by a case that it has nothing to do with; MMDUMP_LONG=1 looks for new ones.
 * MMDUMP_SEED=n draws those of a seed.
 */
import fc from 'fast-check';

const { MMDUMP_SEED, MMDUMP_LONG } = process.env;
const USUAL = 2008;

if (MMDUMP_SEED !== undefined) fc.configureGlobal({ seed: Number(MMDUMP_SEED) });
else if (MMDUMP_LONG !== '1') fc.configureGlobal({ seed: USUAL });
