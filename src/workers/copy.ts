/**
 * The copy phase: segments of the image to their final offsets. A worker knows no format: a piece
 * says which record bytes stand before which frames and where its crcs belong.
 *
 * A segment that lies in one chunk of a memory sink is built in place. Any other is built in a
 * staging buffer of the worker and leaves it in one go: many small writes to one file would queue
 * for the file's lock.
 */
import { crc32 } from 'node:zlib';
import { MachineParts } from '../mmu/machine-parts.ts';
import type { PhysicalMemory } from '../mmu/physical/physical-memory.ts';
import { BANK_MASK, BANK_SHIFT } from '../mmu/physical/physical-memory.ts';
import { PartClaims } from '../shared/dump/part-claims.ts';
import { PhaseControl } from '../shared/dump/phase-control.ts';
import { PIECE, Segments } from '../shared/dump/piece-table.ts';
import { type RingBuffers, SegmentRing } from '../shared/dump/segment-ring.ts';
import type { CopyTask, PhaseReport } from '../shared/dump/tasks.ts';
import type { Outcome } from '../shared/errors.ts';
import { crc32Words } from '../shared/image/crc32.ts';
import { PAGE_SIZE } from '../shared/page.ts';
import { NO_THREAD } from '../shared/sync/thread-table.ts';
import { deliver } from './parts/deliver.ts';
import { WorkerFaults } from './parts/worker-faults.ts';
import { runUnits } from './phase.ts';

const { ARENA_AT, HEAD_BYTES, SOURCE, PAGES, RECORD_BYTES, RECORD_CRC, PAYLOAD_CRC, WORDS } = PIECE;

/** A stretch of memory that takes segments: a chunk of a memory sink, or staging. */
interface Window {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
}

export function copy(task: CopyTask): Outcome<PhaseReport> {
  const machine = new MachineParts(task.machine, { thread: NO_THREAD });
  const segments = new Segments(task.segments);
  const copier = new SegmentCopier(task, machine.memory);
  const { target } = task;
  if (target.kind === 'stream') return copyIntoRing(task, segments, copier, target.ring);
  const chunks = target.kind === 'memory' ? target.chunks.map(windowOver) : [];
  let staging: Window | undefined;
  const faults = WorkerFaults.of(task);
  const claims = claimsOf(task, segments);
  return runUnits(task, task.segmentCount, (unit) => {
    const segment = claims?.take() ?? unit;
    const offset = segments.offset(segment);
    const bytes = segments.bytes(segment);
    const first = segments.firstPiece(segment);
    const last = first + segments.pieces(segment);
    let pages: number;
    if (target.kind === 'memory' && isInOneChunk(target, offset, bytes)) {
      const chunk = chunks[Math.floor(offset / target.chunkBytes)]!;
      pages = copier.copy(first, last, chunk, offset % target.chunkBytes);
    } else {
      staging ??= windowOver(new SharedArrayBuffer(task.maxSegmentBytes));
      pages = copier.copy(first, last, staging, 0);
      const built = staging.bytes.subarray(0, bytes);
      if (target.kind === 'memory') scatter(target.chunkBytes, chunks, built, offset);
      else deliver(target, built, offset, faults);
    }
    return { pages, bytes };
  });
}

/** Segments on their way to a stream: each into its slot, once that is empty. */
function copyIntoRing(
  task: CopyTask,
  segments: Segments,
  copier: SegmentCopier,
  buffers: RingBuffers,
): Outcome<PhaseReport> {
  const ring = new SegmentRing(buffers);
  const slots = buffers.slots.map(windowOver);
  return runUnits(task, task.segmentCount, (segment, phase) => {
    if (!ring.waitForSlot(segment, phase)) return { pages: 0, bytes: 0 };
    const first = segments.firstPiece(segment);
    const last = first + segments.pieces(segment);
    const pages = copier.copy(first, last, slots[ring.slotOf(segment)]!, 0);
    ring.fill(segment);
    return { pages, bytes: segments.bytes(segment) };
  });
}

function windowOver(buffer: SharedArrayBuffer): Window {
  return { bytes: new Uint8Array(buffer), words: new Int32Array(buffer) };
}

function isInOneChunk(
  target: { readonly chunkBytes: number },
  offset: number,
  bytes: number,
): boolean {
  return (offset % target.chunkBytes) + bytes <= target.chunkBytes;
}

/** Which segments of an image in parts are this worker's: see PartClaims. */
function claimsOf(task: CopyTask, segments: Segments): PartClaims | undefined {
  const { target, segmentCount, worker } = task;
  if (target.kind !== 'parts') return undefined;
  const { workers } = new PhaseControl(task.phase);
  const who = { worker, workers };
  return new PartClaims(target.claims, segments, segmentCount, target.partBytes, who);
}

/** Takes a finished segment from staging to the chunks of a memory sink that it straddles. */
function scatter(
  chunkBytes: number,
  chunks: readonly Window[],
  bytes: Uint8Array,
  offset: number,
): void {
  for (let done = 0; done < bytes.length; ) {
    const at = (offset + done) % chunkBytes;
    const count = Math.min(bytes.length - done, chunkBytes - at);
    const chunk = chunks[Math.floor((offset + done) / chunkBytes)]!;
    chunk.bytes.set(bytes.subarray(done, done + count), at);
    done += count;
  }
}

class SegmentCopier {
  readonly #pieces: Int32Array;
  readonly #arena: Int32Array;
  readonly #sources: Int32Array;
  readonly #recordCrcs: Int32Array;
  readonly #banks: readonly Uint8Array[];

  constructor(task: CopyTask, memory: PhysicalMemory) {
    this.#pieces = new Int32Array(task.pieces);
    this.#arena = new Int32Array(task.arena);
    this.#sources = new Int32Array(task.sources);
    this.#recordCrcs = new Int32Array(task.recordCrcs);
    this.#banks = memory.bytes;
  }

  /** Writes pieces [first, last) one behind the other from byte `at` on; returns pages copied. */
  copy(first: number, last: number, into: Window, at: number): number {
    const pieces = this.#pieces;
    let copied = 0;
    for (let piece = first; piece < last; piece++) {
      const record = piece * WORDS;
      const headBytes = pieces[record + HEAD_BYTES]!;
      const pages = pieces[record + PAGES]!;
      this.#copyHead(pieces[record + ARENA_AT]!, headBytes, into.words, at);
      if (pages > 0) this.#copyPages(pieces[record + SOURCE]!, pages, into.bytes, at + headBytes);
      this.#sign(piece, into, at, headBytes, pages * PAGE_SIZE);
      at += headBytes + pages * PAGE_SIZE;
      copied += pages;
    }
    return copied;
  }

  /** Records are a few words long: a loop beats a view and a call. */
  #copyHead(arenaAt: number, bytes: number, into: Int32Array, at: number): void {
    const arena = this.#arena;
    const from = arenaAt >> 2;
    const to = at >> 2;
    for (let word = 0; word < bytes >> 2; word++) into[to + word] = arena[from + word]!;
  }

  /** Frames that are neighbours in memory go in one copy. */
  #copyPages(source: number, count: number, into: Uint8Array, at: number): void {
    const sources = this.#sources;
    const banks = this.#banks;
    for (let index = source; index < source + count; ) {
      const pfn = sources[index]!;
      let run = 1;
      const limit = Math.min(source + count - index, BANK_MASK + 1 - (pfn & BANK_MASK));
      while (run < limit && sources[index + run] === pfn + run) run++;
      const from = (pfn & BANK_MASK) * PAGE_SIZE;
      const bank = banks[pfn >>> BANK_SHIFT]!;
      into.set(bank.subarray(from, from + run * PAGE_SIZE), at);
      at += run * PAGE_SIZE;
      index += run;
    }
  }

  /** Fills in the crcs of a piece, from the bytes that go out, and notes its record_crc. */
  #sign(piece: number, into: Window, at: number, headBytes: number, payload: number): void {
    const record = piece * WORDS;
    const payloadCrc = this.#pieces[record + PAYLOAD_CRC]!;
    if (payloadCrc !== 0) {
      const bytes = into.bytes.subarray(at + headBytes, at + headBytes + payload);
      into.words[(at + payloadCrc) >> 2] = crc32(bytes) | 0;
    }
    const recordCrc = this.#pieces[record + RECORD_CRC]!;
    if (recordCrc !== 0) {
      const words = this.#pieces[record + RECORD_BYTES]! >> 2;
      const crc = crc32Words(into.words, at >> 2, words) | 0;
      into.words[(at + recordCrc) >> 2] = crc;
      this.#recordCrcs[piece] = crc;
    }
  }
}
