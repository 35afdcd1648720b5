/** Reads the records of an image that has to be sound. */
import { ImageProblem, problemError } from '../../../shared/formats/problem.ts';
import { IdHash } from '../index/id-hash.ts';
import type { IndexBudget } from '../index/index-budget.ts';
import type { CheckedRecords } from '../read/image-contents.ts';
import type { ByteSource } from '../source/byte-source.ts';
import { StreamChecker } from './checker.ts';
import { readHead, type Visitor, walkObjects } from './walk.ts';

/** The records of an image, and its id. */
export interface ReadRecords {
  readonly records: CheckedRecords;
  readonly id: string;
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
    return { records: checker.records, id: id.digest() };
  } catch (error) {
    throw error instanceof ImageProblem ? problemError(source.name, error.problem) : error;
  }
}
