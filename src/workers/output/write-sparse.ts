/** Writes to a file that is all zeros so far. Blocks of zeros are left out and stay holes. */
import { isZeroPage } from '../../mmu/tables/classify.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { WorkerFaults } from '../task/worker-faults.ts';
import { writeAt } from './write-at.ts';

/**
 * Writes `bytes` at byte `offset` of the file, except for blocks of 4096 bytes, aligned in the
 * file, that are all zeros. Throws OUTPUT_FAILED.
 *
 * Preconditions: `bytes` begins at a multiple of 4 in its buffer. Nothing was written to this part
 * of the file before.
 */
export function writeSparse(
  fd: number,
  path: string,
  bytes: Uint8Array,
  offset: number,
  faults?: WorkerFaults,
): void {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  let from = 0; // the bytes before this are written, or stay holes
  const first = (PAGE_SIZE - (offset % PAGE_SIZE)) % PAGE_SIZE;
  for (let at = first; at + PAGE_SIZE <= bytes.length; at += PAGE_SIZE) {
    if (!isZeroPage(words, at >> 2)) continue;
    if (at > from) writeAt(fd, path, bytes.subarray(from, at), offset + from, faults);
    from = at + PAGE_SIZE;
  }
  if (from < bytes.length) writeAt(fd, path, bytes.subarray(from), offset + from, faults);
}
