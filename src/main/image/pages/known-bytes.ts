/** Reads bytes of an image in address order, and tells what it knows from what it does not. */
import type { AddressRange } from '../../../mmu/machine/prefetch.ts';
import { KiB, PAGE_SIZE } from '../../../shared/page.ts';
import { Yielder } from '../../job/stop.ts';
import type { ImageMm } from '../index/image-mm.ts';
import type { ImageContents } from '../read/image-contents.ts';

/** What becomes of bytes that the image does not know. */
export type Holes = 'refuse' | 'zeros' | 'skip';

/** Most bytes of a chunk of a stream. */
export const CHUNK_BYTES: number = 256 * KiB;

/** Runs a job on the contents of an image, which stays open meanwhile. IMAGE_CLOSED. */
export type Use = <T>(job: (contents: ImageContents) => Promise<T>) => Promise<T>;

/** Neighbouring bytes that are all known to the image, or all not. */
export interface Extent {
  readonly isKnown: boolean;
  readonly bytes: number;
}

/**
 * The first of `most` bytes from `address` on that have one answer. Precondition: all ancestors are
 * open.
 */
export function extentAt(
  contents: ImageContents,
  mm: ImageMm,
  address: number,
  most: number,
): Extent {
  let isKnown = false;
  let bytes = 0;
  while (bytes < most) {
    const found = contents.look(mm, address + bytes, most - bytes);
    const isNextKnown = found.kind !== 'absent';
    if (bytes === 0) isKnown = isNextKnown;
    else if (isKnown !== isNextKnown) break;
    // Where no mapping is, `look` answers for all bytes up to the next block.
    bytes += isNextKnown ? found.bytes : Math.min(found.bytes, untilNextVma(mm, address + bytes));
  }
  return { isKnown, bytes };
}

/** Bytes from `address` up to the next mapping that begins behind it. */
function untilNextVma({ vmas }: ImageMm, address: number): number {
  let low = 0;
  let high = vmas.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (vmas[middle]!.start > address) high = middle;
    else low = middle + 1;
  }
  return (vmas[low]?.start ?? Number.POSITIVE_INFINITY) - address;
}

/**
 * The bytes of a range in the order of addresses, in chunks that are the reader's own. With
 * 'refuse' it throws PAGE_ABSENT before the first chunk if there is a hole.
 */
export async function* bytesIn(
  use: Use,
  ordinal: number | undefined,
  { address, length }: AddressRange,
  holes: Holes,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const end = address + length;
  const yielder = new Yielder(signal);
  const mm = await use(async (contents) => {
    const found = contents.mm(ordinal);
    await contents.openChain(signal);
    if (holes === 'refuse') await refuseHoles(contents, found, address, end, yielder);
    return found;
  });
  for (let at = address; at < end; ) {
    if (yielder.isDue()) await yielder.yield();
    const chunk = await use(async (contents) => {
      // Chunks end at multiples of their length, so that few blocks are read in parts.
      const most = Math.min(end - at, CHUNK_BYTES - (at % CHUNK_BYTES));
      const { isKnown, bytes } = extentAt(contents, mm, at, most);
      if (!isKnown && holes === 'skip') return bytes;
      const into = new Uint8Array(bytes);
      if (isKnown) await contents.read(mm, at, into);
      return into;
    });
    if (typeof chunk === 'number') at += chunk;
    else {
      yield chunk;
      at += chunk.length;
    }
  }
}

/** Throws PAGE_ABSENT for the first byte of [address, end) that the image does not know. */
async function refuseHoles(
  contents: ImageContents,
  mm: ImageMm,
  address: number,
  end: number,
  yielder: Yielder,
): Promise<void> {
  for (let at = address; at < end; ) {
    if (yielder.isDue()) await yielder.yield();
    const found = contents.look(mm, at, end - at);
    if (found.kind === 'absent') await contents.read(mm, at, new Uint8Array(1)); // it says why
    at += found.bytes;
  }
}

/** Bytes of whole pages from `address` on that are known, at most `most`; 0 if none is. */
export function knownPages(
  contents: ImageContents,
  mm: ImageMm,
  address: number,
  most: number,
): number {
  const { isKnown, bytes } = extentAt(contents, mm, address, most);
  return isKnown ? Math.floor(bytes / PAGE_SIZE) * PAGE_SIZE : 0;
}
