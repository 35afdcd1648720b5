/**
 * The copy phase: segments of the image to their final offsets. A worker knows no format: a piece
 * says which record bytes stand before which frames and where its crcs belong.
 *
 * A segment that lies in one chunk of a memory sink is built in place. Any other is built in a
 * staging area of the worker and leaves it in one go: many small writes to one file would queue
 * for the file's lock.
 */
import { crc32 } from 'node:zlib';
import { MachineParts } from '../mmu/machine-parts.ts';
import { PartClaims } from '../shared/dump/part-claims.ts';
import { PhaseControl } from '../shared/dump/phase-control.ts';
import { PIECE, Segments } from '../shared/dump/piece-table.ts';
import { type RingBuffers, SegmentRing } from '../shared/dump/segment-ring.ts';
import type { CopyTask, ImageChunk, PhaseReport } from '../shared/dump/tasks.ts';
import type { Outcome } from '../shared/errors.ts';
import { crc32Words } from '../shared/image/crc32.ts';
import { PAGE_SIZE } from '../shared/page.ts';
import { NO_THREAD } from '../shared/sync/thread-layout.ts';
import { deliver } from './parts/deliver.ts';
import { FrameMover } from './parts/frame-mover.ts';
import { ImageWindow } from './parts/image-window.ts';
import { ordinaryStaging, roomInBank } from './parts/staging.ts';
import { WorkerFaults } from './parts/worker-faults.ts';
import { runUnits } from './phase.ts';

const { ARENA_AT, HEAD_BYTES, SOURCE, PAGES, RECORD_BYTES, RECORD_CRC, PAYLOAD_CRC, WORDS } = PIECE;

/** Pages that are copied before their crc is taken: it finds them in the second cache. */
const CRC_PAGES = 32;

export function copy(task: CopyTask): Outcome<PhaseReport> {
  const machine = new MachineParts(task.machine, { thread: NO_THREAD });
  const segments = new Segments(task.segments);
  const copier = new SegmentCopier(task, machine);
  const { target } = task;
  if (target.kind === 'stream') return copyIntoRing(task, segments, copier, target.ring);
  const chunks = target.kind === 'memory' ? target.chunks.map(windowOver) : [];
  let staging: ImageWindow | undefined;
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
      staging ??= stagingFor(task, machine);
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
  const slots = buffers.slots.map((slot) => new ImageWindow(slot, 0, slot.byteLength, undefined));
  return runUnits(task, task.segmentCount, (segment, phase) => {
    if (!ring.waitForSlot(segment, phase)) return { pages: 0, bytes: 0 };
    const first = segments.firstPiece(segment);
    const last = first + segments.pieces(segment);
    const pages = copier.copy(first, last, slots[ring.slotOf(segment)]!, 0);
    ring.fill(segment);
    return { pages, bytes: segments.bytes(segment) };
  });
}

function windowOver({ buffer, at, bytes, memory }: ImageChunk): ImageWindow {
  return new ImageWindow(buffer, at, bytes, memory);
}

/** Where a segment is built before it is delivered: where kernels can fill it, if they can. */
function stagingFor({ maxSegmentBytes, kernels }: CopyTask, machine: MachineParts): ImageWindow {
  const room = kernels && roomInBank(machine, 0, 'segment', maxSegmentBytes);
  return room ?? ordinaryStaging(maxSegmentBytes);
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
  chunks: readonly ImageWindow[],
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
  readonly #recordCrcs: Int32Array;
  readonly #mover: FrameMover;

  constructor(task: CopyTask, machine: MachineParts) {
    this.#pieces = new Int32Array(task.pieces);
    this.#arena = new Int32Array(task.arena);
    this.#recordCrcs = new Int32Array(task.recordCrcs);
    this.#mover = new FrameMover(machine, task.sources, task.kernels);
  }

  /** Writes pieces [first, last) one behind the other from byte `at` on; returns pages copied. */
  copy(first: number, last: number, into: ImageWindow, at: number): number {
    const pieces = this.#pieces;
    let copied = 0;
    for (let piece = first; piece < last; piece++) {
      const record = piece * WORDS;
      const headBytes = pieces[record + HEAD_BYTES]!;
      const pages = pieces[record + PAGES]!;
      this.#copyHead(pieces[record + ARENA_AT]!, headBytes, into.words, at);
      this.#copyPages(piece, pages, into, at);
      this.#signRecord(piece, into, at);
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

  /** The frames behind a record, and their crc if it has one, from the bytes that go out. */
  #copyPages(piece: number, pages: number, into: ImageWindow, at: number): void {
    if (pages === 0) return;
    const record = piece * WORDS;
    const source = this.#pieces[record + SOURCE]!;
    const payloadCrc = this.#pieces[record + PAYLOAD_CRC]!;
    const to = at + this.#pieces[record + HEAD_BYTES]!;
    if (payloadCrc === 0) {
      this.#mover.move(source, pages, into, to);
      return;
    }
    let crc = 0;
    for (let done = 0; done < pages; done += CRC_PAGES) {
      const count = Math.min(CRC_PAGES, pages - done);
      const from = to + done * PAGE_SIZE;
      this.#mover.move(source + done, count, into, from);
      crc = crc32(into.bytes.subarray(from, from + count * PAGE_SIZE), crc);
    }
    into.words[(at + payloadCrc) >> 2] = crc | 0;
  }

  /** The crc of a record that the layout could not sign, since it covers that of the pages. */
  #signRecord(piece: number, into: ImageWindow, at: number): void {
    const record = piece * WORDS;
    const recordCrc = this.#pieces[record + RECORD_CRC]!;
    if (recordCrc === 0) return;
    const words = this.#pieces[record + RECORD_BYTES]! >> 2;
    const crc = crc32Words(into.words, at >> 2, words) | 0;
    into.words[(at + recordCrc) >> 2] = crc;
    this.#recordCrcs[piece] = crc;
  }
}
