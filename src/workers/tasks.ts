/** What a pool calls by name: the task of each phase. A worker thread loads this, and with it everything. */
export { compare } from './compare.ts';
export { letGo } from './let-go.ts';
export { load } from './load.ts';
export { pass as copy, pass as count } from './pass.ts';
export { scan } from './scan-pagemap.ts';
export { verify } from './verify.ts';

/** A thread's first task: when it returns, its modules are loaded. */
export function ready(): void {}
