/** Writes a finished segment of an image to its file, or to the files of its parts. */
import type { CopyTarget } from '../../shared/dump/tasks/copy-target.ts';
import { partPath } from '../../shared/formats/parts.ts';
import type { WorkerFaults } from '../task/worker-faults.ts';
import { writeAt } from './write-at.ts';
import { writeSparse } from './write-sparse.ts';

/** A target that consists of files. */
export type FilesTarget = Extract<CopyTarget, { kind: 'file' | 'parts' }>;

/**
 * Writes `bytes` at byte `offset` of the image. If they straddle parts, each part gets a write of
 * its own. Throws OUTPUT_FAILED with the file and the offset in it.
 *
 * Precondition: `bytes` begins at a multiple of 4 in its buffer.
 */
export function deliver(
  target: FilesTarget,
  bytes: Uint8Array,
  offset: number,
  faults: WorkerFaults | undefined,
): void {
  const write = target.sparse ? writeSparse : writeAt;
  if (target.kind === 'file') {
    write(target.fd, target.path, bytes, offset, faults);
    return;
  }
  const { fds, path, partBytes } = target;
  for (let done = 0; done < bytes.length; ) {
    const part = Math.floor((offset + done) / partBytes);
    const at = (offset + done) % partBytes;
    const count = Math.min(bytes.length - done, partBytes - at);
    write(fds[part]!, partPath(path, part), bytes.subarray(done, done + count), at, faults);
    done += count;
  }
}
