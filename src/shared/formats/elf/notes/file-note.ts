/**
 * NT_FILE: which parts of the address space show which parts of which files.
 *
 *   u64 count | u64 unit | count × (u64 start, u64 end, u64 offset in units) | names, each with NUL
 */
import { hex, isPageAligned, PAGE_SIZE, TASK_SIZE } from '../../../page.ts';
import { ImageProblem } from '../../problem.ts';
import { putU64, u64At, viewOf } from '../words.ts';

const HEADER = 16;
const ENTRY = 24;

/** A range of addresses that shows a file. */
export interface FileRange {
  readonly start: number;
  readonly end: number;
  /** Byte of the file at `start`. */
  readonly offset: number;
  /** The raw bytes of its path. */
  readonly path: Uint8Array;
}

/**
 * Decodes the payload of the note, which lies at byte `position` of the file. The ranges come in
 * ascending order. Throws an ImageProblem if something leads beyond the note, or makes no sense.
 */
export function decodeFileNote(payload: Uint8Array, position: number): FileRange[] {
  const fail = (message: string, at = 0): ImageProblem => {
    return new ImageProblem('IMAGE_CORRUPT', position + at, `NT_FILE: ${message}`);
  };
  if (payload.length < HEADER) throw fail(`it has ${payload.length} bytes, expected 16 or more`);
  const view = viewOf(payload);
  const count = u64At(view, 0);
  const unit = u64At(view, 8);
  if (count > (payload.length - HEADER) / ENTRY) {
    throw fail(`it counts ${count} ranges, and has ${payload.length} bytes`);
  }
  const ranges: FileRange[] = [];
  let name = HEADER + count * ENTRY;
  for (let index = 0; index < count; index++) {
    const at = HEADER + index * ENTRY;
    const start = u64At(view, at);
    const end = u64At(view, at + 8);
    const offset = u64At(view, at + 16) * unit;
    const isRange = isPageAligned(start) && isPageAligned(end) && start < end && end <= TASK_SIZE;
    if (!isRange || !isPageAligned(offset) || offset > Number.MAX_SAFE_INTEGER) {
      throw fail(`range ${hex(start)}-${hex(end)} at byte ${offset} of its file`, at);
    }
    const nul = payload.indexOf(0, name);
    if (nul < 0) throw fail(`range ${hex(start)}-${hex(end)} has no name`, at);
    ranges.push({ start, end, offset, path: payload.subarray(name, nul) });
    name = nul + 1;
  }
  ranges.sort((a, b) => a.start - b.start);
  for (let index = 1; index < ranges.length; index++) {
    if (ranges[index - 1]!.end <= ranges[index]!.start) continue;
    throw fail(`two ranges overlap at ${hex(ranges[index]!.start)}`);
  }
  return ranges;
}

/** Encodes the payload of the note. */
export function encodeFileNote(ranges: readonly FileRange[]): Uint8Array {
  const names = ranges.reduce((sum, { path }) => sum + path.length + 1, 0);
  const payload = new Uint8Array(HEADER + ranges.length * ENTRY + names);
  const view = viewOf(payload);
  putU64(view, 0, ranges.length);
  putU64(view, 8, PAGE_SIZE);
  let name = HEADER + ranges.length * ENTRY;
  for (const [index, { start, end, offset, path }] of ranges.entries()) {
    const at = HEADER + index * ENTRY;
    putU64(view, at, start);
    putU64(view, at + 8, end);
    putU64(view, at + 16, offset / PAGE_SIZE);
    payload.set(path, name);
    name += path.length + 1;
  }
  return payload;
}
