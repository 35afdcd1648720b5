/**
 * Where the other files of the package lie. The build keeps this module in a chunk beside
 * main/index.js (scripts/build.mjs). No other module finds files by the place of its own code.
 *
 * A bundler that takes this code into a program leaves those files behind, because a worker thread
 * is a file of its own and in no bundle. The functions below then throw PACKAGE_BUNDLED, when a
 * file is needed (docs/BUNDLERS.md).
 */
import { existsSync } from 'node:fs';
import { MmdumpError } from '../../shared/errors.ts';

/** Defined in bundles of webpack, which gives a module the URL that its source had. */
declare const __webpack_require__: unknown;

/** The module whose functions are the tasks of a pool. */
export function tasksUrl(): string {
  return fileOf('../workers/tasks.js').href;
}

/** A compiled kernel, by its name. */
export function kernelUrl(name: string): URL {
  return fileOf(`../workers/kernels/${name}.wasm`);
}

/** The package's own description. */
export function packageUrl(): URL {
  return fileOf('../../package.json');
}

/** The program that the demonstration reads. */
export function demoTargetUrl(): URL {
  return fileOf('./demo/target.js');
}

/** A file of the report page: its script, or its style. */
export function reportPageUrl(name: 'page.js' | 'page.css'): URL {
  return fileOf(`../report/${name}`);
}

/** The URL of a file of the package. PACKAGE_BUNDLED if it cannot be found from here. */
function fileOf(path: string): URL {
  // In a bundle in CommonJS form `import.meta` is empty.
  const { url: here } = import.meta as { readonly url?: string };
  const isWebpack = typeof __webpack_require__ !== 'undefined';
  const url = here === undefined || isWebpack ? undefined : new URL(path, here);
  if (url !== undefined && existsSync(url)) return url;
  const name = path.slice(path.lastIndexOf('/') + 1);
  throw new MmdumpError(
    'PACKAGE_BUNDLED',
    `mmdump was bundled into another file and cannot find its own ${name}: leave the package out ` +
      'of the bundle (esbuild --external:mmdump; vite ssr.external; webpack externals; ' +
      'see docs/BUNDLERS.md)',
    here === undefined ? {} : { path: here },
  );
}
