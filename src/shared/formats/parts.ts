/**
 * An image in several files: `OUT.000`, `OUT.001`, … are plain byte ranges of it, one behind the other
 * (docs/IMAGE_FORMAT.md, "Parts"). All but the last have the same length.
 */

/** Every part may be open at once, in one process, and names have three digits. */
export const PARTS_MAX = 1000;
/** A part's length is a multiple of it: blocks of the image are blocks of its file. */
export const PART_BLOCK = 4096;

const SUFFIX = /^\.\d{3}$/;

/** The file that holds part number `part`, counted from 0. */
export function partPath(path: string, part: number): string {
  return `${path}.${String(part).padStart(3, '0')}`;
}

/** Whether `name` is that of a part of `image`, whatever its number. Both are names, or both paths. */
export function isPartOf(image: string, name: string): boolean {
  return name.startsWith(image) && SUFFIX.test(name.slice(image.length));
}

/** The image whose first part this path is, or undefined. */
export function imageOfFirstPart(path: string): string | undefined {
  return path.endsWith('.000') ? path.slice(0, -4) : undefined;
}

/** Bytes of a part, if `bytes` are to become `parts` parts, or fewer where blocks are few. */
export function partLength(bytes: number, parts: number): number {
  return Math.max(1, Math.ceil(Math.ceil(bytes / PART_BLOCK) / parts)) * PART_BLOCK;
}

/** Parts of `partBytes` that `bytes` take: at least one. */
export function partCount(bytes: number, partBytes: number): number {
  return Math.max(1, Math.ceil(bytes / partBytes));
}

/** Bytes of part number `part`: what is left, for the last one. */
export function bytesOfPart(bytes: number, partBytes: number, part: number): number {
  return Math.min(partBytes, bytes - part * partBytes);
}
