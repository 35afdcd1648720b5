/** Reads the records of an image that has to be sound. */

import { isOpenvz } from '../../../shared/formats/openvz/decode.ts';
import { ImageProblem, problemError } from '../../../shared/formats/problem.ts';
import { IdHash } from '../index/id-hash.ts';
import type { IndexBudget } from '../index/index-budget.ts';
import { readOpenvz } from '../openvz/read-openvz.ts';
import type { CheckedRecords } from '../read/image-contents.ts';
import type { ByteSource } from '../source/byte-source.ts';
import { StreamChecker } from './checker.ts';
import { readHead, type Visitor, walkObjects } from './walk.ts';

/** The records of an image, and its id. */
export interface ReadRecords {
  readonly records: CheckedRecords;
  /** Empty for an OpenVZ file, which has none. */
  readonly id: string;
  readonly format: 'cpt' | 'openvz';
  /** What an OpenVZ file holds besides, which is not read: one line each. */
  readonly unread: readonly string[];
}

/**
 * Reads and checks every record. Throws the first problem of the image as an error, IMAGE_TOO_LARGE
 * beyond the budget, INPUT_FAILED, and AbortError.
 */
export async function readRecords(
  source: ByteSource,
  budget: IndexBudget,
  signal: AbortSignal | undefined,
): Promise<ReadRecords> {
  if (source.problem) throw problemError(source.name, source.problem);
  const fatal = (problem: ImageProblem): never => {
    throw problem;
  };
  try {
    if (await startsAsOpenvz(source)) {
      const { records, unread } = await readOpenvz(source, budget, signal);
      return { records, id: '', format: 'openvz', unread };
    }
    const head = await readHead(source);
    const checker = new StreamChecker(head, budget, fatal);
    const id = new IdHash(head.recordCrc);
    const visitor: Visitor = {
      object: (object, payload) => {
        id.add(object.recordCrc);
        checker.add(object, payload);
      },
      problem: fatal,
    };
    await walkObjects(source, head, visitor, signal);
    checker.finish(head.totalLen);
    return { records: checker.records, id: id.digest(), format: 'cpt', unread: [] };
  } catch (error) {
    throw error instanceof ImageProblem ? problemError(source.name, error.problem) : error;
  }
}

/** Whether a source is a container file of OpenVZ, by its first bytes. */
export async function startsAsOpenvz(source: ByteSource): Promise<boolean> {
  const start = new Uint8Array(Math.min(4, source.bytes));
  await source.read(start, 0);
  return isOpenvz(start);
}
