/**
 * Encodes the records that occur once per VMA or once per block. The functions take plain numbers
 * and write into words; `at` is the word at which the record begins. All bytes of the record are
 * written; those that belong to no field are zero.
 *
 * docs/IMAGE_FORMAT.md has the byte tables.
 */

import { crc32Words } from '../../digest/crc32.ts';
import {
  CONTENT,
  COPYPAGES_RECORD,
  OBJECT_TYPE,
  PAGES_FLAG,
  PAGES_RECORD,
  VMA_IMAGE,
} from './records.ts';

const TWO_32 = 0x1_0000_0000;

// Offsets in words, as local copies: see docs/decisions/hot-loops.md.
const PAGES_WORDS = PAGES_RECORD.SIZE >> 2;
const PAGES_START = PAGES_RECORD.START >> 2;
const PAGES_END = PAGES_RECORD.END >> 2;
const PAGES_DIGEST = PAGES_RECORD.DIGEST >> 2;
const PAGES_FLAGS = PAGES_RECORD.FLAGS >> 2;
const PAGES_CRC = PAGES_RECORD.RECORD_CRC >> 2;
const PAGES_HEAD = PAGES_RECORD.SIZE;
const PAGES_TYPE = OBJECT_TYPE.PAGES;
const { DIGEST } = PAGES_FLAG;
const { VOID, DATA, ARRAY } = CONTENT;

const COPY_WORDS = COPYPAGES_RECORD.SIZE >> 2;
const COPY_SOURCE = COPYPAGES_RECORD.SOURCE >> 2;
const COPY_CRC = COPYPAGES_RECORD.RECORD_CRC >> 2;

const VMA_WORDS = VMA_IMAGE.SIZE >> 2;

function putU64(words: Int32Array, at: number, value: number): void {
  words[at] = value | 0;
  words[at + 1] = Math.floor(value / TWO_32) | 0;
}

/** Writes the header of an object. `payload` is the number of bytes that follow the record. */
function putObject(
  words: Int32Array,
  at: number,
  recordWords: number,
  payload: number,
  type: number,
  content: number,
): void {
  putU64(words, at, recordWords * 4 + payload);
  words[at + 2] = type;
  words[at + 3] = (recordWords * 4) | (content << 16);
}

/**
 * Stores the crc32 of the record, `count` words, in its word `crcAt`, and returns it. That word
 * must be 0.
 */
function sign(words: Int32Array, at: number, count: number, crcAt: number): number {
  const crc = crc32Words(words, at, count) | 0;
  words[at + crcAt] = crc;
  return crc;
}

/**
 * Writes a PAGES record. It is not signed yet, because it may hold the digest of the pages that
 * follow. `start` and `end` are addresses in bytes, and `flags` are PAGES_FLAG bits without DIGEST.
 * `stored` is the length of the payload of a block that has one.
 */
export function putPages(
  words: Int32Array,
  at: number,
  start: number,
  end: number,
  hasData: boolean,
  flags: number,
  stored: number = end - start,
): void {
  const payload = hasData ? stored : 0;
  putU64(words, at, PAGES_HEAD + payload);
  words[at + 2] = PAGES_TYPE;
  words[at + 3] = PAGES_HEAD | ((hasData ? DATA : VOID) << 16);
  putU64(words, at + PAGES_START, start);
  putU64(words, at + PAGES_END, end);
  words[at + PAGES_DIGEST] = 0;
  words[at + PAGES_DIGEST + 1] = 0;
  words[at + PAGES_CRC] = 0;
  words[at + PAGES_FLAGS] = flags;
}

/** Stores the digest of the pages in a PAGES record, as two halves. */
export function putDigest(words: Int32Array, at: number, low: number, high: number): void {
  words[at + PAGES_DIGEST] = low | 0;
  words[at + PAGES_DIGEST + 1] = high | 0;
  words[at + PAGES_FLAGS]! |= DIGEST;
}

/** Signs a PAGES record, and returns its record_crc. */
export function signPages(words: Int32Array, at: number): number {
  return sign(words, at, PAGES_WORDS, PAGES_CRC);
}

/**
 * Writes a COPYPAGES record, and returns its record_crc. `start` and `end` are addresses in bytes,
 * and `source` is the byte of the image at which the MM object of the donor begins.
 */
export function encodeCopyPages(
  words: Int32Array,
  at: number,
  start: number,
  end: number,
  source: number,
): number {
  putObject(words, at, COPY_WORDS, 0, OBJECT_TYPE.COPYPAGES, VOID);
  putU64(words, at + PAGES_START, start);
  putU64(words, at + PAGES_END, end);
  putU64(words, at + COPY_SOURCE, source);
  words[at + COPY_CRC] = 0;
  words[at + COPY_WORDS - 1] = 0;
  return sign(words, at, COPY_WORDS, COPY_CRC);
}

/** The fields of a VMA record. Addresses are in bytes, `pgoff` is in pages. */
export interface VmaRecord {
  readonly hasFile: boolean;
  readonly type: number; // VMA_TYPE
  /** anonvmaid, or 0 if the VMA neither gives nor takes pages by COPYPAGES. */
  readonly anonId: number;
  readonly start: number;
  readonly end: number;
  readonly flags: number;
  readonly pgprotLow: number;
  readonly pgprotHigh: number;
  readonly pgoff: number;
  /** Pages that the image stores for the VMA. */
  readonly pageNum: number;
}

/** Writes a VMA record, and returns its record_crc. */
export function encodeVma(words: Int32Array, at: number, vma: VmaRecord): number {
  putObject(words, at, VMA_WORDS, 0, OBJECT_TYPE.VMA, ARRAY);
  const file = vma.hasFile ? 0 : -1; // 0: a NAME follows; CPT_NULL: the VMA has no file
  words[at + (VMA_IMAGE.FILE >> 2)] = file;
  words[at + (VMA_IMAGE.FILE >> 2) + 1] = file;
  words[at + (VMA_IMAGE.VMA_TYPE >> 2)] = vma.type;
  words[at + (VMA_IMAGE.ANONVMA >> 2)] = vma.anonId === 0 ? 0 : 1;
  putU64(words, at + (VMA_IMAGE.ANONVMAID >> 2), vma.anonId);
  putU64(words, at + (VMA_IMAGE.START >> 2), vma.start);
  putU64(words, at + (VMA_IMAGE.END >> 2), vma.end);
  words[at + (VMA_IMAGE.FLAGS >> 2)] = vma.flags;
  words[at + (VMA_IMAGE.FLAGS >> 2) + 1] = 0;
  words[at + (VMA_IMAGE.PGPROT >> 2)] = vma.pgprotLow;
  words[at + (VMA_IMAGE.PGPROT >> 2) + 1] = vma.pgprotHigh;
  putU64(words, at + (VMA_IMAGE.PGOFF >> 2), vma.pgoff);
  putU64(words, at + (VMA_IMAGE.PAGE_NUM >> 2), vma.pageNum);
  words[at + (VMA_IMAGE.RECORD_CRC >> 2)] = 0;
  words[at + VMA_WORDS - 1] = 0;
  return sign(words, at, VMA_WORDS, VMA_IMAGE.RECORD_CRC >> 2);
}
