/**
 * The header of an ELF core file (ELF64, ET_CORE, x86-64, little-endian), and the section header
 * that holds the number of segments where the header has no room for it. elf(5) has the fields.
 */
import { compressionProblem } from '../compressed.ts';
import { ImageProblem } from '../problem.ts';
import { putU64, u64At } from './words.ts';

/** The fields of Elf64_Ehdr, by their offsets in bytes. */
export const ELF_HEADER = {
  MAGIC: 0, //      u8[4]
  CLASS: 4, //      u8: 2 = 64 bits
  DATA: 5, //       u8: 1 = little-endian
  VERSION: 6, //    u8: 1
  OSABI: 7, //      u8: 3 = Linux; lldb finds out by it which system wrote the core
  TYPE: 16, //      u16: 4 = core
  MACHINE: 18, //   u16: 62 = x86-64
  VERSION2: 20, //  u32: 1
  ENTRY: 24, //     u64
  PHOFF: 32, //     u64: place of the program headers
  SHOFF: 40, //     u64: place of the section headers, or 0
  FLAGS: 48, //     u32
  EHSIZE: 52, //    u16: 64
  PHENTSIZE: 54, // u16: 56
  PHNUM: 56, //     u16: number of program headers, or PN_XNUM
  SHENTSIZE: 58, // u16: 64
  SHNUM: 60, //     u16
  SHSTRNDX: 62, //  u16
  SIZE: 64,
} as const;

/** The fields of Elf64_Shdr that section header 0 uses, by their offsets in bytes. */
export const SECTION_HEADER = {
  TYPE: 4, //  u32: 0 = SHT_NULL
  SIZE0: 32, // u64: number of section headers, if SHNUM is 0
  INFO: 44, // u32: number of program headers, if PHNUM is PN_XNUM
  SIZE: 64,
} as const;

/** PHNUM of a file with more than 65 534 segments. Their number is in section header 0. */
export const PN_XNUM = 0xffff;
/** Bytes of a program header. */
export const SEGMENT_BYTES = 56;

const { CLASS, DATA, TYPE, MACHINE, PHOFF, SHOFF, PHENTSIZE, PHNUM, SIZE } = ELF_HEADER;
const MAGIC = 0x464c_457f; // 7f 'E' 'L' 'F'
const ET_CORE = 4;
const EM_X86_64 = 62;
const ELFOSABI_LINUX = 3;
const TYPES = ['no type', 'a relocatable file', 'an executable', 'a shared object'];

/** What a reader needs of the header. Nothing of it is compared with the length of the file. */
export interface CoreHeader {
  readonly phoff: number;
  /** Number of program headers, or PN_XNUM. */
  readonly phnum: number;
  readonly shoff: number;
}

/**
 * Decodes the header from the first bytes of a file. Throws an ImageProblem if it is not that of a
 * core file of x86-64.
 */
export function decodeHeader(bytes: Uint8Array): CoreHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 16 || view.getUint32(0, true) !== MAGIC) {
    const text = compressionProblem(bytes) ?? 'it is no ELF file';
    throw new ImageProblem('IMAGE_NOT_RECOGNISED', 0, text);
  }
  if (bytes[CLASS] !== 2) throw foreign('it is a 32-bit ELF file, and only 64-bit ones are read');
  if (bytes[DATA] !== 1) throw foreign('it is big-endian, and only little-endian files are read');
  if (bytes.length < SIZE) {
    throw new ImageProblem('IMAGE_TRUNCATED', 0, `it ends at byte ${bytes.length}, in its header`);
  }
  const type = view.getUint16(TYPE, true);
  if (type !== ET_CORE) {
    const found = TYPES[type] ?? `an ELF file of type ${type}`;
    throw new ImageProblem('IMAGE_NOT_RECOGNISED', TYPE, `it is ${found}, not a core file`);
  }
  const machine = view.getUint16(MACHINE, true);
  if (machine !== EM_X86_64) {
    throw foreign(`it is a core of ELF machine ${machine}, and only x86-64 (62) is read`);
  }
  const phnum = view.getUint16(PHNUM, true);
  const size = view.getUint16(PHENTSIZE, true);
  if (phnum === 0) throw new ImageProblem('IMAGE_CORRUPT', PHNUM, 'it has no program headers');
  if (size !== SEGMENT_BYTES) {
    const text = `its program headers have ${size} bytes, expected ${SEGMENT_BYTES}`;
    throw new ImageProblem('IMAGE_CORRUPT', PHENTSIZE, text);
  }
  return { phoff: u64At(view, PHOFF), phnum, shoff: u64At(view, SHOFF) };
}

function foreign(message: string): ImageProblem {
  return new ImageProblem('IMAGE_VERSION', 0, message);
}

/** Number of program headers, from the bytes of section header 0. */
export function decodeSegmentCount(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return view.getUint32(SECTION_HEADER.INFO, true);
}

/** Where the tables of a core lie, and how many segments it has. */
export interface CoreTables {
  readonly phoff: number;
  readonly segments: number;
}

/** Whether section header 0 is needed, which then follows the program headers. */
export function needsSection(segments: number): boolean {
  return segments >= PN_XNUM;
}

/** Encodes the header of a core. */
export function encodeHeader({ phoff, segments }: CoreTables): Uint8Array {
  const bytes = new Uint8Array(SIZE);
  const view = new DataView(bytes.buffer);
  const isExtended = needsSection(segments);
  view.setUint32(0, MAGIC, true);
  bytes[CLASS] = 2;
  bytes[DATA] = 1;
  bytes[ELF_HEADER.VERSION] = 1;
  bytes[ELF_HEADER.OSABI] = ELFOSABI_LINUX;
  view.setUint16(TYPE, ET_CORE, true);
  view.setUint16(MACHINE, EM_X86_64, true);
  view.setUint32(ELF_HEADER.VERSION2, 1, true);
  putU64(view, PHOFF, phoff);
  putU64(view, SHOFF, isExtended ? phoff + segments * SEGMENT_BYTES : 0);
  view.setUint16(ELF_HEADER.EHSIZE, SIZE, true);
  view.setUint16(PHENTSIZE, SEGMENT_BYTES, true);
  view.setUint16(PHNUM, isExtended ? PN_XNUM : segments, true);
  view.setUint16(ELF_HEADER.SHENTSIZE, isExtended ? SECTION_HEADER.SIZE : 0, true);
  view.setUint16(ELF_HEADER.SHNUM, isExtended ? 1 : 0, true);
  return bytes;
}

/** Encodes section header 0 of a core with so many segments that it needs one. */
export function encodeSection(segments: number): Uint8Array {
  const bytes = new Uint8Array(SECTION_HEADER.SIZE);
  const view = new DataView(bytes.buffer);
  putU64(view, SECTION_HEADER.SIZE0, 1);
  view.setUint32(SECTION_HEADER.INFO, segments, true);
  return bytes;
}
