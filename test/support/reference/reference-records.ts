/** Writes the records of a native image one by one, field by field, for the reference dumper. */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { AddressSpace, Machine } from 'mmdump';
import {
  BITS_RECORD,
  CONTENT,
  COPYPAGES_RECORD,
  CPT_ARCH_X86_64,
  CPT_MAGIC,
  CPT_VERSION,
  DATA_RECORD,
  FILE_HEAD,
  HEAD_FLAG,
  MM_RECORD,
  NAME_KIND,
  NAME_RECORD,
  OBJECT,
  OBJECT_TYPE,
  PAGES_FLAG,
  PAGES_RECORD,
  STATE_RECORD,
  VMA_IMAGE,
  VMA_TYPE,
} from '../../../src/shared/formats/cpt/records.ts';
import { zstdOf } from '../images/zstd.ts';
import { xxh3Outside } from './outside-xxh3.ts';
import type { ClassifyOptions } from './reference-classifier.ts';
import { frameBytes, type ReferenceFile, type ReferenceVma } from './reference-memory.ts';

export type Policy = 'fail' | 'skip' | 'copy';

export interface ReferenceOptions extends ClassifyOptions {
  readonly checksum: 'xxh3' | 'crc32' | 'none';
  readonly blocks: 'run' | 'page';
  readonly unsupported: Policy;
  readonly compress?: 'none' | 'zstd';
  readonly state?: { readonly [name: string]: Uint8Array };
}

export interface ReferenceImage {
  readonly bytes: Buffer;
  /** Where each object begins, for messages. */
  readonly objects: readonly { readonly offset: number; readonly name: string }[];
  /** Rows of CLASSIFICATION.md that decided about pages of this image. */
  readonly rows: ReadonlySet<number>;
  /** The bytes of every page that it stores or has in its parent, by mm and page number. */
  readonly pages: ReadonlyMap<string, Buffer>;
  /** The first 16 bytes of sha256 over all record_crcs, and that of the head. */
  readonly id: Buffer;
  readonly headCrc: number;
}

/** The key of a page in ReferenceImage.pages. */
export function pageKey(mm: number, vpn: number): string {
  return `${mm} ${vpn}`;
}

const CPT_NULL = 0xffff_ffff_ffff_ffffn;

/** How the image stores a page; undefined if it omits the page. */
export interface StoredPage {
  readonly vpn: number;
  readonly as: 'DATA' | 'ZERO' | 'GUARD' | 'CLONE' | 'PARENT';
  /** A page of the file's page cache in a private mapping: PAGES flag FILE_PAGES. */
  readonly filePage: boolean;
  readonly frame: number; // of DATA
  readonly donor: number; // of CLONE
}

export type Block = readonly StoredPage[]; // neighbours, never empty

/** One object: header and payload. Bytes that no field sets are zero. */
export interface ImageObject {
  readonly name: string;
  readonly header: Buffer;
  readonly payload: Buffer;
}

function newHeader(type: number, content: number, length: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(length);
  header.writeBigUInt64LE(BigInt(length + payload.length), OBJECT.LEN);
  header.writeUInt32LE(type, OBJECT.TYPE);
  header.writeUInt16LE(length, OBJECT.HDRLEN);
  header.writeUInt16LE(content, OBJECT.CONTENT);
  return header;
}

function put64(header: Buffer, at: number, value: number | bigint): void {
  header.writeBigUInt64LE(BigInt(value), at);
}

/** Sets the field at `at` to the crc32 of the header, computed while the field is zero. */
function sealRecord(header: Buffer, at: number): void {
  header.writeUInt32LE(crc32(header), at);
}

/** Appends zero bytes up to a multiple of 8. */
function padded(bytes: Uint8Array): Buffer {
  const pad = (8 - (bytes.length % 8)) % 8;
  return Buffer.concat([bytes, Buffer.alloc(pad)]);
}

const NO_PAYLOAD = Buffer.alloc(0);

export function mmObject(space: AddressSpace, mapCount: number): ImageObject {
  const header = newHeader(OBJECT_TYPE.MM, CONTENT.ARRAY, MM_RECORD.SIZE, NO_PAYLOAD);
  const addresses = space.addresses();
  put64(header, MM_RECORD.START_CODE, addresses.start_code);
  put64(header, MM_RECORD.END_CODE, addresses.end_code);
  put64(header, MM_RECORD.START_DATA, addresses.start_data);
  put64(header, MM_RECORD.END_DATA, addresses.end_data);
  put64(header, MM_RECORD.START_BRK, addresses.start_brk);
  put64(header, MM_RECORD.BRK, addresses.brk);
  put64(header, MM_RECORD.START_STACK, addresses.start_stack);
  put64(header, MM_RECORD.START_ARG, addresses.start_arg);
  put64(header, MM_RECORD.END_ARG, addresses.end_arg);
  put64(header, MM_RECORD.START_ENV, addresses.start_env);
  put64(header, MM_RECORD.END_ENV, addresses.end_env);
  put64(header, MM_RECORD.DEF_FLAGS, addresses.def_flags);
  put64(header, MM_RECORD.FLAGS, addresses.flags);
  put64(header, MM_RECORD.MAP_COUNT, mapCount);
  sealRecord(header, MM_RECORD.RECORD_CRC);
  return { name: 'MM', header, payload: NO_PAYLOAD };
}

/** MM_AUXV and CORE_NOTES: the bytes unchanged, then padding, which cpt_len includes. */
export function dataObject(type: number, name: string, bytes: Uint8Array): ImageObject {
  const payload = padded(bytes);
  const header = newHeader(type, CONTENT.DATA, DATA_RECORD.SIZE, payload);
  header.writeUInt32LE(crc32(payload), DATA_RECORD.PAYLOAD_CRC);
  sealRecord(header, DATA_RECORD.RECORD_CRC);
  return { name, header, payload };
}

/** STATE: a name and bytes, each followed by padding. */
export function stateObject(name: string, bytes: Uint8Array): ImageObject {
  const utf8 = Buffer.from(name, 'utf8');
  const payload = Buffer.concat([padded(utf8), padded(bytes)]);
  const header = newHeader(OBJECT_TYPE.STATE, CONTENT.DATA, STATE_RECORD.SIZE, payload);
  put64(header, STATE_RECORD.BYTES, bytes.length);
  header.writeUInt32LE(utf8.length, STATE_RECORD.NAME_BYTES);
  header.writeUInt32LE(crc32(padded(utf8)), STATE_RECORD.NAME_CRC);
  header.writeUInt32LE(crc32(padded(bytes)), STATE_RECORD.PAYLOAD_CRC);
  sealRecord(header, STATE_RECORD.RECORD_CRC);
  return { name: 'STATE', header, payload };
}

export function vmaObject(
  vma: ReferenceVma,
  blocks: readonly Block[],
  anonId: number,
): ImageObject {
  const header = newHeader(OBJECT_TYPE.VMA, CONTENT.ARRAY, VMA_IMAGE.SIZE, NO_PAYLOAD);
  const stored = blocks.flat().filter(({ as }) => as !== 'GUARD').length;
  const type = vma.isVdso ? VMA_TYPE.VDSO : vma.file === null ? VMA_TYPE.TYPE_0 : VMA_TYPE.FILE;
  put64(header, VMA_IMAGE.FILE, vma.file === null ? CPT_NULL : 0);
  header.writeUInt32LE(type, VMA_IMAGE.VMA_TYPE);
  header.writeUInt32LE(anonId === 0 ? 0 : 1, VMA_IMAGE.ANONVMA);
  put64(header, VMA_IMAGE.ANONVMAID, anonId);
  put64(header, VMA_IMAGE.START, vma.start * 4096);
  put64(header, VMA_IMAGE.END, vma.end * 4096);
  put64(header, VMA_IMAGE.FLAGS, vma.flags);
  put64(header, VMA_IMAGE.PGPROT, pgprot(vma.flags));
  put64(header, VMA_IMAGE.PGOFF, vma.pgoff);
  put64(header, VMA_IMAGE.PAGE_NUM, stored);
  sealRecord(header, VMA_IMAGE.RECORD_CRC);
  return { name: `VMA 0x${(vma.start * 4096).toString(16)}`, header, payload: NO_PAYLOAD };
}

/** Linux's protection_map: VM_READ 1, VM_WRITE 2, VM_EXEC 4, VM_SHARED 8. */
function pgprot(flags: number): bigint {
  if ((flags & 7) === 0) return 0x120n;
  const isWritable = (flags & 2) !== 0 && (flags & 8) !== 0;
  const noExecute = (flags & 4) === 0 ? 1n << 63n : 0n;
  return noExecute | (isWritable ? 0x27n : 0x25n);
}

export function nameObject(file: ReferenceFile, fileIds: Map<number, number>): ImageObject {
  const suffix = file.isDeleted ? ' (deleted)' : '';
  const payload = padded(Buffer.concat([file.path, Buffer.from(`${suffix}\0`)]));
  const header = newHeader(OBJECT_TYPE.NAME, CONTENT.NAME, NAME_RECORD.SIZE, payload);
  if (!fileIds.has(file.id)) fileIds.set(file.id, fileIds.size + 1);
  put64(header, NAME_RECORD.FILE_ID, fileIds.get(file.id)!);
  put64(header, NAME_RECORD.FILE_SIZE, file.size);
  const deleted = file.isDeleted ? NAME_KIND.DELETED : 0;
  const memory = file.isMemoryBacked ? NAME_KIND.MEMORY_BACKED : 0;
  const incomplete = file.isMemoryBacked && file.isLost ? NAME_KIND.INCOMPLETE : 0;
  header.writeUInt32LE(deleted | memory | incomplete, NAME_RECORD.FILE_KIND);
  header.writeUInt32LE(crc32(payload), NAME_RECORD.PAYLOAD_CRC);
  sealRecord(header, NAME_RECORD.RECORD_CRC);
  return { name: `NAME ${file.path.toString()}`, header, payload };
}

export function pagesObject(
  machine: Machine,
  block: Block,
  options: ReferenceOptions,
): ImageObject {
  const { vpn, as, filePage } = block[0]!;
  const hasData = as === 'DATA';
  const pages = hasData
    ? Buffer.concat(block.map(({ frame }) => frameBytes(machine, frame)))
    : NO_PAYLOAD;
  const frame = hasData && options.compress === 'zstd' ? zstdOf(pages) : pages;
  const isPacked = padded(frame).length < pages.length;
  const payload = isPacked ? padded(frame) : pages;
  const content = hasData ? CONTENT.DATA : CONTENT.VOID;
  const header = newHeader(OBJECT_TYPE.PAGES, content, PAGES_RECORD.SIZE, payload);
  const hasDigest = hasData && options.checksum !== 'none';
  const isInParent = as === 'PARENT';
  const flags =
    (hasDigest || isInParent ? PAGES_FLAG.DIGEST : 0) |
    (isInParent ? PAGES_FLAG.IN_PARENT : 0) |
    (as === 'GUARD' ? PAGES_FLAG.GUARD : 0) |
    (filePage ? PAGES_FLAG.FILE_PAGES : 0) |
    (isPacked ? 16 | ((payload.length - frame.length) << 8) : 0);
  put64(header, PAGES_RECORD.START, vpn * 4096);
  put64(header, PAGES_RECORD.END, (vpn + block.length) * 4096);
  if (hasDigest && options.checksum === 'crc32') {
    header.writeUInt32LE(crc32(pages), PAGES_RECORD.DIGEST);
  } else if (hasDigest) {
    xxh3Outside(pages).copy(header, PAGES_RECORD.DIGEST);
  }
  if (isInParent) {
    const digests = block.map(({ frame }) => xxh3Outside(frameBytes(machine, frame)));
    xxh3Outside(Buffer.concat(digests)).copy(header, PAGES_RECORD.DIGEST);
  }
  header.writeUInt32LE(flags, PAGES_RECORD.FLAGS);
  sealRecord(header, PAGES_RECORD.RECORD_CRC);
  return { name: `PAGES ${as} 0x${(vpn * 4096).toString(16)}`, header, payload };
}

export function copyPagesObject(block: Block, mmOffsets: readonly number[]): ImageObject {
  const { SIZE, START, END, SOURCE, RECORD_CRC } = COPYPAGES_RECORD;
  const { vpn, donor } = block[0]!;
  const header = newHeader(OBJECT_TYPE.COPYPAGES, CONTENT.VOID, SIZE, NO_PAYLOAD);
  put64(header, START, vpn * 4096);
  put64(header, END, (vpn + block.length) * 4096);
  put64(header, SOURCE, mmOffsets[donor]!);
  sealRecord(header, RECORD_CRC);
  return { name: `COPYPAGES 0x${(vpn * 4096).toString(16)}`, header, payload: NO_PAYLOAD };
}

export function bitsObject(ldt: Uint8Array): ImageObject {
  const payload = Buffer.from(ldt);
  const header = newHeader(OBJECT_TYPE.BITS, CONTENT.MM_CONTEXT, BITS_RECORD.SIZE, payload);
  header.writeUInt32LE(ldt.length, BITS_RECORD.BYTES);
  header.writeUInt32LE(crc32(payload), BITS_RECORD.PAYLOAD_CRC);
  sealRecord(header, BITS_RECORD.RECORD_CRC);
  return { name: 'BITS', header, payload };
}

const CRC_AT: ReadonlyMap<number, number> = new Map([
  [OBJECT_TYPE.MM, MM_RECORD.RECORD_CRC],
  [OBJECT_TYPE.VMA, VMA_IMAGE.RECORD_CRC],
  [OBJECT_TYPE.MM_AUXV, DATA_RECORD.RECORD_CRC],
  [OBJECT_TYPE.CORE_NOTES, DATA_RECORD.RECORD_CRC],
  [OBJECT_TYPE.STATE, STATE_RECORD.RECORD_CRC],
  [OBJECT_TYPE.PAGES, PAGES_RECORD.RECORD_CRC],
  [OBJECT_TYPE.COPYPAGES, COPYPAGES_RECORD.RECORD_CRC],
  [OBJECT_TYPE.NAME, NAME_RECORD.RECORD_CRC],
  [OBJECT_TYPE.BITS, BITS_RECORD.RECORD_CRC],
]);

function idOf(head: Buffer, objects: readonly ImageObject[]): Buffer {
  const hash = createHash('sha256');
  hash.update(head.subarray(FILE_HEAD.RECORD_CRC, FILE_HEAD.RECORD_CRC + 4));
  for (const { header } of objects) {
    const at = CRC_AT.get(header.readUInt32LE(OBJECT.TYPE))!;
    hash.update(header.subarray(at, at + 4));
  }
  return hash.digest().subarray(0, 16);
}

export function assemble(
  objects: readonly ImageObject[],
  mms: number,
  options: ReferenceOptions,
  parent: ReferenceImage | undefined,
): Omit<ReferenceImage, 'rows' | 'pages'> {
  const body = Buffer.concat(objects.flatMap(({ header, payload }) => [header, payload]));
  const head = Buffer.alloc(FILE_HEAD.SIZE);
  head.writeUInt32LE(CPT_MAGIC, FILE_HEAD.MAGIC);
  head.writeUInt16LE(FILE_HEAD.SIZE, FILE_HEAD.HDRLEN);
  head.writeUInt16LE(CPT_VERSION, FILE_HEAD.VERSION);
  head.writeUInt16LE(CPT_ARCH_X86_64, FILE_HEAD.ARCH);
  head.writeUInt16LE(12, FILE_HEAD.PAGE_SHIFT);
  const running = options.freeze ? 0 : HEAD_FLAG.NOT_FROZEN;
  const leftOut = options.dontDump ? HEAD_FLAG.DONTDUMP_LEFT_OUT : 0;
  const packed = options.compress === 'zstd' ? 8 : 0;
  head.writeUInt32LE(running | leftOut | packed, FILE_HEAD.FLAGS);
  head.writeUInt32LE(['none', 'crc32', 'xxh3'].indexOf(options.checksum), FILE_HEAD.DIGEST);
  if (parent !== undefined) {
    parent.id.copy(head, FILE_HEAD.PARENT);
    head.writeUInt32LE(parent.headCrc, FILE_HEAD.PARENT_CRC);
  }
  put64(head, FILE_HEAD.TIME, 0);
  put64(head, FILE_HEAD.TOTAL_LEN, head.length + body.length);
  head.writeUInt32LE(mms, FILE_HEAD.MM_COUNT);
  sealRecord(head, FILE_HEAD.RECORD_CRC);
  const places = [{ offset: 0, name: 'file head' }];
  let offset = head.length;
  for (const { name, header, payload } of objects) {
    places.push({ offset, name });
    offset += header.length + payload.length;
  }
  const bytes = Buffer.concat([head, body]);
  const headCrc = head.readUInt32LE(FILE_HEAD.RECORD_CRC);
  return { bytes, objects: places, id: idOf(head, objects), headCrc };
}
