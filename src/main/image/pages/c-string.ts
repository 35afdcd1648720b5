/** Reads a C string of an image: the bytes up to a NUL byte. */
import { MmdumpError } from '../../../shared/errors.ts';
import { hex, PAGE_SIZE, TASK_SIZE } from '../../../shared/page.ts';
import type { ImageMm } from '../index/image-mm.ts';
import type { ImageContents } from '../read/image-contents.ts';

/** How the bytes of a string become text. */
export type StringEncoding = 'utf8' | 'latin1';

/**
 * Reads page by page, so that a string may end right before a page that is not known. SIZE_LIMIT if
 * it has more than `most` bytes, and PAGE_ABSENT, which names the address of the string as well.
 */
export async function readCString(
  contents: ImageContents,
  mm: ImageMm,
  address: number,
  most: number,
  encoding: StringEncoding,
): Promise<string> {
  const bytes = Buffer.alloc(most + 1);
  for (let done = 0; done <= most; ) {
    const at = address + done;
    const count = Math.min(most + 1 - done, PAGE_SIZE - (at % PAGE_SIZE), TASK_SIZE - at);
    const part = bytes.subarray(done, done + count);
    await readPart(contents, mm, address, at, part);
    const end = part.indexOf(0);
    if (end >= 0) return bytes.toString(encoding, 0, done + end);
    done += count;
  }
  const place = `mm ${mm.ordinal}, string at ${hex(address)}`;
  throw new MmdumpError(
    'SIZE_LIMIT',
    `${contents.source.name}: ${place}: it has no NUL byte within ${most} bytes; raise 'most'`,
    { mm: mm.ordinal, address, limit: most },
  );
}

async function readPart(
  contents: ImageContents,
  mm: ImageMm,
  start: number,
  at: number,
  part: Uint8Array,
): Promise<void> {
  try {
    if (part.length === 0) throw endOfUserSpace(contents, at);
    await contents.read(mm, at, part);
  } catch (error) {
    if (!(error instanceof MmdumpError) || error.code !== 'PAGE_ABSENT' || at === start)
      throw error;
    const message = `the string at ${hex(start)} has no end: ${error.message}`;
    throw new MmdumpError('PAGE_ABSENT', message, error.fields);
  }
}

function endOfUserSpace({ source }: ImageContents, address: number): MmdumpError {
  const reason = 'user space ends there';
  const text = `${source.name}: no page at ${hex(address)}: ${reason}`;
  return new MmdumpError('PAGE_ABSENT', text, { address, reason });
}
