/**
 * An image in memory: shared buffers, kept and reused by the next dump into the same sink, since
 * memory that was touched before is several times quicker. An image that has grown gets more chunks,
 * and the chunks that are there stay. All of a chunk is reserved at once: the system gives the memory
 * as it is touched, so what is reserved and not used costs address space only.
 */

import { Machine } from '../../mmu/machine/machine.ts';
import { instanceOf, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import type { CopyTarget, ImageChunk, ImageLease } from '../../shared/dump/tasks.ts';
import { MmdumpError } from '../../shared/errors.ts';
import type { FaultPlan } from '../../shared/faults.ts';
import { GiB, MiB, PAGE_SIZE } from '../../shared/page.ts';
import { Memory, WASM_PAGE } from '../../shared/wasm.ts';
import { FAULT_PLAN, failMemoryAt } from '../job/faults.ts';
import { loadKernels } from '../package/kernels.ts';
import { MachineRoom } from './machine-room.ts';
import type { ImageExtent, ImageLength, Sink } from './sink.ts';

/** An image in memory, as `openImage` takes it. */
export interface MemoryImage {
  /** Length of the image. */
  readonly bytes: number;
  /** Views of its memory, in order; workers share it. */
  readonly chunks: readonly Uint8Array[];
  /** Bytes of the image in each chunk; the last one has the rest. */
  readonly chunkBytes: number;
  /** @internal Says whether they are still the bytes of this image. */
  readonly lease?: ImageLease | undefined;
}

/** Options of `memorySink`. */
export interface MemorySinkOptions {
  /**
   * Bytes of a chunk: a multiple of 4096, at most 2 GiB. Default 256 MiB, with `machine` 2 GiB. An
   * image that is shorter than a chunk lies in one that is shorter, too.
   */
  readonly chunkBytes?: number | undefined;
  /**
   * A machine that will be dumped here, of at most 2 GiB. On Node 20 the image then lies in the machine's
   * own memory, behind the frames, where the quickest copies reach it; a later Node needs no such help.
   * Once taken, that room stays with the machine: it is not given back to the system before, and only
   * `release` gives it to the machine's next sink. Without room the image lies where it always does.
   */
  readonly machine?: Machine | undefined;
  /** @internal For tests of failures: faults at named points (docs/RELIABILITY.md). Default: none. */
  readonly faults?: FaultPlan | undefined;
}

const MAX_CHUNK = 2 * GiB;
/** Growing beyond a chunk costs one of these at most, and 64 GiB of image need 256 of them. */
const DEFAULT_CHUNK = 256 * MiB;
/** An only chunk is reserved for an image that is so many times as long. */
const SPARE = 2;
/** From here on a chunk is worth a wasm memory of its own, which takes 10 GiB of address space. */
const WASM_CHUNK = 16 * MiB;

const MEMORY_SINK_OPTIONS: Shape<MemorySinkOptions> = {
  chunkBytes: optional(chunkLength),
  machine: optional(instanceOf(Machine, 'a Machine')),
  faults: optional(FAULT_PLAN),
};

function chunkLength(what: string, value: unknown): number {
  const bytes = wholeNumber(PAGE_SIZE, MAX_CHUNK)(what, value);
  if (bytes % PAGE_SIZE === 0) return bytes;
  throw refusal(what, value, `a multiple of ${PAGE_SIZE}`);
}

/** A sink that keeps the image in memory: `image`, once the dump is done. */
export class MemorySink implements Sink {
  /** What it writes to. */
  readonly kind = 'memory';
  /** An image in memory has none. */
  readonly path: null = null;
  readonly #chunkBytes: number;
  readonly #faults: FaultPlan | undefined;
  #chunks: ImageChunk[] = [];
  readonly #room: MachineRoom | undefined;
  #image: MemoryImage | undefined;
  /** ImageLease.word: counts what has ended the life of an image here. */
  readonly #generation = new Int32Array(new SharedArrayBuffer(4));

  /** @internal */
  constructor(options: MemorySinkOptions = {}) {
    const checked = optionsOf('memorySink', options, MEMORY_SINK_OPTIONS);
    const { machine, faults } = checked;
    const isHelped = machine !== undefined && loadKernels().between === undefined;
    const { chunkBytes = isHelped ? MAX_CHUNK : DEFAULT_CHUNK } = checked;
    this.#chunkBytes = chunkBytes;
    this.#faults = faults;
    this.#room = isHelped ? new MachineRoom(machine) : undefined;
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

  /** @internal */
  async open(): Promise<void> {
    this.#forget();
  }

  /** Before the first byte of it is written again. */
  #forget(): void {
    this.#image = undefined;
    Atomics.add(this.#generation, 0, 1);
  }

  /** @internal */
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
    return { kind: 'memory', chunks: this.#chunks.slice(0, count), chunkBytes };
  }

  /** @internal */
  async commit({ bytes }: ImageLength): Promise<void> {
    const count = Math.ceil(bytes / this.#chunkBytes);
    this.#image = {
      bytes,
      chunks: this.#chunks.slice(0, count).map(viewOf),
      chunkBytes: this.#chunkBytes,
      lease: { word: this.#generation, value: Atomics.load(this.#generation, 0) },
    };
  }

  /** @internal */
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

/** A sink in memory. OPTION_INVALID for options that are none. */
export function memorySink(options: MemorySinkOptions = {}): MemorySink {
  return new MemorySink(options);
}
