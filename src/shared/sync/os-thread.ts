/**
 * The thread of the operating system below a JavaScript thread: it lives and dies with it, however
 * the latter ends. Linux shows every thread of this process under /proc/self/task; a number that is
 * given to another thread later is told apart by the time at which its thread started.
 *
 * Elsewhere, or where /proc is not mounted, nobody is known and nobody is ever found to have ended.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { errnoOf } from '../errors.ts';

export interface OsThread {
  /** Its number, below 2^22; 0: unknown. */
  readonly tid: number;
  /** When it started, in clock ticks since boot, modulo 2^31, never 0; 0: unknown. */
  readonly start: number;
}

/** Field 22 of a stat file, counted from the state, which follows the name in parentheses. */
const START_FIELD = 19;
const UNKNOWN: OsThread = { tid: 0, start: 0 };

let mine: OsThread | undefined;

/** The one that runs this code. */
export function thisOsThread(): OsThread {
  mine ??= lookAtMyself();
  return mine;
}

/**
 * Whether the thread has ended for certain. In doubt it has not: /proc may be gone, or there may be
 * no descriptor left to read it with.
 */
export function hasEnded({ tid, start }: OsThread): boolean {
  const self = thisOsThread();
  if (tid === 0 || self.tid === 0 || tid === self.tid) return false;
  const found = startOf(tid);
  if (found === 'unknown') return false;
  if (found !== 'none') return start !== 0 && found !== start;
  return startOf(self.tid) === self.start; // /proc is the one that it was
}

function lookAtMyself(): OsThread {
  try {
    const tid = Number(/\/task\/(\d+)$/.exec(readlinkSync('/proc/thread-self'))?.[1] ?? 0);
    const start = startOf(tid);
    return typeof start === 'number' ? { tid, start } : UNKNOWN;
  } catch {
    return UNKNOWN;
  }
}

function startOf(tid: number): number | 'none' | 'unknown' {
  try {
    const stat = readFileSync(`/proc/self/task/${tid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const ticks = Number(fields[START_FIELD]);
    return Number.isSafeInteger(ticks) ? ticks % 0x8000_0000 || 1 : 'unknown';
  } catch (error) {
    const errno = errnoOf(error);
    return errno === 'ENOENT' || errno === 'ESRCH' ? 'none' : 'unknown';
  }
}
