/**
 * Program headers of ELF core files. A reader may meet a million of them, so they are kept in
 * columns: numbers only, no object per segment. What they say is checked once all of them are read.
 */
import { hex, isPageAligned, TASK_SIZE } from '../../page.ts';
import { ImageProblem } from '../problem.ts';
import { SEGMENT_BYTES } from './header.ts';
import { putU64, u64At, viewOf } from './words.ts';

/** The fields of Elf64_Phdr, by their offsets in bytes. */
export const PROGRAM_HEADER = {
  TYPE: 0, //    u32, SEGMENT_TYPE
  FLAGS: 4, //   u32, SEGMENT_FLAG
  OFFSET: 8, //  u64: byte of the file
  VADDR: 16, //  u64
  PADDR: 24, //  u64: zero
  FILESZ: 32, // u64: bytes in the file
  MEMSZ: 40, //  u64: bytes of address space
  ALIGN: 48, //  u64
  SIZE: 56,
} as const;

/** Values of PROGRAM_HEADER.TYPE. */
export const SEGMENT_TYPE = { LOAD: 1, NOTE: 4 } as const;

/** Bits of PROGRAM_HEADER.FLAGS. */
export const SEGMENT_FLAG = { EXEC: 1, WRITE: 2, READ: 4 } as const;

const { TYPE, FLAGS, OFFSET, VADDR, FILESZ, MEMSZ, ALIGN, SIZE } = PROGRAM_HEADER;
const { LOAD, NOTE } = SEGMENT_TYPE;

/** The most segments that a reader takes. They need 40 bytes each. */
export const SEGMENTS_MAX = 0x10_0000;
/** The most bytes of notes that a reader takes, all PT_NOTE segments together. */
export const NOTES_MAX = 0x100_0000;
/** Where the kernel shows [vsyscall]. The page belongs to no mm, so it is left out. */
const VSYSCALL = 0xffff_ffff_ff60_0000;

/** A segment, decoded or to be encoded. */
export interface Segment {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly address: number;
  readonly fileBytes: number;
  readonly bytes: number;
  readonly align: number;
}

/** Encodes a program header at byte `at` of `view`. */
export function putSegment(view: DataView, at: number, segment: Segment): void {
  view.setUint32(at + TYPE, segment.type, true);
  view.setUint32(at + FLAGS, segment.flags, true);
  putU64(view, at + OFFSET, segment.offset);
  putU64(view, at + VADDR, segment.address);
  putU64(view, at + PROGRAM_HEADER.PADDR, 0);
  putU64(view, at + FILESZ, segment.fileBytes);
  putU64(view, at + MEMSZ, segment.bytes);
  putU64(view, at + ALIGN, segment.align);
}

/** Where the notes of a PT_NOTE segment lie. */
export interface NotePlace {
  readonly offset: number;
  readonly bytes: number;
  readonly align: number;
}

/** The segments of one core, in columns. The PT_LOAD segments with memory come first to last. */
export class SegmentTable {
  /** Places of the notes, in the order of their headers. */
  readonly notes: NotePlace[] = [];
  /** Bytes of segments that are outside of user space and belong to no mm: those of [vsyscall]. */
  leftOut = 0;
  count = 0;
  readonly #address: Float64Array;
  readonly #bytes: Float64Array;
  readonly #fileBytes: Float64Array;
  readonly #offset: Float64Array;
  readonly #flags: Uint8Array;
  #noteBytes = 0;

  /** `most`: how many headers will be added at most. */
  constructor(most: number) {
    this.#address = new Float64Array(most);
    this.#bytes = new Float64Array(most);
    this.#fileBytes = new Float64Array(most);
    this.#offset = new Float64Array(most);
    this.#flags = new Uint8Array(most);
  }

  address(index: number): number {
    return this.#address[index]!;
  }

  /** Bytes of address space. */
  bytes(index: number): number {
    return this.#bytes[index]!;
  }

  /** Bytes that the file has of it, from its start on. */
  fileBytes(index: number): number {
    return this.#fileBytes[index]!;
  }

  /** Byte of the file at which they begin. */
  offset(index: number): number {
    return this.#offset[index]!;
  }

  /** SEGMENT_FLAG. */
  flags(index: number): number {
    return this.#flags[index]!;
  }

  /**
   * Adds the program headers in `headers`, which lie at byte `position` of the file. Throws an
   * ImageProblem for one that makes no sense in a file of `size` bytes.
   */
  addHeaders(headers: Uint8Array, position: number, size: number): void {
    const view = viewOf(headers);
    for (let at = 0; at + SEGMENT_BYTES <= headers.length; at += SEGMENT_BYTES) {
      const type = view.getUint32(at + TYPE, true);
      if (type === NOTE) this.#addNote(view, at, position + at, size);
      else if (type === LOAD) this.#addLoad(view, at, position + at, size);
    }
  }

  #addNote(view: DataView, at: number, position: number, size: number): void {
    const offset = u64At(view, at + OFFSET);
    const bytes = u64At(view, at + FILESZ);
    if (offset + bytes > size) throw beyondEnd(position, 'its notes', offset + bytes, size);
    this.#noteBytes += bytes;
    if (this.#noteBytes > NOTES_MAX) {
      const text = `its notes have ${this.#noteBytes} bytes or more, and ${NOTES_MAX} are allowed`;
      throw new ImageProblem('IMAGE_CORRUPT', position, text);
    }
    const align = u64At(view, at + ALIGN) === 8 ? 8 : 4;
    if (bytes > 0) this.notes.push({ offset, bytes, align });
  }

  #addLoad(view: DataView, at: number, position: number, size: number): void {
    const address = u64At(view, at + VADDR);
    const bytes = u64At(view, at + MEMSZ);
    const fileBytes = u64At(view, at + FILESZ);
    const offset = u64At(view, at + OFFSET);
    if (bytes === 0) return;
    if (address === VSYSCALL) {
      this.leftOut += bytes;
      return;
    }
    if (address >= TASK_SIZE || bytes > TASK_SIZE - address) {
      const text = `its end, ${hex(address + bytes)}, is beyond user space (${hex(TASK_SIZE)})`;
      throw broken(position, address, text);
    }
    if (!isPageAligned(address) || !isPageAligned(bytes) || !isPageAligned(fileBytes)) {
      const lengths = `${hex(bytes)} bytes, ${hex(fileBytes)} of them in the file`;
      throw broken(position, address, `${lengths}: all three must be multiples of 4096`);
    }
    if (fileBytes > bytes) {
      const text = `the file has ${hex(fileBytes)} bytes of it, and it has only ${hex(bytes)}`;
      throw broken(position, address, text);
    }
    if (fileBytes > 0 && offset + fileBytes > size) {
      throw beyondEnd(position, segmentName(address), offset + fileBytes, size, address);
    }
    const index = this.count++;
    this.#address[index] = address;
    this.#bytes[index] = bytes;
    this.#fileBytes[index] = fileBytes;
    this.#offset[index] = offset;
    this.#flags[index] = view.getUint32(at + FLAGS, true) & 7;
  }

  /**
   * Sorts the segments by address. Throws an ImageProblem if two of them overlap, in memory or in
   * the file.
   */
  sort(): void {
    const { count } = this;
    if (!isAscending(this.#address, count)) this.#reorder();
    for (let index = 1; index < count; index++) {
      if (this.#address[index - 1]! + this.#bytes[index - 1]! > this.#address[index]!) {
        throw this.#overlap(index - 1, index, 'in memory');
      }
    }
    this.#assertDisjointInFile();
  }

  #reorder(): void {
    const order = sortedBy(this.#address, countUp(this.count));
    for (const column of [this.#address, this.#bytes, this.#fileBytes, this.#offset]) {
      column.set(Float64Array.from(order, (index) => column[index]!));
    }
    this.#flags.set(Uint8Array.from(order, (index) => this.#flags[index]!));
  }

  #assertDisjointInFile(): void {
    const stored = countUp(this.count).filter((index) => this.#fileBytes[index]! > 0);
    sortedBy(this.#offset, stored);
    for (let at = 1; at < stored.length; at++) {
      const before = stored[at - 1]!;
      const index = stored[at]!;
      if (this.#offset[before]! + this.#fileBytes[before]! > this.#offset[index]!) {
        throw this.#overlap(before, index, 'in the file');
      }
    }
  }

  #overlap(a: number, b: number, where: string): ImageProblem {
    const [first, second] = [this.#address[a]!, this.#address[b]!];
    const text = `the segments at ${hex(first)} and ${hex(second)} overlap ${where}`;
    return new ImageProblem('IMAGE_CORRUPT', this.#offset[b]!, text, second);
  }
}

function countUp(count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, index) => index);
}

/** Sorts indices of a column by its values. Most cores have them in order already. */
function sortedBy(column: Float64Array, indices: Uint32Array): Uint32Array {
  for (let at = 1; at < indices.length; at++) {
    if (column[indices[at - 1]!]! <= column[indices[at]!]!) continue;
    return indices.sort((a, b) => column[a]! - column[b]!);
  }
  return indices;
}

function isAscending(column: Float64Array, count: number): boolean {
  for (let at = 1; at < count; at++) if (column[at - 1]! > column[at]!) return false;
  return true;
}

function segmentName(address: number): string {
  return `the segment at ${hex(address)}`;
}

function broken(position: number, address: number, problem: string): ImageProblem {
  const known = address < Number.MAX_SAFE_INTEGER ? address : null;
  return new ImageProblem('IMAGE_CORRUPT', position, `${segmentName(address)}: ${problem}`, known);
}

function beyondEnd(
  position: number,
  what: string,
  end: number,
  size: number,
  address: number | null = null,
): ImageProblem {
  const text = `${what} would end at byte ${end}, and the file ends at ${size}`;
  return new ImageProblem('IMAGE_TRUNCATED', position, text, address);
}

/** Bytes of this many program headers. */
export function headerBytes(segments: number): number {
  return segments * SIZE;
}
