/** XXH3-64 by the code of the xxHash project itself, as hash-wasm has compiled it. */
import { createXXHash3 } from 'hash-wasm';

const hasher = await createXXHash3();

/** In the order in which images have its bytes: little-endian. */
export function xxh3Outside(bytes: Uint8Array): Buffer {
  return Buffer.from(hasher.init().update(bytes).digest('binary')).reverse();
}
