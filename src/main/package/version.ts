/** The version of the package, as its description has it. */
import { readFileSync } from 'node:fs';
import { packageUrl } from './places.ts';

export function packageVersion(): string {
  const text = readFileSync(packageUrl(), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
