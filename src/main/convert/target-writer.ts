/** Writes an image into the target of a sink from the beginning to the end, in one thread. */
import { writeSync } from 'node:fs';
import { assert } from '../../shared/assert.ts';
import type { CopyTarget } from '../../shared/dump/tasks/copy-target.ts';
import { partPath } from '../../shared/formats/parts.ts';
import { outputFailed } from '../sinks/output-error.ts';

/** Takes the bytes of an image in order. */
export class TargetWriter {
  /** Bytes that are written. */
  offset = 0;
  readonly #target: CopyTarget;

  constructor(target: CopyTarget) {
    assert(target.kind !== 'stream', 'a stream has slots, which only workers fill');
    this.#target = target;
  }

  /** Writes the next bytes. Throws OUTPUT_FAILED. */
  write(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      done += this.#writeSome(bytes.subarray(done));
    }
  }

  /** Writes as many bytes as fit into one piece of the target. Returns how many. */
  #writeSome(bytes: Uint8Array): number {
    const target = this.#target;
    const { offset } = this;
    let count = bytes.length;
    if (target.kind === 'memory') {
      const at = offset % target.chunkBytes;
      count = Math.min(count, target.chunkBytes - at);
      const chunk = target.chunks[Math.floor(offset / target.chunkBytes)]!;
      new Uint8Array(chunk.buffer, chunk.at + at, count).set(bytes.subarray(0, count));
    } else if (target.kind === 'parts') {
      const part = Math.floor(offset / target.partBytes);
      const at = offset % target.partBytes;
      count = Math.min(count, target.partBytes - at);
      count = writeAt(target.fds[part]!, partPath(target.path, part), bytes, count, at);
    } else if (target.kind === 'file') {
      count = writeAt(target.fd, target.path, bytes, count, offset);
    }
    this.offset += count;
    return count;
  }
}

function writeAt(fd: number, path: string, bytes: Uint8Array, count: number, at: number): number {
  try {
    return writeSync(fd, bytes, 0, count, at);
  } catch (error) {
    throw outputFailed(path, `cannot be written at byte ${at}`, error);
  }
}
