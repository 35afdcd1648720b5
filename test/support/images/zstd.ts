/** zstd of this Node, for tests: undefined on a version that has none. */
import * as zlib from 'node:zlib';

type Coder = (bytes: Uint8Array, options: object) => Buffer;
const { zstdCompressSync, zstdDecompressSync, constants } = zlib as unknown as {
  readonly zstdCompressSync?: Coder;
  readonly zstdDecompressSync?: Coder;
  readonly constants: { readonly [name: string]: number };
};

export const HAS_ZSTD: boolean = zstdCompressSync !== undefined;
export const WHY_SKIPPED = `Node ${process.versions.node} has no zstd`;

/** Compresses bytes as docs/IMAGE_FORMAT.md says: one frame of level 1, with its length. */
export function zstdOf(bytes: Uint8Array): Buffer {
  const params = { [constants.ZSTD_c_compressionLevel!]: 1 };
  return zstdCompressSync!(bytes, { params, pledgedSrcSize: bytes.length });
}

/** The `length` bytes in a frame, or null if it does not have just as many. */
export function fromZstd(frame: Uint8Array, length: number): Buffer | null {
  try {
    const params = { [constants.ZSTD_d_windowLogMax!]: 21 };
    const bytes = zstdDecompressSync!(frame, { params, maxOutputLength: length });
    return bytes.length === length ? bytes : null;
  } catch {
    return null;
  }
}
