/** Decodes the file head of a native image. */

import { DIGEST_NAMES, type DigestName } from '../../digest/digest-kind.ts';
import { PAGE_SHIFT } from '../../page.ts';
import { compressionProblem } from '../compressed.ts';
import { ImageProblem } from '../problem.ts';
import { Fields } from './fields.ts';
import {
  CPT_ARCH_X86_64,
  CPT_MAGIC,
  CPT_VERSION,
  CPT_VERSION_1,
  FILE_HEAD,
  HEAD_FLAG,
  MMS_MAX,
} from './records.ts';

/** What the first record of an image says: docs/IMAGE_FORMAT.md, "File head". */
export interface ImageHead {
  /** Length of the head in bytes. */
  readonly bytes: number;
  /** Version of the format: 1 or 2. */
  readonly version: number;
  /** True if the image shows one instant. False if the machine was running during the dump. */
  readonly frozen: boolean;
  /** The digest that each block carries of its pages. */
  readonly digest: DigestName;
  /** Pages of VM_DONTDUMP mappings were left out. */
  readonly dontDump: boolean;
  /** Whether blocks of pages may be compressed, and how. */
  readonly compress: 'none' | 'zstd';
  /** When the dump began, in nanoseconds since 1970. 0 if that was not recorded. */
  readonly time: bigint;
  /** Length that the image must have, in bytes. */
  readonly totalLen: number;
  /** Number of address spaces in the image. */
  readonly mmCount: number;
  /** The id of the parent image, in hexadecimal; null if there is none. */
  readonly parent: string | null;
  /** The crc32 of the head of the parent image; 0 if there is none. */
  readonly parentCrc: number;
  /** The crc32 of the head. */
  readonly recordCrc: number;
}

const VERSIONS = `${CPT_VERSION_1} or ${CPT_VERSION}`;

/** Whether these are the first bytes of a native image. */
function isCpt(start: Uint8Array): boolean {
  return start.length >= 4 && Buffer.from(start).readUInt32LE(0) === CPT_MAGIC;
}

/**
 * Decodes the head from the first bytes of an image of `imageBytes` bytes. Throws an ImageProblem:
 * IMAGE_NOT_RECOGNISED, IMAGE_TRUNCATED, IMAGE_VERSION, IMAGE_CHECKSUM or IMAGE_CORRUPT.
 */
export function decodeHead(start: Uint8Array, imageBytes: number): ImageHead {
  if (!isCpt(start)) {
    const other = 'it does not begin with MMCP, and is no OpenVZ file';
    const reason = compressionProblem(start) ?? other;
    throw new ImageProblem('IMAGE_NOT_RECOGNISED', 0, `not an mmdump image: ${reason}`);
  }
  if (start.length < FILE_HEAD.SIZE) {
    const message = `the file head needs ${FILE_HEAD.SIZE} bytes, the image has ${imageBytes}`;
    throw new ImageProblem('IMAGE_TRUNCATED', 0, message);
  }
  const fields = new Fields();
  fields.load(start.subarray(0, FILE_HEAD.SIZE), 0, 'file head');
  const version = fields.u16(FILE_HEAD.VERSION);
  // A later version may have another head. Report the version before looking at the checksum.
  if (fields.u16(FILE_HEAD.HDRLEN) !== FILE_HEAD.SIZE && !isKnown(version)) {
    throw wrongVersion('version', version, VERSIONS);
  }
  fields.assertChecksum(FILE_HEAD.RECORD_CRC);
  if (!isKnown(version)) throw wrongVersion('version', version, VERSIONS);
  const arch = fields.u16(FILE_HEAD.ARCH);
  if (arch !== CPT_ARCH_X86_64) throw wrongVersion('architecture', arch, CPT_ARCH_X86_64);
  const pageShift = fields.u16(FILE_HEAD.PAGE_SHIFT);
  if (pageShift !== PAGE_SHIFT) throw wrongVersion('page shift', pageShift, PAGE_SHIFT);
  if (fields.u16(FILE_HEAD.HDRLEN) !== FILE_HEAD.SIZE) throw fields.problem('wrong header length');
  const flags = fields.u32(FILE_HEAD.FLAGS);
  const mmCount = fields.u32(FILE_HEAD.MM_COUNT);
  if (mmCount > MMS_MAX) throw fields.problem(`mm_count ${mmCount}, expected at most ${MMS_MAX}`);
  return {
    bytes: FILE_HEAD.SIZE,
    version,
    frozen: (flags & HEAD_FLAG.NOT_FROZEN) === 0,
    digest: version === CPT_VERSION_1 ? digestOf1(flags) : digestOf(fields),
    dontDump: (flags & HEAD_FLAG.DONTDUMP_LEFT_OUT) !== 0,
    compress: version === CPT_VERSION_1 ? 'none' : compressOf(flags),
    time: fields.u64(FILE_HEAD.TIME),
    totalLen: fields.number(FILE_HEAD.TOTAL_LEN, 'total_len'),
    mmCount,
    parent: version === CPT_VERSION_1 ? null : parentOf(start),
    parentCrc: version === CPT_VERSION_1 ? 0 : fields.u32(FILE_HEAD.PARENT_CRC),
    recordCrc: fields.u32(FILE_HEAD.RECORD_CRC),
  };
}

function isKnown(version: number): boolean {
  return version === CPT_VERSION_1 || version === CPT_VERSION;
}

function digestOf1(flags: number): DigestName {
  return (flags & HEAD_FLAG.NO_PAYLOAD_CRC) === 0 ? 'crc32' : 'none';
}

function compressOf(flags: number): 'none' | 'zstd' {
  return (flags & HEAD_FLAG.ZSTD) === 0 ? 'none' : 'zstd';
}

function digestOf(fields: Fields): DigestName {
  const kind = fields.u32(FILE_HEAD.DIGEST);
  const name = DIGEST_NAMES[kind];
  if (name === undefined) throw wrongVersion('digest', kind, `0 to ${DIGEST_NAMES.length - 1}`);
  return name;
}

/** The id of the parent, which is all zeros if there is none. */
function parentOf(start: Uint8Array): string | null {
  const id = Buffer.from(start.slice(FILE_HEAD.PARENT, FILE_HEAD.PARENT + 16));
  return id.every((byte) => byte === 0) ? null : id.toString('hex');
}

function wrongVersion(what: string, found: number, expected: number | string): ImageProblem {
  return new ImageProblem('IMAGE_VERSION', 0, `file head: ${what} ${found}, expected ${expected}`);
}
