/**
 * Verifies an image without restoring it. One walk over all records verifies the structure, and all
 * workers verify the payloads. Problems are collected with their places, not thrown.
 */

import { list, listener, optional, wholeNumber } from '../../../shared/arguments/checks.ts';
import type { Shape } from '../../../shared/arguments/options.ts';
import { ImageProblem, type Problem } from '../../../shared/formats/problem.ts';
import { throwIfAborted } from '../../../shared/sync/wait.ts';
import type { WorkerPool } from '../../crew/pool.ts';
import type { JobOptions } from '../../job/stop.ts';
import { JOB_OPTIONS } from '../../job/stop.ts';
import type { MemoryImage } from '../../sinks/memory-sink.ts';
import { IdHash } from '../index/id-hash.ts';
import type { ImageMm } from '../index/image-mm.ts';
import type { ImageState } from '../index/image-state.ts';
import { IndexBudget, MAX_INDEX } from '../index/index-budget.ts';
import { readOpenvz } from '../openvz/read-openvz.ts';
import type { CheckedRecords } from '../read/image-contents.ts';
import { type ByteSource, whileIntact } from '../source/byte-source.ts';
import { imageSource, openSource } from '../source/open-source.ts';
import { StreamChecker } from '../stream/checker.ts';
import { startsAsOpenvz } from '../stream/read-records.ts';
import { readHead, type Visitor, walkObjects } from '../stream/walk.ts';
import { verifyPayloads } from './payloads.ts';
import { ProblemList } from './problem-list.ts';
import { verifyChain } from './verify-chain.ts';

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
  /**
   * Where the ancestors of an image with a parent are, as for `openImage`. All of them are verified,
   * too, and then the pages that the image has in its parent.
   */
  readonly parents?: readonly (string | MemoryImage)[] | undefined;
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
  /** Number of pages that the image records: copied, zero and cloned ones, and those of the parent. */
  readonly pages: number;
  /** Length of the image, in bytes. */
  readonly bytes: number;
  /** The id of the image (see `Image.id`); null unless `ok`, and for an OpenVZ file. */
  readonly id: string | null;
  /**
   * The problems, in the order of the image, at most `maxProblems`. Those of ancestors follow; their
   * messages begin with the name of the ancestor, to which their offsets refer.
   */
  readonly problems: readonly Problem[];
  /** Number of further problems, which are not listed. */
  readonly unlisted: number;
}

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
  if (structure.hasChecksums) {
    await verifyPayloads(source, structure, pool, options, problems, budget);
  }
  problems.listed.sort((a, b) => a.offset - b.offset);
  if (structure.records !== undefined) {
    await verifyChain(pool, source, structure.records, options, problems, budget);
  }
  const { listed, unlisted } = problems;
  let pages = 0;
  for (const { vmas } of structure.mms) {
    for (const { pages: stored } of vmas) {
      pages += stored.copy + stored.zero + stored.clone + stored.parent;
    }
  }
  const { objects, id } = structure;
  const ok = listed.length === 0;
  const { bytes } = source;
  return { ok, objects, pages, bytes, id: ok ? id : null, problems: listed, unlisted };
}

/** What the records of an image say, as far as they could be read. */
interface Structure {
  readonly states: readonly ImageState[];
  readonly mms: readonly ImageMm[];
  readonly objects: number;
  /** Null for an OpenVZ file. */
  readonly id: string | null;
  /** False for an OpenVZ file. */
  readonly hasChecksums: boolean;
  /** Undefined if the head could not be read. */
  readonly records: CheckedRecords | undefined;
}

async function readStructure(
  source: ByteSource,
  problems: ProblemList,
  budget: IndexBudget,
  signal: AbortSignal | undefined,
): Promise<Structure> {
  const report = ({ problem }: ImageProblem): void => {
    problems.add(problem);
  };
  let objects = 0;
  try {
    if (await startsAsOpenvz(source)) {
      const read = await readOpenvz(source, budget, signal);
      const { objects, records } = read;
      const { mms, states } = records;
      return { mms, states, objects, id: null, records, hasChecksums: false };
    }
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
    const { records } = checker;
    const { mms, states } = records;
    return { mms, states, objects, id: id.digest(), records, hasChecksums: true };
  } catch (error) {
    if (!(error instanceof ImageProblem)) throw error;
    report(error);
    const nothing = { mms: [], states: [], records: undefined };
    return { ...nothing, objects, id: '', hasChecksums: true };
  }
}

/** Checks the options of `verify` before it begins. */
export const VERIFY_OPTIONS: Shape<VerifyOptions> = {
  ...JOB_OPTIONS,
  onProgress: listener(),
  maxIndexBytes: optional(MAX_INDEX),
  maxProblems: optional(wholeNumber(1)),
  parents: optional(list(imageSource)),
};
