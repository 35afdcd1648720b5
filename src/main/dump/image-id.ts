/** The id of an image: it names the image in reports and in `inspect`. */
import { createHash } from 'node:crypto';
import type { Layout } from '../formats/layout.ts';
import type { Turns } from '../stop.ts';

/** Bytes that are hashed at a stretch: a few milliseconds. */
const STRETCH = 2 ** 22;

/** The first 16 bytes of sha256 over all record crcs, in the order of the stream, in hex. */
export async function imageId({ recordCrcs, pieceCount }: Layout, turns: Turns): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < pieceCount * 4; at += STRETCH) {
    if (at > 0) await turns.next();
    hash.update(new Uint8Array(recordCrcs, at, Math.min(STRETCH, pieceCount * 4 - at)));
  }
  return hash.digest('hex').slice(0, 32);
}
