/** Writes to a file at an offset. To the caller a write is complete, or it has failed. */
import { writeSync } from 'node:fs';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import type { WorkerFaults } from '../task/worker-faults.ts';

/**
 * Writes all bytes at byte `offset` of the file, and continues short writes. Throws OUTPUT_FAILED
 * with the path and the offset.
 */
export function writeAt(
  fd: number,
  path: string,
  bytes: Uint8Array,
  offset: number,
  faults?: WorkerFaults,
): void {
  for (let done = 0; done < bytes.length; ) {
    let count: number;
    try {
      const wanted = faults?.beforeWrite(bytes.length - done) ?? bytes.length - done;
      count = writeSync(fd, bytes, done, wanted, offset + done);
    } catch (error) {
      throw failure(path, offset + done, reasonOf(error), errnoOf(error) ?? 'EIO');
    }
    if (count === 0) throw failure(path, offset + done, 'nothing was written', 'EIO');
    done += count;
  }
}

function failure(path: string, offset: number, reason: string, errno: string): MmdumpError {
  return new MmdumpError('OUTPUT_FAILED', `${path}: write at byte ${offset} failed: ${reason}`, {
    path,
    offset,
    reason,
    errno,
  });
}
