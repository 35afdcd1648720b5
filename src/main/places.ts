/**
 * Where other files of the package lie. The build keeps this module in a chunk beside main/index.js
 * (scripts/build.mjs); nothing else finds files from where its own code lies.
 */
/** The module whose functions a pool runs. */
export function tasksUrl(): string {
  return new URL('../workers/tasks.js', import.meta.url).href;
}

export function kernelUrl(name: string): URL {
  return new URL(`../workers/kernels/${name}.wasm`, import.meta.url);
}

export function packageUrl(): URL {
  return new URL('../../package.json', import.meta.url);
}

/** The program that the demonstration reads. */
export function demoTargetUrl(): URL {
  return new URL('./demo/target.js', import.meta.url);
}
