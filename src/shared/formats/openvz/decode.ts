/**
 * Decodes the records of an OpenVZ 6 container file. The functions are pure. They are given the
 * header of one record, and throw an ImageProblem for what makes no sense by itself.
 */
import { Fields } from '../cpt/fields.ts';
import { ImageProblem } from '../problem.ts';
import {
  ITEM,
  MAJOR_HEADER,
  MAJOR_TAIL,
  OPENVZ_BITS,
  OPENVZ_COPYPAGES,
  OPENVZ_FILE,
  OPENVZ_INODE,
  OPENVZ_MM,
  OPENVZ_PAGES,
  OPENVZ_REGISTERS,
  OPENVZ_TASK,
  OPENVZ_VMA,
} from './fields.ts';
import { OBJECT, SECTIONS, SIGNATURE, SUPER_TMPFS, VERSION } from './records.ts';

/** The header of an object, or of a section, which has no content. */
export interface Item {
  /** Byte of the file at which it begins. */
  readonly offset: number;
  /** Bytes with all that is in it. */
  readonly length: number;
  readonly type: number;
  readonly headerLength: number;
  readonly content: number;
}

/** The types of objects that are read, with the least lengths of their headers. */
const KNOWN: ReadonlyMap<number, readonly [name: string, bytes: number]> = new Map([
  [OBJECT.TASK, ['TASK', OPENVZ_TASK.SIZE]],
  [OBJECT.MM, ['MM', OPENVZ_MM.SIZE]],
  [OBJECT.FILE, ['FILE', OPENVZ_FILE.SIZE]],
  [OBJECT.INODE, ['INODE', OPENVZ_INODE.SIZE]],
  [OBJECT.VMA, ['VMA', OPENVZ_VMA.SIZE]],
  [OBJECT.TRAILER, ['TRAILER', MAJOR_TAIL.SIZE]],
  [OBJECT.MM_AUXV, ['MM_AUXV', ITEM.SIZE]],
  [OBJECT.X86_64_REGS, ['X86_64_REGS', OPENVZ_REGISTERS.SIZE]],
  [OBJECT.PAGES, ['PAGES', OPENVZ_PAGES.SIZE]],
  [OBJECT.COPYPAGES, ['COPYPAGES', OPENVZ_COPYPAGES.SIZE]],
  [OBJECT.NAME, ['NAME', ITEM.SIZE]],
  [OBJECT.BITS, ['BITS', OPENVZ_BITS.SIZE]],
]);

/** Most bytes of a header that are looked at. */
export const HEADER_MAX: number = OPENVZ_TASK.SIZE;
/** The tail with the header of its section: the last bytes of every file. */
export const TRAILER_BYTES: number = ITEM.SIZE + MAJOR_TAIL.SIZE;

const NO_OBJECT = 0xffff_ffff_ffff_ffffn;

/** Whether these are the first bytes of a container file. */
export function isOpenvz(start: Uint8Array): boolean {
  return SIGNATURE.every((byte, at) => start[at] === byte);
}

/** What the head says: when the container was stopped, in nanoseconds since 1970. */
export function decodeMajorHeader(start: Uint8Array, fileBytes: number): bigint {
  if (start.length < MAJOR_HEADER.SIZE) {
    const message = `the head of an OpenVZ file needs ${MAJOR_HEADER.SIZE} bytes, this one has ${fileBytes}`;
    throw new ImageProblem('IMAGE_TRUNCATED', 0, message);
  }
  const fields = new Fields();
  fields.load(start.subarray(0, MAJOR_HEADER.SIZE), 0, 'head of an OpenVZ file');
  const version = fields.u16(MAJOR_HEADER.VERSION);
  if (version !== VERSION) throw otherVersion(`version 0x${version.toString(16)}, expected 0x803`);
  const arch = fields.u16(MAJOR_HEADER.OS_ARCH);
  if (arch === 0) throw otherVersion('a 32-bit container (i386), expected x86-64');
  if (arch !== 1) throw otherVersion(`architecture ${arch}, expected 1 (x86-64)`);
  const page = fields.u16(MAJOR_HEADER.PAGE_SIZE);
  if (page !== 4096) throw otherVersion(`pages of ${page} bytes, expected 4096`);
  const length = fields.u16(MAJOR_HEADER.HDRLEN);
  if (length !== MAJOR_HEADER.SIZE) throw fields.problem(`a head of ${length} bytes, expected 80`);
  const seconds = BigInt(fields.u32(MAJOR_HEADER.START_SEC));
  return seconds * 1_000_000_000n + BigInt(fields.u32(MAJOR_HEADER.START_NSEC));
}

/** Checks the last TRAILER_BYTES bytes of a file, which has this many sections and this length. */
export function checkTrailer(
  bytes: Uint8Array,
  fileBytes: number,
  sections: ReadonlyMap<number, number>,
): void {
  const offset = fileBytes - MAJOR_TAIL.SIZE;
  const fields = new Fields();
  fields.load(bytes.subarray(ITEM.SIZE), offset, 'TRAILER');
  const isSigned = SIGNATURE.every((byte, at) => {
    return bytes[ITEM.SIZE + MAJOR_TAIL.SIGNATURE + at] === byte;
  });
  const isTail = fields.u32(ITEM.TYPE) === OBJECT.TRAILER && fields.u64(ITEM.NEXT) === 248n;
  if (!isSigned || !isTail) throw fields.problem('the tail of an OpenVZ file is not there');
  const count = fields.u32(MAJOR_TAIL.COUNT);
  if (count !== SECTIONS) throw fields.problem(`${count} sections, expected ${SECTIONS}`);
  for (let section = 0; section < SECTIONS; section++) {
    const told = fields.u64(MAJOR_TAIL.SECTIONS + section * 8);
    const found = sections.get(section);
    if (told === (found === undefined ? NO_OBJECT : BigInt(found))) continue;
    const place = found === undefined ? 'it is not there' : `it is at byte ${found}`;
    throw fields.problem(`section ${section} at byte ${told}, but ${place}`);
  }
}

/**
 * The header of the section or object at byte `offset`, which must end at byte `end` at the latest.
 * `what` is its name for messages.
 */
export function decodeItem(bytes: Uint8Array, offset: number, end: number, what?: string): Item {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < ITEM.SIZE || end - offset < ITEM.SIZE) {
    throw corrupt(offset, `${what ?? 'object'} at byte ${offset}`, `it is cut at byte ${end}`);
  }
  const type = view.getUint32(ITEM.TYPE, true);
  const known = what === undefined ? KNOWN.get(type) : undefined;
  const where = `${what ?? known?.[0] ?? `object ${type}`} at byte ${offset}`;
  const high = view.getUint32(ITEM.NEXT + 4, true);
  const length = high * 2 ** 32 + view.getUint32(ITEM.NEXT, true);
  const headerLength = view.getUint16(ITEM.HDRLEN, true);
  const least = known?.[1] ?? ITEM.SIZE;
  if (headerLength < least || headerLength % 8 !== 0) {
    throw corrupt(offset, where, `a header of ${headerLength} bytes, expected ${least} or more`);
  }
  if (length < headerLength || length % 8 !== 0) {
    const reason = `length ${length} is not a multiple of 8 from ${headerLength} on`;
    throw corrupt(offset, where, reason);
  }
  if (length > end - offset) {
    throw corrupt(offset, where, `length ${length} is beyond byte ${end}, where it must end`);
  }
  return { offset, length, type, headerLength, content: view.getUint16(ITEM.CONTENT, true) };
}

/** The name of a type of object, for messages. */
export function objectName(type: number): string {
  return KNOWN.get(type)?.[0] ?? `object ${type}`;
}

/** A position of another object, or null. */
export function reference(fields: Fields, at: number, name: string): number | null {
  return fields.u64(at) === NO_OBJECT ? null : fields.number(at, name);
}

/** What an INODE says of its file. */
export interface InodeFields {
  readonly bytes: number;
  readonly isMemoryBacked: boolean;
}

export function decodeInode(fields: Fields): InodeFields {
  const isMemoryBacked = fields.u32(OPENVZ_INODE.SUPER) === SUPER_TMPFS;
  return { bytes: fields.number(OPENVZ_INODE.BYTES, 'size'), isMemoryBacked };
}

/** What a FILE says, besides its NAME. */
export interface FileFields {
  readonly isDeleted: boolean;
  /** Position of its INODE; null if it has none. */
  readonly inode: number | null;
}

export function decodeFile(fields: Fields): FileFields {
  const isDeleted = (fields.u32(OPENVZ_FILE.LFLAGS) & 1) !== 0;
  return { isDeleted, inode: reference(fields, OPENVZ_FILE.INODE, 'inode') };
}

/** The range of PAGES or COPYPAGES, in bytes. */
export function decodeRange(fields: Fields): { readonly start: number; readonly end: number } {
  const start = fields.number(OPENVZ_PAGES.START, 'start');
  return { start, end: fields.number(OPENVZ_PAGES.END, 'end') };
}

function corrupt(offset: number, where: string, reason: string): ImageProblem {
  return new ImageProblem('IMAGE_CORRUPT', offset, `${where}: ${reason}`);
}

function otherVersion(what: string): ImageProblem {
  return new ImageProblem('IMAGE_VERSION', 0, `OpenVZ file: ${what}`);
}
