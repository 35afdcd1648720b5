/** XXH3-64 by the xxHash project's own code, as compiled by hash-wasm. */
import { createXXHash3 } from 'hash-wasm';

const hasher = await createXXHash3();

/** The digest in the byte order of images: little-endian. */
export function xxh3Outside(bytes: Uint8Array): Buffer {
  return Buffer.from(hasher.init().update(bytes).digest('binary')).reverse();
}
