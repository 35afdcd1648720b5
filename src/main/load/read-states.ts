/** Reads what an image holds beside memory, for a restore. */
import { MmdumpError } from '../../shared/errors.ts';
import { MiB } from '../../shared/page.ts';
import type { ImageContents } from '../image/read/image-contents.ts';

/** Default of `maxStateBytes`. */
const STATE_BYTES = 64 * MiB;

/**
 * Reads and checks the states. IMAGE_TOO_LARGE if they have more bytes than that altogether, before
 * any of them is read.
 */
export async function readStates(
  image: ImageContents,
  maxStateBytes: number = STATE_BYTES,
  signal?: AbortSignal,
): Promise<{ [name: string]: Uint8Array }> {
  const total = image.states.reduce((sum, { bytes }) => sum + bytes, 0);
  if (total > maxStateBytes) {
    const message =
      `${image.source.name}: its state has ${total} bytes, more than ${maxStateBytes}; ` +
      "to restore it all the same, raise 'maxStateBytes'";
    throw new MmdumpError('IMAGE_TOO_LARGE', message);
  }
  const read: [string, Uint8Array][] = [];
  for (const { name } of image.states) read.push([name, await image.state(name, signal)]);
  return Object.fromEntries(read);
}
