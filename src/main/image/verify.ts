/**
 * Verifies an image without restoring it. One walk over all records verifies the structure, and all
 * workers verify the payloads. Problems are collected with their places, not thrown.
 */

import { listener, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import { DIGEST, mismatchText } from '../../shared/digest/digest-kind.ts';
import { PayloadTable, payloadTableBytes } from '../../shared/dump/payload-table.ts';
import { createPhase, PhaseControl } from '../../shared/dump/phase-control.ts';
import type { VerifyTask } from '../../shared/dump/tasks/verify-task.ts';
import { ImageProblem, type Problem, pagesText } from '../../shared/formats/problem.ts';
import { addressOf, MiB, PAGE_SIZE } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import type { WorkerPool } from '../crew/pool.ts';
import { cutIntoUnits } from '../crew/units.ts';
import type { PhaseProgress } from '../job/progress.ts';
import type { JobOptions } from '../job/stop.ts';
import { JOB_OPTIONS } from '../job/stop.ts';
import { loadDigestKernels } from '../package/kernels.ts';
import type { MemoryImage } from '../sinks/memory-sink.ts';
import { IdHash } from './index/id-hash.ts';
import type { ImageMm, ImageVma } from './index/image-mm.ts';
import { INDEX_COST, IndexBudget, MAX_INDEX } from './index/index-budget.ts';
import { type ByteSource, whileIntact } from './source/byte-source.ts';
import { openSource } from './source/open-source.ts';
import { StreamChecker } from './stream/checker.ts';
import { readHead, type Visitor, walkObjects } from './stream/walk.ts';

/** Options of a verification. */
export interface VerifyOptions extends JobOptions {
  /** Called at most ten times per second while payloads are read, and once more at the end. */
  readonly onProgress?: ((done: VerifyProgress) => void) | undefined;
  /**
   * Most bytes of memory that the records may take, counted generously. IMAGE_TOO_LARGE if they
   * need more. Default 1 GiB.
   */
  readonly maxIndexBytes?: number | undefined;
  /** Most problems that are listed, at least 1; the others are counted. Default 10 000. */
  readonly maxProblems?: number | undefined;
}

/** The progress of a verification. */
export interface VerifyProgress {
  /** Bytes of payloads that are verified. */
  readonly bytes: number;
  /** Bytes of payloads in the image. */
  readonly totalBytes: number;
}

/** The outcome of a verification. */
export interface Verification {
  /** Whether the image has no problem. */
  readonly ok: boolean;
  /** Number of objects that could be read. */
  readonly objects: number;
  /** Number of pages that the image stores: copied, zero and cloned ones. */
  readonly pages: number;
  /** Length of the image, in bytes. */
  readonly bytes: number;
  /** The id of the image (see `Image.id`); null unless `ok`. */
  readonly id: string | null;
  /** The problems, in the order of the image, at most `maxProblems`. */
  readonly problems: readonly Problem[];
  /** Number of further problems, which are not listed. */
  readonly unlisted: number;
}

/**
 * This many problems with their messages take a few MiB. An image that is all damage has millions.
 */
const MAX_PROBLEMS = 10_000;

class ProblemList {
  readonly listed: Problem[] = [];
  unlisted = 0;
  readonly #limit: number;

  constructor(limit: number = MAX_PROBLEMS) {
    this.#limit = limit;
  }

  add(problem: Problem): void {
    if (this.listed.length < this.#limit) this.listed.push(problem);
    else this.unlisted++;
  }
}

/** A payload with a checksum, and its place. */
interface Checked {
  readonly offset: number; // byte of the image
  readonly bytes: number;
  readonly mm: number;
  /** The VMA of a block of pages; null for other payloads, which `name` describes. */
  readonly vma: ImageVma | null;
  readonly address: number | null;
  readonly name: string;
}

/** Bytes per unit, so few that all workers end within a millisecond of each other. */
const UNIT_BYTES = MiB;

/** Payloads that an mm may have beside its pages, in the order in which problems are listed. */
const PAYLOAD_PARTS = ['auxv', 'notes', 'ldt'] as const;
const PAYLOAD_NAMES = { auxv: 'auxiliary vector', notes: 'notes', ldt: 'LDT' } as const;

/**
 * Verifies an image with the workers of a pool. INPUT_FAILED if the image cannot be read at all,
 * IMAGE_TOO_LARGE beyond `maxIndexBytes`.
 */
export async function verifyWith(
  pool: WorkerPool,
  from: string | MemoryImage,
  options: VerifyOptions,
): Promise<Verification> {
  const source = await openSource(from);
  try {
    return await whileIntact(source, () => verifySource(pool, source, options));
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
  const problems = new ProblemList(options.maxProblems);
  const budget = new IndexBudget(source.name, options.maxIndexBytes);
  if (source.problem) problems.add(source.problem);
  for (const problem of (await source.extraParts?.()) ?? []) problems.add(problem);
  const structure = await readStructure(source, problems, budget, options.signal);
  await verifyPayloads(source, structure.mms, pool, options, problems, budget);
  const listed = problems.listed.sort((a, b) => a.offset - b.offset);
  const { unlisted } = problems;
  let pages = 0;
  for (const { vmas } of structure.mms) {
    for (const { pages: stored } of vmas) pages += stored.copy + stored.zero + stored.clone;
  }
  const { objects, id } = structure;
  const ok = listed.length === 0;
  const { bytes } = source;
  return { ok, objects, pages, bytes, id: ok ? id : null, problems: listed, unlisted };
}

async function readStructure(
  source: ByteSource,
  problems: ProblemList,
  budget: IndexBudget,
  signal: AbortSignal | undefined,
): Promise<{ readonly mms: readonly ImageMm[]; readonly objects: number; readonly id: string }> {
  const report = ({ problem }: ImageProblem): void => {
    problems.add(problem);
  };
  let objects = 0;
  try {
    const head = await readHead(source);
    const checker = new StreamChecker(head, budget, report);
    const id = new IdHash(head.recordCrc);
    const visitor: Visitor = {
      object: (object, payload) => {
        objects++;
        id.add(object.recordCrc);
        checker.add(object, payload);
      },
      problem: (problem) => {
        report(problem);
        checker.lost();
      },
    };
    await walkObjects(source, head, visitor, signal);
    if (source.bytes < head.totalLen) checker.lost(); // in half an image counts cannot add up
    checker.finish(head.totalLen);
    return { mms: checker.mms, objects, id: id.digest() };
  } catch (error) {
    if (!(error instanceof ImageProblem)) throw error;
    report(error);
    return { mms: [], objects, id: '' };
  }
}

/** Describes the payloads one at a time, in the order of the table, for messages. */
function* payloadsOf(mms: readonly ImageMm[]): Generator<Checked> {
  for (const mm of mms) {
    yield* blocksOf(mm);
    for (const part of PAYLOAD_PARTS) {
      const payload = mm[part];
      const name = PAYLOAD_NAMES[part];
      if (payload !== null) yield { ...payload, mm: mm.ordinal, vma: null, address: null, name };
    }
  }
}

function* blocksOf(mm: ImageMm): Generator<Checked> {
  for (const vma of mm.vmas) {
    for (let index = vma.firstBlock; index < vma.lastBlock; index++) {
      const block = mm.blocks.at(index);
      if (block.digest === DIGEST.NONE) continue;
      const address = addressOf(block.start);
      const bytes = block.pages * PAGE_SIZE;
      yield { mm: mm.ordinal, vma, address, offset: block.source, bytes, name: 'pages' };
    }
  }
}

function whatIs({ mm, vma, address, bytes, name }: Checked): string {
  if (vma === null || address === null) return `mm ${mm}, ${name}`;
  return pagesText(mm, vma, address, bytes);
}

async function verifyPayloads(
  source: ByteSource,
  mms: readonly ImageMm[],
  pool: WorkerPool,
  options: VerifyOptions,
  problems: ProblemList,
  budget: IndexBudget,
): Promise<void> {
  const { table, buffer, count, totalBytes } = tableOf(mms, budget);
  const units = cutIntoUnits(count, (index) => table.bytes(index), UNIT_BYTES);
  const { workers, here } = pool.crew({
    units: units.unitCount,
    bytes: totalBytes,
    mayRunHere: true,
  });
  const phase = createPhase(workers);
  const digestKernel = loadDigestKernels().inside;
  const tasks: VerifyTask[] = Array.from({ length: workers }, (_, worker) => {
    return { ...units, phase, worker, source: source.reach, payloads: buffer, digestKernel };
  });
  const { signal, onProgress } = options;
  const tell = onProgress && (({ bytes }: PhaseProgress) => onProgress({ bytes, totalBytes }));
  await pool.runPhase('verify', tasks, new PhaseControl(phase), { signal, onProgress: tell, here });
  throwIfAborted(signal); // it may have fired in the last call of `onProgress`
  if (firstDifference(table, count) < count) reportDifferences(mms, table, problems);
}

/**
 * Tabulates the payloads of all mms in the order of `payloadsOf`. There may be millions, so there
 * is no object per payload.
 */
function tableOf(
  mms: readonly ImageMm[],
  budget: IndexBudget,
): {
  readonly table: PayloadTable;
  readonly buffer: SharedArrayBuffer;
  readonly count: number;
  readonly totalBytes: number;
} {
  let count = 0;
  for (const { blocks, ...mm } of mms) {
    for (let index = 0; index < blocks.count; index++)
      if (blocks.digest(index) !== DIGEST.NONE) count++;
    for (const part of PAYLOAD_PARTS) if (mm[part] !== null) count++;
  }
  budget.take(count * INDEX_COST.PAYLOAD);
  const buffer = new SharedArrayBuffer(payloadTableBytes(count));
  const table = new PayloadTable(buffer);
  let totalBytes = 0;
  let set = 0;
  for (const { blocks, ...mm } of mms) {
    for (let index = 0; index < blocks.count; index++) {
      const kind = blocks.digest(index);
      if (kind === DIGEST.NONE) continue;
      const bytes = blocks.pages(index) * PAGE_SIZE;
      table.set(set++, blocks.source(index), bytes, kind, blocks.low(index), blocks.high(index));
      totalBytes += bytes;
    }
    for (const part of PAYLOAD_PARTS) {
      const payload = mm[part];
      if (payload === null) continue;
      table.set(set++, payload.offset, payload.bytes, DIGEST.CRC32, payload.crc, 0);
      totalBytes += payload.bytes;
    }
  }
  return { table, buffer, count, totalBytes };
}

function firstDifference(table: PayloadTable, count: number): number {
  let index = 0;
  while (index < count && table.isSame(index)) index++;
  return index;
}

function reportDifferences(
  mms: readonly ImageMm[],
  table: PayloadTable,
  problems: ProblemList,
): void {
  let index = -1;
  for (const payload of payloadsOf(mms)) {
    if (table.isSame(++index)) continue;
    const { offset, address } = payload;
    const differs = mismatchText(table.stored(index), table.found(index));
    const message = `${whatIs(payload)}, payload at byte ${offset}: ${differs}`;
    problems.add({ code: 'IMAGE_CHECKSUM', offset, address, message });
  }
}

/** Checks the options of `verify` before it begins. */
export const VERIFY_OPTIONS: Shape<VerifyOptions> = {
  ...JOB_OPTIONS,
  onProgress: listener(),
  maxIndexBytes: optional(MAX_INDEX),
  maxProblems: optional(wholeNumber(1)),
};
