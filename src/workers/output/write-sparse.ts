/** Writing to a file that is zeros so far: blocks of zeros are left out, and stay holes. */
import { isZeroPage } from '../../mmu/tables/classify.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { WorkerFaults } from '../task/worker-faults.ts';
import { writeAt } from './write-at.ts';

/**
 * Writes `bytes` (they begin at a multiple of 4 in their buffer) at `offset`, but for those blocks of
 * 4096 bytes, aligned in the file, that are zeros. Nothing was written there before. OUTPUT_FAILED.
 */
export function writeSparse(
  fd: number,
  path: string,
  bytes: Uint8Array,
  offset: number,
  faults?: WorkerFaults,
): void {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  let from = 0; // what is before is written, or a hole
  const first = (PAGE_SIZE - (offset % PAGE_SIZE)) % PAGE_SIZE;
  for (let at = first; at + PAGE_SIZE <= bytes.length; at += PAGE_SIZE) {
    if (!isZeroPage(words, at >> 2)) continue;
    if (at > from) writeAt(fd, path, bytes.subarray(from, at), offset + from, faults);
    from = at + PAGE_SIZE;
  }
  if (from < bytes.length) writeAt(fd, path, bytes.subarray(from), offset + from, faults);
}
