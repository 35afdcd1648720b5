/**
 * Draws the plots of results that an earlier run has written.
 *
 *   npm run bench:plots -- results.json plots
 */
import { readFileSync } from 'node:fs';
import { type Results, writePlots } from './plots.ts';

const [from, folder] = process.argv.slice(2);
if (from === undefined || folder === undefined) {
  process.stderr.write('npm run bench:plots -- results.json FOLDER\n');
  process.exit(2);
}
const results = JSON.parse(readFileSync(from, 'utf8')) as Results;
for (const path of writePlots(results, folder)) process.stdout.write(`${path}\n`);
