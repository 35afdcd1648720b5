/** The option `--workers`. */
import { statSync } from 'node:fs';
import type { DumperOptions } from '../crew/dumper-options.ts';

/** `expectedBytes` is the amount of data that the command will work on, if it is known by now. */
export function workersOption(workers: number | undefined, expectedBytes?: number): DumperOptions {
  if (workers !== undefined) return { workers };
  return expectedBytes === undefined ? {} : { expectedBytes };
}

/** Bytes of a file; undefined where that is not known. Opening the file will give the reason. */
export function sizeOf(path: string): number | undefined {
  try {
    const found = statSync(path);
    return found.isFile() ? found.size : undefined;
  } catch {
    return undefined;
  }
}
