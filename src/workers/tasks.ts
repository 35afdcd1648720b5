/**
 * The tasks that a pool calls by name, one for each phase. A worker thread loads this module, and
 * through it all others.
 */
export { compare } from './compare.ts';
export { diff } from './diff.ts';
export { dropMachines } from './drop-machines.ts';
export { explain } from './explain.ts';
export { listRuns } from './list-runs.ts';
export { load } from './load.ts';
export { pass as copy, pass as count } from './pass.ts';
export { scan } from './scan-pagemap.ts';
export { search } from './search.ts';
export { verify } from './verify.ts';

/** The first task of a thread. When it returns, the modules of the thread are loaded. */
export function ready(): void {}
