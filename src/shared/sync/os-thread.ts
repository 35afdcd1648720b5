/**
 * The thread of the operating system that runs a JavaScript thread. It ends when the JavaScript
 * thread ends, whatever the cause. Linux lists all threads of this process in /proc/self/task. A
 * number may be given to another thread later; the times at which the threads started tell the two
 * apart.
 *
 * On other systems, or if /proc is not mounted, no thread is known, and none is ever found to have
 * ended.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { errnoOf } from '../errors.ts';

/** What identifies a thread of the operating system. */
export interface OsThread {
  /** Its number, below 2^22. 0: unknown. */
  readonly tid: number;
  /**
   * When it started, in clock ticks since boot, modulo 2^31. 0: unknown; a known time is never 0.
   */
  readonly start: number;
}

/**
 * Field 22 of a stat file, as an index from the state on, which follows the name in parentheses.
 */
const START_FIELD = 19;
const UNKNOWN: OsThread = { tid: 0, start: 0 };

let mine: OsThread | undefined;

/** The thread that runs this code. */
export function thisOsThread(): OsThread {
  mine ??= lookAtMyself();
  return mine;
}

/**
 * Whether the thread has certainly ended. In case of doubt the answer is false: /proc may be gone,
 * or no descriptor may be left to read it with.
 */
export function hasEnded({ tid, start }: OsThread): boolean {
  const self = thisOsThread();
  if (tid === 0 || self.tid === 0 || tid === self.tid) return false;
  const found = startOf(tid);
  if (found === 'unknown') return false;
  if (found !== 'none') return start !== 0 && found !== start;
  return startOf(self.tid) === self.start; // /proc still shows this process
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
