// Runs bench.ts with tsx in this thread only. With `tsx bench.ts` every worker thread would inherit
// the hooks of tsx, and take a second to start.
import { register } from 'tsx/esm/api';

register();
await import('./bench.ts');
