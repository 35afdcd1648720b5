/** `--workers` of the commands that have it. */
import { statSync } from 'node:fs';
import type { DumperOptions } from '../dumper.ts';

/** `expectedBytes`: what the command will be about, as far as that is known before. */
export function workersOption(workers: number | undefined, expectedBytes?: number): DumperOptions {
  if (workers !== undefined) return { workers };
  return expectedBytes === undefined ? {} : { expectedBytes };
}

/** Bytes of a file; undefined where that cannot be told, which whoever opens it will explain. */
export function sizeOf(path: string): number | undefined {
  try {
    const found = statSync(path);
    return found.isFile() ? found.size : undefined;
  } catch {
    return undefined;
  }
}
