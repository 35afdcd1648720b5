/**
 * Histories for single rules, stored in test/support/linux/histories: '# its subject', one line per
 * step in the form of history.ts, an empty line. There is one file per call or concept.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { type History, parseStep, type Step } from './history.ts';
import { FILES } from './random-history.ts';

export interface FixedHistory extends History {
  readonly name: string;
}

const FOLDER = new URL('./histories/', import.meta.url);

function parse(file: string): FixedHistory[] {
  const found: FixedHistory[] = [];
  let name = '';
  for (const block of readFileSync(new URL(file, FOLDER), 'utf8').split(/\n\n+/)) {
    const steps: Step[] = [];
    for (const line of block.split('\n')) {
      if (line.startsWith('#')) name = line.slice(2);
      else if (line !== '') steps.push(parseStep(line));
    }
    if (steps.length > 0) found.push({ name: `${file}: ${name}`, files: FILES, steps });
  }
  return found;
}

export const FIXED_HISTORIES: readonly FixedHistory[] = readdirSync(FOLDER).sort().flatMap(parse);
