// Runs bench.ts by tsx, in this thread only: by `tsx bench.ts` every worker thread would inherit its
// hooks, and take a second to start.
import { register } from 'tsx/esm/api';

register();
await import('./bench.ts');
