/** The declarations of the built package, as an editor and a strict compiler see them. */
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import {
  type Declaration,
  documentedIn,
  exportedNames,
  exportsOf,
  mentioned,
} from '../support/arguments/declarations.ts';

const repository = fileURLToPath(new URL('../../', import.meta.url));
const index = new URL('../../dist/main/index.d.ts', import.meta.url);
const exported = exportsOf(index);
const declarations = [...exported.values()].flat();
const members = declarations.flatMap(documentedIn);

function placeOf({ module, node }: Declaration): string {
  return `${module.url.pathname} ${node.start}`;
}

describe('trial 12: the declarations', () => {
  it('trial 12: every exported name and every member of one has a doc comment', () => {
    expect(exported.size).toBeGreaterThan(100);
    expect(members.length).toBeGreaterThan(500);
    expect(members.filter(({ hasDoc }) => !hasDoc).map(({ name }) => name)).toEqual([]);
  });

  it('trial 12: every type that an exported declaration mentions has an exported name', () => {
    const known = new Set(declarations.map(placeOf));
    const unnamed = declarations.flatMap((declaration) =>
      mentioned(declaration)
        .filter((other) => !known.has(placeOf(other)))
        .map(({ name }) => `${declaration.name} mentions ${name}`),
    );
    expect(unnamed).toEqual([]);
  });

  it('trial 12: every option that may be left out may be undefined', () => {
    const strict = members
      .filter(({ isOptional, text }) => isOptional && !/\|\s*undefined;?$/.test(text))
      .map(({ name }) => name);
    // In values that the package returns, a missing property says that there is no such thing.
    expect(strict.filter((name) => !/^(ErrorFields|DumpReport)\./.test(name))).toEqual([]);
  });

  it('trial 12: a strict program compiles, libraries checked, and sees no internals', () => {
    const directory = mkdtempSync(join(tmpdir(), 'mmdump-types-'));
    try {
      mkdirSync(join(directory, 'node_modules/@types'), { recursive: true });
      symlinkSync(repository, join(directory, 'node_modules/mmdump'));
      for (const name of ['@types/node', 'undici-types']) {
        symlinkSync(join(repository, 'node_modules', name), join(directory, 'node_modules', name));
      }
      for (const name of ['program.ts', 'internals.ts']) {
        copyFileSync(join(repository, 'test/support/typed', name), join(directory, name));
      }
      writeFileSync(join(directory, 'package.json'), '{ "type": "module" }');
      writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify({ compilerOptions: STRICT }));
      const tsc = join(repository, 'node_modules/typescript/bin/tsc');
      const { stdout, status } = spawnSync(process.execPath, [tsc, '-p', directory], {
        encoding: 'utf8',
      });
      expect(stdout).toBe('');
      expect(status).toBe(0);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('have every name that the source exports: nothing exported is internal', () => {
    const source = new URL('../../src/main/index.ts', import.meta.url);
    expect([...exported.keys()].sort()).toEqual(exportedNames(source).sort());
    // tsc cuts out what is @internal, and leaves an export of it that leads nowhere.
    expect([...exported].filter(([, found]) => found.length === 0)).toEqual([]);
    expect(readFileSync(index, 'utf8')).not.toContain('@internal');
  });
});

const STRICT = {
  target: 'es2023',
  lib: ['es2023', 'es2024.sharedmemory', 'esnext.disposable'],
  types: ['node'],
  module: 'nodenext',
  strict: true,
  noEmit: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  skipLibCheck: false,
};
