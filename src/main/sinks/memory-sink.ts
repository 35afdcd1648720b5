/**
 * An image in memory: shared buffers of at most 2 GiB, kept and reused by the next dump into the
 * same sink (memory that was touched before is several times quicker).
 */

import type { CopyTarget, SharedBytes } from '../../shared/dump/tasks.ts';
import { MmdumpError } from '../../shared/errors.ts';
import type { FaultPlan } from '../../shared/faults.ts';
import { GiB } from '../../shared/page.ts';
import { failMemoryAt } from '../faults.ts';
import type { ImageExtent, Sink } from './sink.ts';

/** An image in memory, as `openImage` takes it. */
export type MemoryImage = SharedBytes;

export interface MemorySinkOptions {
  /** Bytes of a chunk: a multiple of 4096, at most 2 GiB (the default). */
  readonly chunkBytes?: number;
  /** For tests of failures: faults at named points (docs/RELIABILITY.md). Default: none. */
  readonly faults?: FaultPlan;
}

const MAX_CHUNK = 2 * GiB;

export class MemorySink implements Sink {
  readonly kind = 'memory';
  readonly path: null = null;
  readonly #chunkBytes: number;
  readonly #faults: FaultPlan | undefined;
  #chunks: SharedArrayBuffer[] = [];
  #bytes = 0;
  #image: MemoryImage | undefined;

  constructor(options: MemorySinkOptions = {}) {
    const chunkBytes = options.chunkBytes ?? MAX_CHUNK;
    const isValid = Number.isSafeInteger(chunkBytes) && chunkBytes > 0 && chunkBytes <= MAX_CHUNK;
    if (!isValid || chunkBytes % 4096 !== 0) {
      throw new MmdumpError(
        'OPTION_INVALID',
        `chunkBytes: ${chunkBytes}: expected a multiple of 4096 up to ${MAX_CHUNK}`,
      );
    }
    this.#chunkBytes = chunkBytes;
    this.#faults = options.faults;
  }

  /** The image of the last dump. Valid until the next dump into this sink begins. */
  get image(): MemoryImage {
    if (this.#image === undefined) {
      throw new MmdumpError('INPUT_FAILED', 'the memory sink holds no finished image');
    }
    return this.#image;
  }

  async open(): Promise<void> {
    this.#image = undefined;
  }

  async reserve({ bytes }: ImageExtent): Promise<CopyTarget> {
    const chunkBytes = this.#chunkBytes;
    const count = Math.ceil(bytes / chunkBytes);
    try {
      for (let index = 0; index < count; index++) {
        failMemoryAt('buffer', this.#faults);
        const needed = Math.min(chunkBytes, bytes - index * chunkBytes);
        const kept = this.#chunks[index];
        if (kept !== undefined && kept.byteLength >= needed) continue;
        this.#chunks[index] = new SharedArrayBuffer(Math.ceil(needed / 4096) * 4096);
      }
    } catch (error) {
      throw new MmdumpError('OUTPUT_FAILED', `no memory for an image of ${bytes} bytes`, {}, error);
    }
    this.#bytes = bytes;
    return { kind: 'memory', chunks: this.#chunks.slice(0, count), chunkBytes };
  }

  async commit(): Promise<void> {
    const count = Math.ceil(this.#bytes / this.#chunkBytes);
    this.#image = {
      bytes: this.#bytes,
      chunks: this.#chunks.slice(0, count),
      chunkBytes: this.#chunkBytes,
    };
  }

  async abort(): Promise<void> {
    this.#image = undefined;
  }

  /** Lets the buffers go. */
  release(): void {
    this.#image = undefined;
    this.#chunks = [];
  }
}

export function memorySink(options: MemorySinkOptions = {}): MemorySink {
  return new MemorySink(options);
}
