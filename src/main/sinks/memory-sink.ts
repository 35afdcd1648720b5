/**
 * An image in shared memory. The sink keeps its buffers for the next dump, since memory that was
 * touched before is several times quicker. An image that has grown gets more chunks, and the old
 * chunks stay. A chunk is reserved as a whole: the system commits memory only as it is touched, so
 * what is reserved and not used costs address space only.
 */

import { Machine } from '../../mmu/machine/machine.ts';
import { instanceOf, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import type { ImageChunk, MemoryTarget } from '../../shared/dump/tasks/copy-target.ts';
import type { ImageLease } from '../../shared/dump/tasks/source-reach.ts';
import { MmdumpError } from '../../shared/errors.ts';
import type { FaultPlan } from '../../shared/faults.ts';
import { adviseHugeIfLarge } from '../../shared/native/huge-pages.ts';
import { GiB, MiB, PAGE_SIZE } from '../../shared/page.ts';
import { Memory, WASM_PAGE } from '../../shared/wasm.ts';
import { FAULT_PLAN, failMemoryAt } from '../job/faults.ts';
import { loadKernels } from '../package/kernels.ts';
import { MachineReservation } from './machine-reservation.ts';
import type { ImageExtent, ImageLength, Sink } from './sink.ts';

/** An image in memory, as `openImage` takes it. */
export interface MemoryImage {
  /** Length of the image, in bytes. */
  readonly bytes: number;
  /** Views of shared memory that hold the image, in order. A view may be longer than its part. */
  readonly chunks: readonly Uint8Array[];
  /** Bytes of the image that each chunk holds; the last chunk holds the rest. */
  readonly chunkBytes: number;
  /** @internal Tells whether the chunks still hold this image. */
  readonly lease?: ImageLease | undefined;
}

/** Options of `memorySink`. */
export interface MemorySinkOptions {
  /**
   * Bytes per chunk: a multiple of 4096, at least 4096 and at most 2 GiB. Default 256 MiB, or 2 GiB
   * where `machine` has an effect. If an image is shorter than one chunk, its only chunk is
   * shorter, too.
   */
  readonly chunkBytes?: number | undefined;
  /**
   * A machine of at most 2 GiB that will be dumped into this sink. On Node 20 the image then lies
   * in the memory of the machine, behind the frames, where the quickest copies reach it. A later
   * Node does not need this, and it has no effect there. The memory stays with the machine until
   * the machine is closed; `release` gives it to the next sink for the machine. If the machine
   * cannot supply it, the image lies in buffers of its own. Default: no machine.
   */
  readonly machine?: Machine | undefined;
  /** @internal Faults at named points, for tests (docs/RELIABILITY.md). Default: none. */
  readonly faults?: FaultPlan | undefined;
}

const MAX_CHUNK = 2 * GiB;
/** An image reserves less than one chunk in vain, and an image of 64 GiB has 256 chunks. */
const DEFAULT_CHUNK = 256 * MiB;
/** A single chunk is reserved for an image that is longer by this factor. */
const SPARE = 2;
/** From this size on a chunk gets a wasm memory of its own, which takes 10 GiB of address space. */
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

/** A sink that keeps the image in memory. `memorySink` makes it. */
export class MemorySink implements Sink {
  /** The kind of the output: memory. */
  readonly kind = 'memory';
  /** Always null: an image in memory has no path. */
  readonly path: null = null;
  readonly #chunkBytes: number;
  readonly #faults: FaultPlan | undefined;
  #chunks: ImageChunk[] = [];
  readonly #reservation: MachineReservation | undefined;
  #image: MemoryImage | undefined;
  /** ImageLease.word. It counts the events that have ended the life of an image in this sink. */
  readonly #generation = new Int32Array(new SharedArrayBuffer(4));

  /** @internal */
  constructor(options: MemorySinkOptions = {}) {
    const checked = optionsOf('memorySink', options, MEMORY_SINK_OPTIONS);
    const { machine, faults } = checked;
    const isHelped = machine !== undefined && loadKernels().between === undefined;
    const { chunkBytes = isHelped ? MAX_CHUNK : DEFAULT_CHUNK } = checked;
    this.#chunkBytes = chunkBytes;
    this.#faults = faults;
    this.#reservation = isHelped ? new MachineReservation(machine) : undefined;
  }

  /**
   * The image of the last dump. INPUT_FAILED if there is none. It is valid until the next dump into
   * this sink begins or the sink is released; to read, verify or restore it afterwards is
   * INPUT_FAILED. The next dump overwrites the bytes, so a program that reads `chunks` itself has
   * to be done by then.
   */
  get image(): MemoryImage {
    if (this.#image === undefined) {
      throw new MmdumpError('INPUT_FAILED', 'the memory sink holds no finished image');
    }
    return this.#image;
  }

  /** Step of a dump: see `Sink`. */
  async open(): Promise<void> {
    this.#forget();
  }

  /** Ends the life of the image, before the first of its bytes is overwritten. */
  #forget(): void {
    this.#image = undefined;
    Atomics.add(this.#generation, 0, 1);
  }

  /** Step of a dump: see `Sink`. */
  async reserve({ bytes }: ImageExtent): Promise<MemoryTarget> {
    const chunkBytes = this.#chunkBytes;
    const count = Math.ceil(bytes / chunkBytes);
    try {
      for (let index = 0; index < count; index++) {
        failMemoryAt('buffer', this.#faults);
        const needed = Math.min(chunkBytes, bytes - index * chunkBytes);
        const kept = this.#chunks[index];
        const reserved = count === 1 ? this.#reservation?.reserve(needed) : undefined;
        if (reserved === undefined && kept !== undefined && kept.bytes >= needed) continue;
        const spare = count === 1 ? needed * SPARE : chunkBytes;
        const chunk = reserved ?? newChunk(needed, Math.min(chunkBytes, spare));
        adviseHugeIfLarge(viewOf(chunk)); // an image fills its chunks in order
        this.#chunks[index] = chunk;
      }
    } catch (error) {
      throw new MmdumpError('OUTPUT_FAILED', `no memory for an image of ${bytes} bytes`, {}, error);
    }
    return { kind: 'memory', chunks: this.#chunks.slice(0, count), chunkBytes };
  }

  /** Step of a dump: see `Sink`. */
  async commit({ bytes }: ImageLength): Promise<void> {
    const count = Math.ceil(bytes / this.#chunkBytes);
    this.#image = {
      bytes,
      chunks: this.#chunks.slice(0, count).map(viewOf),
      chunkBytes: this.#chunkBytes,
      lease: { word: this.#generation, value: Atomics.load(this.#generation, 0) },
    };
  }

  /** Step of a dump: see `Sink`. */
  async abort(): Promise<void> {
    this.#image = undefined;
  }

  /**
   * Leaves the chunks to the garbage collector. The image ends with that: `image` is INPUT_FAILED
   * until the next dump, and so is reading, verifying or restoring the image that was there. The
   * sink can be used again.
   */
  release(): void {
    this.#forget();
    this.#chunks = [];
    this.#reservation?.release();
  }
}

function viewOf({ buffer, at, bytes }: ImageChunk): Uint8Array {
  return new Uint8Array(buffer, at, bytes);
}

/** Reserves `wanted` bytes for a chunk, or only `needed` bytes if the system refuses that many. */
function newChunk(needed: number, wanted: number): ImageChunk {
  try {
    return reserveChunk(wanted);
  } catch (error) {
    if (wanted === needed) throw error;
    return reserveChunk(needed);
  }
}

/**
 * Reserves a chunk, as a wasm memory unless it is small. Kernels that reach a second memory copy
 * into it, and the others at least digest there what has arrived.
 */
function reserveChunk(bytes: number): ImageChunk {
  if (bytes < WASM_CHUNK) return ordinaryChunk(bytes);
  const pages = Math.ceil(bytes / WASM_PAGE);
  try {
    const memory = new Memory({ initial: pages, maximum: pages, shared: true });
    const { buffer } = memory;
    return { buffer, at: 0, bytes: buffer.byteLength, memory };
  } catch {
    return ordinaryChunk(bytes); // address space is short, so copies take the slower way
  }
}

function ordinaryChunk(needed: number): ImageChunk {
  const bytes = Math.ceil(needed / PAGE_SIZE) * PAGE_SIZE;
  return { buffer: new SharedArrayBuffer(bytes), at: 0, bytes, memory: undefined };
}

/**
 * Creates a sink that keeps the image in shared memory. OPTION_INVALID for options that are not
 * valid. A dump into it is OUTPUT_FAILED if there is no memory for the image.
 */
export function memorySink(options: MemorySinkOptions = {}): MemorySink {
  return new MemorySink(options);
}
