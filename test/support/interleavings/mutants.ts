/** Modules of ours with a deliberate mistake: checks that look for mistakes must find these. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tsImport } from 'tsx/esm/api';

/** `[text in the source, text in the mutant]`; the first must occur exactly once. */
export type Edit = readonly [from: string, to: string];

/** Imports a copy of a module of src/ with edits. The copy imports the original's modules. */
export async function importMutant<Module>(
  source: string,
  edits: readonly Edit[],
): Promise<Module> {
  const url = new URL(`../../../src/${source}`, import.meta.url);
  let text = readFileSync(url, 'utf8');
  for (const [from, to] of edits) {
    if (text.split(from).length !== 2) throw new Error(`${source} says this not once: ${from}`);
    text = text.replace(from, () => to);
  }
  text = text.replaceAll(/from '(\.[^']*)'/g, (_, name) => `from '${new URL(name, url).href}'`);
  const folder = mkdtempSync(join(tmpdir(), 'mmdump-mutant-'));
  try {
    const file = join(folder, 'mutant.mts');
    writeFileSync(file, text);
    return await tsImport(file, import.meta.url);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
