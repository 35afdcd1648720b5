/** What is wrong with an image. A reader throws it, and a verification collects it. */
import { MmdumpError } from '../errors.ts';
import { hex } from '../page.ts';

/** Codes of problems. They are also codes of errors (docs/ERRORS.md). */
export const PROBLEM_CODES = [
  'IMAGE_NOT_RECOGNISED',
  'IMAGE_VERSION',
  'IMAGE_TRUNCATED',
  'IMAGE_CORRUPT',
  'IMAGE_CHECKSUM',
  'IMAGE_PARENT_MISSING',
  'IMAGE_PARENT_DIFFERS',
] as const;

/** A kind of damage. */
export type ProblemCode = (typeof PROBLEM_CODES)[number];

/** One thing that is wrong with an image. */
export interface Problem {
  /** The kind of damage. */
  readonly code: ProblemCode;
  /** Byte of the image at which the damaged record or payload begins. */
  readonly offset: number;
  /** Address of the page or mapping concerned, or null if there is none. */
  readonly address: number | null;
  /** What is wrong, where it is, and what would be right. */
  readonly message: string;
}

/** A problem that is thrown, on its way to the code that rejects the image or lists the problem. */
export class ImageProblem extends Error {
  readonly problem: Problem;

  constructor(code: ProblemCode, offset: number, message: string, address: number | null = null) {
    super(message);
    this.problem = { code, offset, address, message };
  }
}

/** The error of a reader that needs a sound image. */
export function problemError(imageName: string, problem: Problem): MmdumpError {
  const { code, offset, address, message } = problem;
  const fields = address === null ? { offset } : { offset, address };
  return new MmdumpError(code, `${imageName}: ${message}`, fields);
}

/** Where pages are, for messages: `mm 0, VMA 0x1000-0x9000, pages 0x2000-0x4000`. */
export function pagesText(
  mm: number,
  vma: { readonly start: number; readonly end: number },
  address: number,
  bytes: number,
): string {
  const range = `${hex(address)}-${hex(address + bytes)}`;
  return `mm ${mm}, VMA ${hex(vma.start)}-${hex(vma.end)}, pages ${range}`;
}
