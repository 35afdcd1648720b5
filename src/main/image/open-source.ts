/** Finding the bytes of an image: in memory, in a file, in the parts of one. */
import { MmdumpError } from '../../shared/errors.ts';
import { imageOfFirstPart, partPath } from '../../shared/image/parts.ts';
import type { MemoryImage } from '../sinks/memory-sink.ts';
import { type ByteSource, FileSource, MemorySource, openFile } from './byte-source.ts';
import { openParts } from './part-source.ts';

/**
 * Opens a file or a memory sink's image. Where there is no file `OUT` its parts are opened, if
 * `OUT.000` is there; so they are for the path of that first part. INPUT_FAILED.
 */
export async function openSource(from: string | MemoryImage): Promise<ByteSource> {
  if (typeof from !== 'string') return new MemorySource(from);
  const image = imageOfFirstPart(from);
  if (image !== undefined) return await openParts(image);
  try {
    const { handle, bytes } = await openFile(from);
    return new FileSource(from, handle, bytes);
  } catch (error) {
    if (!isMissing(error, from)) throw error;
    return await openParts(from).catch((reason: unknown) => {
      throw isMissing(reason, partPath(from, 0)) ? error : reason;
    });
  }
}

function isMissing(error: unknown, path: string): boolean {
  if (!(error instanceof MmdumpError)) return false;
  return error.fields.errno === 'ENOENT' && error.fields.path === path;
}
