/**
 * Verifying an image without restoring it: the structure by one walk over all records, the payloads
 * by all workers. What is wrong is collected, with its place, not thrown.
 */
import { crc32 } from 'node:zlib';
import { PayloadTable, payloadTableBytes } from '../../shared/dump/payload-table.ts';
import { createPhase, PhaseControl } from '../../shared/dump/phase-control.ts';
import type { VerifyTask } from '../../shared/dump/tasks.ts';
import { addressOf, hex, MiB, PAGE_SIZE } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { StreamChecker } from '../formats/cpt/checker.ts';
import { readHead, type Visitor, walkObjects } from '../formats/cpt/walk.ts';
import type { WorkerPool } from '../pool.ts';
import type { PhaseProgress } from '../progress.ts';
import type { MemoryImage } from '../sinks/memory-sink.ts';
import { cutIntoUnits } from '../units.ts';
import { BLOCK } from './block-index.ts';
import { type ByteSource, openSource } from './byte-source.ts';
import { IdHash } from './image.ts';
import type { ImageMm, ImageVma, Payload } from './image-mm.ts';
import { ImageProblem, type Problem } from './problem.ts';

export interface VerifyOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: VerifyProgress) => void) | undefined;
}

export interface VerifyProgress {
  readonly bytes: number;
  readonly totalBytes: number;
}

/** The outcome of a verification. */
export interface Verification {
  readonly ok: boolean;
  /** Objects that could be read. */
  readonly objects: number;
  /** Pages that the image stores: copied, zero and cloned ones. */
  readonly pages: number;
  /** Bytes of the image. */
  readonly bytes: number;
  /** The image's id, null where not every record could be read. */
  readonly id: string | null;
  readonly problems: readonly Problem[];
}

/** A payload with a checksum, and what it belongs to. */
interface Checked extends Payload {
  readonly mm: number;
  /** Of a block of pages; null for the other payloads, which have a name. */
  readonly vma: ImageVma | null;
  readonly address: number | null;
  readonly name: string;
}

const UNIT_BYTES = 4 * MiB;

/** Verifies an image with the workers of a pool. Rejects only if the image cannot be read at all. */
export async function verifyWith(
  pool: WorkerPool,
  from: string | MemoryImage,
  options: VerifyOptions,
): Promise<Verification> {
  const source = await openSource(from);
  try {
    return await verifySource(pool, source, options);
  } finally {
    await source.close();
  }
}

async function verifySource(
  pool: WorkerPool,
  source: ByteSource,
  options: VerifyOptions,
): Promise<Verification> {
  throwIfAborted(options.signal);
  const problems: Problem[] = [];
  const structure = await readStructure(source, problems, options.signal);
  const payloads = structure.mms.flatMap(payloadsOf);
  await verifyPayloads(source, payloads, pool, options, problems);
  problems.sort((a, b) => a.offset - b.offset);
  let pages = 0;
  for (const { vmas } of structure.mms) {
    for (const { pages: stored } of vmas) pages += stored.copy + stored.zero + stored.clone;
  }
  const { objects, id } = structure;
  const ok = problems.length === 0;
  return { ok, objects, pages, bytes: source.bytes, id: ok ? id : null, problems };
}

async function readStructure(
  source: ByteSource,
  problems: Problem[],
  signal: AbortSignal | undefined,
): Promise<{ readonly mms: readonly ImageMm[]; readonly objects: number; readonly id: string }> {
  const report = ({ problem }: ImageProblem): void => {
    problems.push(problem);
  };
  let objects = 0;
  try {
    const head = await readHead(source);
    const checker = new StreamChecker(head, report);
    const id = new IdHash(head.recordCrc);
    const visitor: Visitor = {
      object: (object, payload) => {
        objects++;
        id.add(object.recordCrc);
        if (
          object.type === 'NAME' &&
          payload !== undefined &&
          crc32(payload) !== object.payloadCrc
        ) {
          const message = `NAME at byte ${object.offset}: payload_crc does not match its path`;
          throw new ImageProblem('IMAGE_CHECKSUM', object.offset, message);
        }
        checker.add(object, payload);
      },
      problem: (problem) => {
        report(problem);
        checker.lost();
      },
    };
    await walkObjects(source, head, visitor, signal);
    if (source.bytes < head.totalLen) checker.lost(); // counts cannot add up in half an image
    checker.finish(head.totalLen);
    return { mms: checker.mms, objects, id: id.digest() };
  } catch (error) {
    if (!(error instanceof ImageProblem)) throw error;
    report(error);
    return { mms: [], objects, id: '' };
  }
}

function payloadsOf(mm: ImageMm): Checked[] {
  const checked: Checked[] = [];
  for (const vma of mm.vmas) {
    for (let index = vma.firstBlock; index < vma.lastBlock; index++) {
      const block = mm.blocks.at(index);
      if (block.kind !== BLOCK.DATA || !block.hasCrc) continue;
      const address = addressOf(block.start);
      const bytes = block.pages * PAGE_SIZE;
      const { source: offset, crc } = block;
      checked.push({ mm: mm.ordinal, vma, address, offset, bytes, crc, name: 'pages' });
    }
  }
  const names = { auxv: 'auxiliary vector', notes: 'notes', ldt: 'LDT' } as const;
  for (const part of ['auxv', 'notes', 'ldt'] as const) {
    const payload = mm[part];
    if (payload === null) continue;
    checked.push({ ...payload, mm: mm.ordinal, vma: null, address: null, name: names[part] });
  }
  return checked;
}

/** `mm 0, VMA 0x1000-0x9000, pages 0x2000-0x4000`, for messages. */
function whatIs({ mm, vma, address, bytes, name }: Checked): string {
  if (vma === null || address === null) return `mm ${mm}, ${name}`;
  const range = `${hex(address)}-${hex(address + bytes)}`;
  return `mm ${mm}, VMA ${hex(vma.start)}-${hex(vma.end)}, ${name} ${range}`;
}

async function verifyPayloads(
  source: ByteSource,
  payloads: readonly Checked[],
  pool: WorkerPool,
  options: VerifyOptions,
  problems: Problem[],
): Promise<void> {
  const buffer = new SharedArrayBuffer(payloadTableBytes(payloads.length));
  const table = new PayloadTable(buffer);
  payloads.forEach(({ offset, bytes, crc }, index) => {
    table.set(index, offset, bytes, crc);
  });
  const units = cutIntoUnits(payloads.length, (index) => payloads[index]!.bytes, UNIT_BYTES);
  const workers = Math.min(pool.workers, units.unitCount);
  const phase = createPhase(workers);
  const tasks: VerifyTask[] = Array.from({ length: workers }, (_, worker) => {
    return { ...units, phase, worker, rendezvous: 0, source: source.reach, payloads: buffer };
  });
  const { signal, onProgress } = options;
  const totalBytes = payloads.reduce((sum, { bytes }) => sum + bytes, 0);
  const tell = onProgress && (({ bytes }: PhaseProgress) => onProgress({ bytes, totalBytes }));
  const task = { file: 'verify', name: 'verify' };
  await pool.runPhase(task, tasks, new PhaseControl(phase), { signal, onProgress: tell });
  payloads.forEach((payload, index) => {
    if (table.found(index) === table.crc(index)) return;
    const { offset, address } = payload;
    const crcs = `${hex(table.crc(index))} stored, ${hex(table.found(index))} computed`;
    const where = `${whatIs(payload)}, payload at byte ${offset}`;
    const message = `${where}: payload_crc does not match (${crcs})`;
    problems.push({ code: 'IMAGE_CHECKSUM', offset, address, message });
  });
}
