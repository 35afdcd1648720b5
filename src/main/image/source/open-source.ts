/** Finds the bytes of an image: in memory, in a file, or in the parts of an image. */
import { bytesOf } from '../../../shared/arguments/bytes.ts';
import {
  instanceOf,
  list,
  number,
  optional,
  pathname,
  wholeNumber,
} from '../../../shared/arguments/checks.ts';
import { optionsOf, record, type Shape } from '../../../shared/arguments/options.ts';
import { refusal } from '../../../shared/arguments/refuse.ts';
import { MmdumpError } from '../../../shared/errors.ts';
import { imageOfFirstPart, partPath } from '../../../shared/formats/parts.ts';
import type { MemoryImage } from '../../sinks/memory-sink.ts';
import { type ByteSource, FileSource, MemorySource, openFile } from './byte-source.ts';
import { openParts } from './part-source.ts';

/** Checks where an image comes from: a path, or the image of a memory sink. OPTION_INVALID. */
export function imageSource(what: string, value: unknown): string | MemoryImage {
  if (typeof value === 'string') return pathname(what, value);
  if (typeof value !== 'object' || value === null) {
    throw refusal(what, value, 'the path of an image, or the image of a memory sink');
  }
  const image = optionsOf(what, value, MEMORY_IMAGE);
  const { bytes, chunks, chunkBytes } = image;
  const isWhole =
    chunks.length >= Math.ceil(bytes / chunkBytes) &&
    chunks.every(({ length }, at) => length >= Math.min(chunkBytes, bytes - at * chunkBytes));
  if (isWhole) return image;
  throw refusal(
    `${what}.chunks`,
    chunks,
    `chunks of ${chunkBytes} bytes that hold ${bytes} bytes together`,
  );
}

const MEMORY_IMAGE: Shape<MemoryImage> = {
  bytes: wholeNumber(0),
  chunks: list(bytesOf),
  chunkBytes: wholeNumber(1),
  lease: optional(
    record<NonNullable<MemoryImage['lease']>>({
      word: instanceOf(Int32Array, 'an Int32Array'),
      value: number,
    }),
  ),
};

/**
 * Opens a file, the parts of an image, or the image of a memory sink. The parts are opened for the
 * path `OUT.000`, and for the path `OUT` if there is no such file but there is `OUT.000`.
 * INPUT_FAILED if there is no image.
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
