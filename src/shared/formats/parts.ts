/**
 * An image in several files. `OUT.000`, `OUT.001`, and so on are consecutive ranges of its bytes
 * (docs/IMAGE_FORMAT.md, "Parts"). All of them except the last one have the same length.
 */

/** The most parts of an image: names have three digits, and a process may have all parts open. */
export const PARTS_MAX = 1000;
/** The length of a part is a multiple of this, so blocks of the image are blocks of its file. */
export const PART_BLOCK = 4096;

const SUFFIX = /^\.\d{3}$/;

/** Path of the file that holds part number `part`, counted from 0. */
export function partPath(path: string, part: number): string {
  return `${path}.${String(part).padStart(3, '0')}`;
}

/** Whether `name` is the name of any part of `image`. Both are names, or both are paths. */
export function isPartOf(image: string, name: string): boolean {
  return name.startsWith(image) && SUFFIX.test(name.slice(image.length));
}

/** The path of the image whose first part is `path`, or undefined if `path` is no first part. */
export function imageOfFirstPart(path: string): string | undefined {
  return path.endsWith('.000') ? path.slice(0, -4) : undefined;
}

/**
 * The length in bytes of a part, if `bytes` bytes are to become `parts` parts. There may be fewer
 * parts if the image has few blocks.
 */
export function partLength(bytes: number, parts: number): number {
  return Math.max(1, Math.ceil(Math.ceil(bytes / PART_BLOCK) / parts)) * PART_BLOCK;
}

/** The number of parts of `partBytes` bytes that `bytes` bytes need, at least one. */
export function partCount(bytes: number, partBytes: number): number {
  return Math.max(1, Math.ceil(bytes / partBytes));
}

/** The bytes of part number `part`. The last one has the rest. */
export function bytesOfPart(bytes: number, partBytes: number, part: number): number {
  return Math.min(partBytes, bytes - part * partBytes);
}
