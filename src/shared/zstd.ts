/**
 * Blocks of pages as zstd frames, where Node has zstd: 22.15, 23.8 and later. A block that does not
 * shrink is stored as it is, so a frame is always shorter than the pages.
 */
import * as zlib from 'node:zlib';
import { MmdumpError } from './errors.ts';

/** Level at which blocks are compressed. */
const LEVEL = 1;
/** Binary logarithm of the largest window that a frame may ask for: a block has at most 2 MiB. */
const WINDOW_LOG_MAX = 21;

interface ZstdOptions {
  readonly params: { readonly [param: number]: number };
  readonly chunkSize: number;
  readonly maxOutputLength?: number;
  readonly pledgedSrcSize?: number;
}

/** What newer versions of Node add to node:zlib. */
interface ZstdModule {
  readonly zstdCompressSync?: (bytes: Uint8Array, options: ZstdOptions) => Uint8Array;
  readonly zstdDecompressSync?: (bytes: Uint8Array, options: ZstdOptions) => Uint8Array;
  readonly constants: { readonly [name: string]: number };
}

const { zstdCompressSync, zstdDecompressSync, constants } = zlib as unknown as ZstdModule;
const { ZSTD_c_compressionLevel: LEVEL_PARAM = 0, ZSTD_d_windowLogMax: WINDOW_PARAM = 0 } =
  constants;

/** Whether this Node can compress and decompress. */
export const HAS_ZSTD: boolean = zstdCompressSync !== undefined && zstdDecompressSync !== undefined;

/** ZSTD_MISSING if this Node has no zstd. `what` needs it. */
export function assertZstd(what: string): void {
  if (HAS_ZSTD) return;
  const needed = '22.15, 23.8, or a later version';
  throw new MmdumpError(
    'ZSTD_MISSING',
    `${what} needs zstd, which Node ${process.versions.node} lacks: use Node ${needed}`,
  );
}

/**
 * Compresses the pages of a block. The frame may be longer than they are. Nobody else may write the
 * bytes meanwhile.
 */
export function packBlock(pages: Uint8Array): Uint8Array {
  return zstdCompressSync!(pages, {
    params: { [LEVEL_PARAM]: LEVEL },
    chunkSize: pages.length,
    pledgedSrcSize: pages.length,
  });
}

/** Bytes that a frame of `packed` bytes takes in an image: it is padded to a multiple of 8. */
export function packedRoom(packed: number): number {
  return Math.ceil(packed / 8) * 8;
}

/**
 * Decompresses the frame in the first `packed` bytes of `stored`, which is as long as `packedRoom`
 * says, into `pages`. Returns null, or why that is not possible; `pages` are undefined then. It
 * takes no more memory than `pages` and a window of 2 MiB, whatever the frame says. Nobody else may
 * write the bytes meanwhile. ZSTD_MISSING, with `what` in the message.
 */
export function unpackBlock(
  stored: Uint8Array,
  packed: number,
  pages: Uint8Array,
  what: string,
): string | null {
  assertZstd(what);
  for (let at = packed; at < stored.length; at++) {
    if (stored[at] !== 0) return 'the bytes after its zstd frame are not zero';
  }
  const { length } = pages;
  let found: Uint8Array;
  try {
    found = zstdDecompressSync!(stored.subarray(0, packed), {
      params: { [WINDOW_PARAM]: WINDOW_LOG_MAX },
      chunkSize: length,
      maxOutputLength: length,
    });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const isLonger = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
    if (isLonger) return `its zstd frame has more than the ${length} bytes of its pages`;
    return `it is no zstd frame: ${error.message}`;
  }
  if (found.length !== length) {
    return `its zstd frame has ${found.length} bytes, expected the ${length} of its pages`;
  }
  pages.set(found);
  return null;
}
