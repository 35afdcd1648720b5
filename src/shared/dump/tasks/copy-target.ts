import type { WasmMemory } from '../../wasm.ts';
import type { RingBuffers } from '../segment-ring.ts';

/** Where the bytes of an image go. */
export type CopyTarget =
  | {
      readonly kind: 'file';
      readonly fd: number;
      readonly path: string;
      /** Blocks of zeros are not written and remain holes. The file has its full length already. */
      readonly sparse: boolean;
    }
  | {
      readonly kind: 'parts';
      /** Descriptors of the parts, in order: see ../../formats/parts.ts. */
      readonly fds: readonly number[];
      /** Path of the image. The name of a part is this path and a number. */
      readonly path: string;
      readonly partBytes: number;
      readonly sparse: boolean;
      /** The words of PartClaims. */
      readonly claims: SharedArrayBuffer;
      /** What `firstOfParts` returned. */
      readonly firstUnits: readonly number[];
    }
  | {
      readonly kind: 'memory';
      readonly chunks: readonly ImageChunk[];
      readonly chunkBytes: number;
    }
  | { readonly kind: 'stream'; readonly ring: RingBuffers };

/** Memory for one chunk of an image. */
export interface ImageChunk {
  readonly buffer: SharedArrayBuffer;
  /** Byte of `buffer` at which the chunk begins, a multiple of 4, and its length in bytes. */
  readonly at: number;
  readonly bytes: number;
  /** The wasm memory that `buffer` belongs to, if any. Kernels can write into it. */
  readonly memory: WasmMemory | undefined;
}
