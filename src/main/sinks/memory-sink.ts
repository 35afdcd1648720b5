/**
 * An image in memory: shared buffers, kept and reused by the next dump into the same sink, since
 * memory that was touched before is several times quicker. An image that has grown gets more chunks,
 * and the chunks that are there stay. All of a chunk is reserved at once: the system gives the memory
 * as it is touched, so what is reserved and not used costs address space only.
 */

import type { Machine } from '../../mmu/machine.ts';
import type { CopyTarget, ImageChunk, SharedBytes } from '../../shared/dump/tasks.ts';
import { MmdumpError } from '../../shared/errors.ts';
import type { FaultPlan } from '../../shared/faults.ts';
import { GiB, MiB, PAGE_SIZE } from '../../shared/page.ts';
import { Memory, WASM_PAGE } from '../../shared/wasm.ts';
import { failMemoryAt } from '../faults.ts';
import { loadKernels } from '../kernels.ts';
import { MachineRoom } from './machine-room.ts';
import type { ImageExtent, Sink } from './sink.ts';

/** An image in memory, as `openImage` takes it. */
export type MemoryImage = SharedBytes;

export interface MemorySinkOptions {
  /**
   * Bytes of a chunk: a multiple of 4096, at most 2 GiB. Default 256 MiB, with `machine` 2 GiB. An
   * image that is shorter than a chunk lies in one that is shorter, too.
   */
  readonly chunkBytes?: number;
  /**
   * A machine that will be dumped here, of at most 2 GiB. On Node 20 the image then lies in the machine's
   * own memory, behind the frames, where the quickest copies reach it; a later Node needs no such help.
   * Once taken, that room stays with the machine: it is not given back to the system before, and only
   * `release` gives it to the machine's next sink. Without room the image lies where it always does.
   */
  readonly machine?: Machine;
  /** For tests of failures: faults at named points (docs/RELIABILITY.md). Default: none. */
  readonly faults?: FaultPlan;
}

const MAX_CHUNK = 2 * GiB;
/** Growing beyond a chunk costs one of these at most, and 64 GiB of image need 256 of them. */
const DEFAULT_CHUNK = 256 * MiB;
/** An only chunk is reserved for an image that is so many times as long. */
const SPARE = 2;
/** From here on a chunk is worth a wasm memory of its own, which takes 10 GiB of address space. */
const WASM_CHUNK = 16 * MiB;

export class MemorySink implements Sink {
  readonly kind = 'memory';
  readonly path: null = null;
  readonly #chunkBytes: number;
  readonly #faults: FaultPlan | undefined;
  #chunks: ImageChunk[] = [];
  readonly #room: MachineRoom | undefined;
  #bytes = 0;
  #image: MemoryImage | undefined;
  /** ImageLease.word: counts what has ended the life of an image here. */
  readonly #generation = new Int32Array(new SharedArrayBuffer(4));

  constructor(options: MemorySinkOptions = {}) {
    const isHelped = options.machine !== undefined && loadKernels().between === undefined;
    const chunkBytes = options.chunkBytes ?? (isHelped ? MAX_CHUNK : DEFAULT_CHUNK);
    const isValid = Number.isSafeInteger(chunkBytes) && chunkBytes > 0 && chunkBytes <= MAX_CHUNK;
    if (!isValid || chunkBytes % 4096 !== 0) {
      throw new MmdumpError(
        'OPTION_INVALID',
        `chunkBytes: ${chunkBytes}: expected a multiple of 4096 up to ${MAX_CHUNK}`,
      );
    }
    this.#chunkBytes = chunkBytes;
    this.#faults = options.faults;
    this.#room = isHelped ? new MachineRoom(options.machine) : undefined;
  }

  /**
   * The image of the last dump. Valid until the next dump into this sink begins, or the sink is
   * released: reading, verifying or restoring it is INPUT_FAILED from then on. The bytes themselves are
   * written again, so somebody who reads `chunks` directly has to be done before.
   */
  get image(): MemoryImage {
    if (this.#image === undefined) {
      throw new MmdumpError('INPUT_FAILED', 'the memory sink holds no finished image');
    }
    return this.#image;
  }

  async open(): Promise<void> {
    this.#forget();
  }

  /** Before the first byte of it is written again. */
  #forget(): void {
    this.#image = undefined;
    Atomics.add(this.#generation, 0, 1);
  }

  async reserve({ bytes }: ImageExtent): Promise<CopyTarget> {
    const chunkBytes = this.#chunkBytes;
    const count = Math.ceil(bytes / chunkBytes);
    try {
      for (let index = 0; index < count; index++) {
        failMemoryAt('buffer', this.#faults);
        const needed = Math.min(chunkBytes, bytes - index * chunkBytes);
        const kept = this.#chunks[index];
        const room = count === 1 ? this.#room?.reserve(needed) : undefined;
        if (room === undefined && kept !== undefined && kept.bytes >= needed) continue;
        const spare = count === 1 ? needed * SPARE : chunkBytes;
        this.#chunks[index] = room ?? newChunk(needed, Math.min(chunkBytes, spare));
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
      chunks: this.#chunks.slice(0, count).map(viewOf),
      chunkBytes: this.#chunkBytes,
      lease: { word: this.#generation, value: Atomics.load(this.#generation, 0) },
    };
  }

  async abort(): Promise<void> {
    this.#image = undefined;
  }

  /** Lets the buffers go. */
  release(): void {
    this.#forget();
    this.#chunks = [];
    this.#room?.release();
  }
}

function viewOf({ buffer, at, bytes }: ImageChunk): Uint8Array {
  return new Uint8Array(buffer, at, bytes);
}

/** Memory for `needed` bytes of an image, and for `wanted` if the system reserves so many. */
function newChunk(needed: number, wanted: number): ImageChunk {
  try {
    return reserveChunk(wanted);
  } catch (error) {
    if (wanted === needed) throw error;
    return reserveChunk(needed);
  }
}

/** Where Node has kernels that reach the memory of a chunk, such memory. */
function reserveChunk(bytes: number): ImageChunk {
  if (bytes < WASM_CHUNK || loadKernels().between === undefined) return ordinaryChunk(bytes);
  const pages = Math.ceil(bytes / WASM_PAGE);
  try {
    const memory = new Memory({ initial: pages, maximum: pages, shared: true });
    const { buffer } = memory;
    return { buffer, at: 0, bytes: buffer.byteLength, memory };
  } catch {
    return ordinaryChunk(bytes); // the address space is short: the slower way is left
  }
}

function ordinaryChunk(needed: number): ImageChunk {
  const bytes = Math.ceil(needed / PAGE_SIZE) * PAGE_SIZE;
  return { buffer: new SharedArrayBuffer(bytes), at: 0, bytes, memory: undefined };
}

export function memorySink(options: MemorySinkOptions = {}): MemorySink {
  return new MemorySink(options);
}
