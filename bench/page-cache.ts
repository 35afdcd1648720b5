/** The page cache of the system: how to make it cold, and how much memory there is beside it. */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { reasonOf } from '../src/shared/errors.ts';

const DROP = '/proc/sys/vm/drop_caches';

/** Why the page cache cannot be dropped here; undefined where it can. */
export function whyNoDrop(): string | undefined {
  try {
    closeSync(openSync(DROP, 'w'));
    return undefined;
  } catch (error) {
    return `${DROP}: ${reasonOf(error)}`;
  }
}

/**
 * Drops all clean pages of the page cache, so that programs and files are read from the disk again.
 * Pages that are not written yet stay: settle the disk before.
 */
export function dropPageCache(): void {
  const file = openSync(DROP, 'w');
  try {
    writeSync(file, '1');
  } finally {
    closeSync(file);
  }
}

/** Bytes that programs can still take without swapping. */
export function availableBytes(): number {
  const found = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'latin1'));
  return Number(found?.[1]) * 1024;
}
