/** What is wrong with an image: thrown by whoever reads it, or collected by a verification. */
import { MmdumpError } from '../errors.ts';
import { hex } from '../page.ts';

/** Codes of problems; as of errors (docs/ERRORS.md). */
export type ProblemCode =
  | 'IMAGE_NOT_RECOGNISED'
  | 'IMAGE_VERSION'
  | 'IMAGE_TRUNCATED'
  | 'IMAGE_CORRUPT'
  | 'IMAGE_CHECKSUM';

/** One thing that is wrong with an image. */
export interface Problem {
  /** What kind of damage it is. */
  readonly code: ProblemCode;
  /** Byte of the image where the damaged record or payload begins. */
  readonly offset: number;
  /** Address of the page or mapping concerned, null where none is. */
  readonly address: number | null;
  /** What is wrong, where, and what would be right. */
  readonly message: string;
}

/** A problem on its way to whoever decides what becomes of it. */
export class ImageProblem extends Error {
  readonly problem: Problem;

  constructor(code: ProblemCode, offset: number, message: string, address: number | null = null) {
    super(message);
    this.problem = { code, offset, address, message };
  }
}

/** The error of a reader that needs the image to be right. */
export function problemError(imageName: string, problem: Problem): MmdumpError {
  const { code, offset, address, message } = problem;
  const fields = address === null ? { offset } : { offset, address };
  return new MmdumpError(code, `${imageName}: ${message}`, fields);
}

/** `mm 0, VMA 0x1000-0x9000, pages 0x2000-0x4000`, for messages. */
export function pagesText(
  mm: number,
  vma: { readonly start: number; readonly end: number },
  address: number,
  bytes: number,
): string {
  const range = `${hex(address)}-${hex(address + bytes)}`;
  return `mm ${mm}, VMA ${hex(vma.start)}-${hex(vma.end)}, pages ${range}`;
}
