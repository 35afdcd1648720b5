/**
 * Bundled programs. Bundled as docs/BUNDLERS.md describes, they work; with the package taken into
 * the bundle, they say what is wrong.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

type Format = 'esm' | 'cjs';
/** Bundles `program.mjs` of the directory into a file, and returns the path of that file. */
type Bundle = (directory: string, format: Format, isExternal: boolean) => Promise<string>;

const repository = fileURLToPath(new URL('../../', import.meta.url));
const program = fileURLToPath(new URL('../support/bundled/program.mjs', import.meta.url));

async function withEsbuild(
  directory: string,
  format: Format,
  isExternal: boolean,
): Promise<string> {
  const { build } = await import('esbuild');
  const outfile = join(directory, `out.${format === 'esm' ? 'mjs' : 'cjs'}`);
  await build({
    entryPoints: [join(directory, 'program.mjs')],
    outfile,
    bundle: true,
    platform: 'node',
    format,
    logLevel: 'silent',
    ...(isExternal && { external: ['mmdump'] }),
  });
  return outfile;
}

async function withVite(directory: string, format: Format, isExternal: boolean): Promise<string> {
  const { build } = await import('vite');
  const name = `out.${format === 'esm' ? 'mjs' : 'cjs'}`;
  await build({
    root: directory,
    configFile: false,
    logLevel: 'silent',
    ssr: isExternal ? { external: ['mmdump'] } : { noExternal: true },
    build: {
      ssr: join(directory, 'program.mjs'),
      outDir: join(directory, 'built'),
      rollupOptions: { output: { format, entryFileNames: name } },
    },
  });
  return join(directory, 'built', name);
}

async function withWebpack(
  directory: string,
  format: Format,
  isExternal: boolean,
): Promise<string> {
  const { default: webpack } = await import('webpack');
  const filename = `out.${format === 'esm' ? 'mjs' : 'cjs'}`;
  const isModule = format === 'esm';
  const compiler = webpack({
    mode: 'development',
    devtool: false,
    target: 'node20',
    entry: join(directory, 'program.mjs'),
    output: { path: join(directory, 'built'), filename, module: isModule },
    experiments: { outputModule: isModule },
    ...(isExternal && { externals: { mmdump: `${isModule ? 'module' : 'import'} mmdump` } }),
  });
  await new Promise<void>((resolve, reject) => {
    compiler?.run((error, stats) => {
      if (error) reject(error);
      else if (stats?.hasErrors() === true) reject(new Error(stats.toString('errors-only')));
      else compiler.close(() => resolve());
    });
  });
  return join(directory, 'built', filename);
}

const BUNDLERS: readonly (readonly [name: string, bundle: Bundle])[] = [
  ['esbuild', withEsbuild],
  ['vite', withVite],
  ['webpack', withWebpack],
];

function isInstalled(name: string): boolean {
  try {
    createRequire(import.meta.url).resolve(name);
    return true;
  } catch {
    return false;
  }
}

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'mmdump-bundle-'));
  mkdirSync(join(directory, 'node_modules'));
  symlinkSync(repository, join(directory, 'node_modules', 'mmdump'));
  copyFileSync(program, join(directory, 'program.mjs'));
});
afterEach(() => rmSync(directory, { recursive: true }));

/** Runs the program and returns the lines that it prints. */
function run(file: string): string[] {
  const { stdout, stderr } = spawnSync(process.execPath, [file], { encoding: 'utf8' });
  return `${stdout}${stderr}`.trimEnd().split('\n');
}

describe.each(BUNDLERS)('trial 11: a program that %s has bundled', (name, bundle) => {
  for (const format of ['esm', 'cjs'] as const) {
    it(`trial 11: dumps with two threads and verifies, where the package is external (${format})`, async (context) => {
      if (!isInstalled(name)) context.skip(`${name} is not installed`);
      const lines = run(await bundle(directory, format, true));
      expect(lines).toEqual([
        'machines work',
        '{"ok":true,"pages":128}',
        '{"ok":true,"pages":2048}',
      ]);
    });

    it(`trial 11: says that the package has to be external, where it is not (${format})`, async (context) => {
      if (!isInstalled(name)) context.skip(`${name} is not installed`);
      const lines = run(await bundle(directory, format, false));
      const advice = expect.stringMatching(
        /^PACKAGE_BUNDLED: .*leave the package out of the bundle/,
      );
      expect(lines).toEqual(['machines work', advice, advice]);
    });
  }
});
