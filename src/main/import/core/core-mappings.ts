/**
 * The mappings that a core file describes. A segment that shows files is cut where NT_FILE says so.
 * Segments are joined where one writer has cut a mapping, because a part of it is not in the file.
 */
import { MAX_MAP_COUNT } from '../../../mmu/vma/vma-table.ts';
import { MmdumpError } from '../../../shared/errors.ts';
import type { FileRange } from '../../../shared/formats/elf/notes/file-note.ts';
import { SEGMENT_FLAG, type SegmentTable } from '../../../shared/formats/elf/segments.ts';
import { VM } from '../../../shared/vm-flags.ts';

/** A part of a segment that shows one file, or none. Addresses and lengths are bytes. */
export interface Piece {
  readonly start: number;
  readonly end: number;
  /** VM_*. */
  readonly flags: number;
  readonly file: FileRange | null;
  /** Bytes that the core has of it, from `start` on. */
  readonly stored: number;
  /** Byte of the core at which they begin. */
  readonly offset: number;
}

/** A mapping: pieces that follow each other. */
export interface CoreVma {
  readonly start: number;
  end: number;
  readonly flags: number;
  readonly file: FileRange | null;
}

/** What a core file does not tell: every mapping may be given any protection later. */
const MAY = VM.MAYREAD | VM.MAYWRITE | VM.MAYEXEC;

/** Protection of a mapping that only NT_FILE names: most of them are code and constants. */
const NAMED_ONLY = MAY | VM.READ | VM.EXEC;

/**
 * The pieces of all segments, ascending, and those of mappings that only NT_FILE names: gcore writes
 * no segment for what the files supply. `files` ascend and do not overlap.
 */
export function* piecesOf(
  segments: SegmentTable,
  files: readonly FileRange[],
): Generator<Piece, void> {
  const named = new NamedRanges(files);
  for (let index = 0; index < segments.count; index++) {
    const start = segments.address(index);
    const end = start + segments.bytes(index);
    yield* named.before(start);
    const stored = segments.fileBytes(index);
    const offset = segments.offset(index);
    const flags = vmFlags(segments.flags(index));
    for (let at = start; at < end; ) {
      const file = named.at(at);
      const to = Math.min(end, file?.end ?? named.nextAfter(at));
      const done = at - start;
      const left = Math.min(to - at, Math.max(0, stored - done));
      yield { start: at, end: to, flags, file, stored: left, offset: offset + done };
      at = to;
    }
    named.passed(end);
  }
  yield* named.before(Number.POSITIVE_INFINITY);
}

/** The ranges of NT_FILE, which are asked for by ascending addresses. */
class NamedRanges {
  readonly #files: readonly FileRange[];
  #next = 0;
  /** What lies below this is in a segment, or was told by `before`. */
  #done = 0;

  constructor(files: readonly FileRange[]) {
    this.#files = files;
  }

  /** The parts of ranges below `limit` that are in no segment. */
  *before(limit: number): Generator<Piece, void> {
    for (; this.#next < this.#files.length; this.#next++) {
      const file = this.#files[this.#next]!;
      const start = Math.max(this.#done, file.start);
      const end = Math.min(limit, file.end);
      if (start < end) yield { start, end, flags: NAMED_ONLY, file, stored: 0, offset: 0 };
      if (file.end > limit) break;
    }
    this.#done = limit;
  }

  /** Everything below `end` is in a segment. */
  passed(end: number): void {
    this.#done = end;
  }

  /** The range that holds an address. */
  at(address: number): FileRange | null {
    while ((this.#files[this.#next]?.end ?? Number.POSITIVE_INFINITY) <= address) this.#next++;
    const file = this.#files[this.#next];
    return file !== undefined && file.start <= address ? file : null;
  }

  /** Where the next range begins, if `address` lies in none. */
  nextAfter(address: number): number {
    const start = this.#files[this.#next]?.start ?? Number.POSITIVE_INFINITY;
    return start > address ? start : Number.POSITIVE_INFINITY;
  }
}

function vmFlags(flags: number): number {
  const isReadable = (flags & SEGMENT_FLAG.READ) !== 0;
  const isWritable = (flags & SEGMENT_FLAG.WRITE) !== 0;
  const isExecutable = (flags & SEGMENT_FLAG.EXEC) !== 0;
  return (
    MAY |
    (isReadable ? VM.READ : 0) |
    (isWritable ? VM.WRITE | VM.ACCOUNT : 0) |
    (isExecutable ? VM.EXEC : 0)
  );
}

/** Collects the mappings of pieces, which are added in ascending order. */
export class CoreMappings {
  readonly vmas: CoreVma[] = [];
  readonly #core: { readonly name: string; readonly path: string };
  /** Whether the core has the last page of the last piece. */
  #hasEnd = false;

  /** `core` is for messages. */
  constructor(core: { readonly name: string; readonly path: string }) {
    this.#core = core;
  }

  /** Throws IMAGE_TOO_LARGE if there are more mappings than an mm can have. */
  add({ start, end, flags, file, stored }: Piece): void {
    const last = this.vmas.at(-1);
    const joins =
      last !== undefined &&
      last.end === start &&
      last.flags === flags &&
      last.file === file &&
      this.#hasEnd !== stored > 0;
    this.#hasEnd = stored === end - start;
    if (joins) {
      last.end = end;
      return;
    }
    if (this.vmas.length === MAX_MAP_COUNT) {
      const text = `it has more than ${MAX_MAP_COUNT} mappings, the most of an address space`;
      const { name, path } = this.#core;
      throw new MmdumpError('IMAGE_TOO_LARGE', `${name}: ${text}`, { path });
    }
    this.vmas.push({ start, end, flags, file });
  }
}
