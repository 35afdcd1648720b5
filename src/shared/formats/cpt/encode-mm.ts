/**
 * Encodes the records that occur once per image, mm or file: file head, STATE, MM, auxiliary vector,
 * notes, NAME and LDT. The functions are pure. Each returns a whole object with its checksums.
 *
 * docs/IMAGE_FORMAT.md has the byte tables.
 */
import { crc32 } from 'node:zlib';
import type { DigestKind } from '../../digest/digest-kind.ts';
import { PAGE_SHIFT } from '../../page.ts';
import { highWord, lowWord } from '../../u64.ts';
import {
  BITS_RECORD,
  CONTENT,
  CPT_ARCH_X86_64,
  CPT_MAGIC,
  CPT_VERSION,
  DATA_RECORD,
  FILE_HEAD,
  HEAD_FLAG,
  MM_RECORD,
  NAME_RECORD,
  OBJECT,
  OBJECT_TYPE,
  STATE_RECORD,
} from './records.ts';

/** An object of an image, and its record_crc as a signed word. */
export interface EncodedObject {
  readonly bytes: Uint8Array;
  /** What follows `bytes`, without its padding to a multiple of 8. Undefined: nothing does. */
  readonly rest?: Uint8Array;
  readonly crc: number;
}

/** The fields of the file head. */
export interface HeadFields {
  readonly frozen: boolean;
  /** The digest of the pages of each block. */
  readonly digest: DigestKind;
  /** Pages of VM_DONTDUMP mappings were left out. */
  readonly dontDump: boolean;
  /** Blocks may be compressed. Default: none is. */
  readonly zstd?: boolean;
  readonly mmCount: number;
  readonly totalLen: number;
  /** The parent image. Undefined if there is none. */
  readonly parent?: ParentFields | undefined;
}

/** How the file head names the parent image. */
export interface ParentFields {
  /** Its id, 32 hexadecimal digits. */
  readonly id: string;
  /** The record_crc of its head. */
  readonly headCrc: number;
}

/** Addresses and flags of an mm, by the names of the fields of MM_RECORD. */
export interface MmFields {
  readonly start_code: number;
  readonly end_code: number;
  readonly start_data: number;
  readonly end_data: number;
  readonly start_brk: number;
  readonly brk: number;
  readonly start_stack: number;
  readonly start_arg: number;
  readonly end_arg: number;
  readonly start_env: number;
  readonly end_env: number;
  readonly def_flags: number;
  readonly flags: number;
}

/** What a NAME says of a file. `path` is the raw bytes of the path, without NUL. */
export interface NameFields {
  readonly id: number;
  readonly size: number; // bytes
  readonly kind: number; // NAME_KIND bits
  readonly path: Uint8Array;
}

/** Rounds a number of bytes up to a multiple of 8. */
export function pad8(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

/** Builds one record: its bytes, with the header of the object if it has one. */
class RecordWriter {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor(bytes: number) {
    this.bytes = new Uint8Array(bytes);
    this.view = new DataView(this.bytes.buffer);
  }

  static object(type: number, hdrlen: number, payload: number, content: number): RecordWriter {
    const record = new RecordWriter(hdrlen + payload);
    record.u64(OBJECT.LEN, hdrlen + payload);
    record.u32(OBJECT.TYPE, type);
    record.u16(OBJECT.HDRLEN, hdrlen);
    record.u16(OBJECT.CONTENT, content);
    return record;
  }

  u16(at: number, value: number): void {
    this.view.setUint16(at, value, true);
  }

  u32(at: number, value: number): void {
    this.view.setUint32(at, value, true);
  }

  u64(at: number, value: number): void {
    this.view.setInt32(at, lowWord(value), true);
    this.view.setInt32(at + 4, highWord(value), true);
  }

  /** Puts the payload behind the header, and the crc32 of payload and padding at `crcAt`. */
  payload(hdrlen: number, crcAt: number, data: Uint8Array): void {
    this.bytes.set(data, hdrlen);
    this.u32(crcAt, crc32(this.bytes.subarray(hdrlen)));
  }

  /**
   * Puts the record_crc, over the first `bytes` bytes, at `crcAt`. Nothing may change afterwards.
   */
  sign(bytes: number, crcAt: number): EncodedObject {
    const crc = crc32(this.bytes.subarray(0, bytes));
    this.u32(crcAt, crc);
    return { bytes: this.bytes, crc: crc | 0 };
  }
}

/** Encodes the file head. */
export function encodeHead(head: HeadFields): EncodedObject {
  const record = new RecordWriter(FILE_HEAD.SIZE);
  record.u32(FILE_HEAD.MAGIC, CPT_MAGIC);
  record.u16(FILE_HEAD.HDRLEN, FILE_HEAD.SIZE);
  record.u16(FILE_HEAD.VERSION, CPT_VERSION);
  record.u16(FILE_HEAD.ARCH, CPT_ARCH_X86_64);
  record.u16(FILE_HEAD.PAGE_SHIFT, PAGE_SHIFT);
  record.u32(
    FILE_HEAD.FLAGS,
    (head.frozen ? 0 : HEAD_FLAG.NOT_FROZEN) |
      (head.dontDump ? HEAD_FLAG.DONTDUMP_LEFT_OUT : 0) |
      (head.zstd === true ? HEAD_FLAG.ZSTD : 0),
  );
  record.u64(FILE_HEAD.TOTAL_LEN, head.totalLen);
  record.u32(FILE_HEAD.MM_COUNT, head.mmCount);
  record.u32(FILE_HEAD.DIGEST, head.digest);
  if (head.parent !== undefined) {
    record.bytes.set(Buffer.from(head.parent.id, 'hex'), FILE_HEAD.PARENT);
    record.u32(FILE_HEAD.PARENT_CRC, head.parent.headCrc);
  }
  return record.sign(FILE_HEAD.SIZE, FILE_HEAD.RECORD_CRC);
}

/** Encodes an MM, which `mapCount` VMAs follow. */
export function encodeMm(fields: MmFields, mapCount: number): EncodedObject {
  const { SIZE } = MM_RECORD;
  const record = RecordWriter.object(OBJECT_TYPE.MM, SIZE, 0, CONTENT.ARRAY);
  record.u64(MM_RECORD.START_CODE, fields.start_code);
  record.u64(MM_RECORD.END_CODE, fields.end_code);
  record.u64(MM_RECORD.START_DATA, fields.start_data);
  record.u64(MM_RECORD.END_DATA, fields.end_data);
  record.u64(MM_RECORD.START_BRK, fields.start_brk);
  record.u64(MM_RECORD.BRK, fields.brk);
  record.u64(MM_RECORD.START_STACK, fields.start_stack);
  record.u64(MM_RECORD.START_ARG, fields.start_arg);
  record.u64(MM_RECORD.END_ARG, fields.end_arg);
  record.u64(MM_RECORD.START_ENV, fields.start_env);
  record.u64(MM_RECORD.END_ENV, fields.end_env);
  record.u64(MM_RECORD.DEF_FLAGS, fields.def_flags);
  record.u64(MM_RECORD.FLAGS, fields.flags);
  record.u64(MM_RECORD.MAP_COUNT, mapCount);
  return record.sign(SIZE, MM_RECORD.RECORD_CRC);
}

/** Encodes an MM_AUXV or CORE_NOTES object. `type` is that OBJECT_TYPE. */
export function encodeData(type: number, data: Uint8Array): EncodedObject {
  const { SIZE } = DATA_RECORD;
  const record = RecordWriter.object(type, SIZE, pad8(data.length), CONTENT.DATA);
  record.payload(SIZE, DATA_RECORD.PAYLOAD_CRC, data);
  return record.sign(SIZE, DATA_RECORD.RECORD_CRC);
}

/** Encodes a STATE object. `state` is not copied: it becomes the object's `rest`. */
export function encodeState(name: string, state: Uint8Array): EncodedObject {
  const { SIZE } = STATE_RECORD;
  const utf8 = Buffer.from(name);
  const named = pad8(utf8.length);
  const rest = pad8(state.length);
  const record = RecordWriter.object(OBJECT_TYPE.STATE, SIZE, named, CONTENT.DATA);
  record.u64(OBJECT.LEN, SIZE + named + rest);
  record.u64(STATE_RECORD.BYTES, state.length);
  record.u32(STATE_RECORD.NAME_BYTES, utf8.length);
  record.payload(SIZE, STATE_RECORD.NAME_CRC, utf8);
  const padding = new Uint8Array(rest - state.length);
  record.u32(STATE_RECORD.PAYLOAD_CRC, crc32(padding, crc32(state)));
  return { ...record.sign(SIZE, STATE_RECORD.RECORD_CRC), rest: state };
}

/** Encodes a NAME. */
export function encodeName({ id, size, kind, path }: NameFields): EncodedObject {
  const { SIZE } = NAME_RECORD;
  const record = RecordWriter.object(OBJECT_TYPE.NAME, SIZE, pad8(path.length + 1), CONTENT.NAME);
  record.u64(NAME_RECORD.FILE_ID, id);
  record.u64(NAME_RECORD.FILE_SIZE, size);
  record.u32(NAME_RECORD.FILE_KIND, kind);
  record.payload(SIZE, NAME_RECORD.PAYLOAD_CRC, path);
  return record.sign(SIZE, NAME_RECORD.RECORD_CRC);
}

/** Encodes the BITS object of an LDT, which has 8 bytes per entry. */
export function encodeLdt(ldt: Uint8Array): EncodedObject {
  const { SIZE } = BITS_RECORD;
  const record = RecordWriter.object(OBJECT_TYPE.BITS, SIZE, ldt.length, CONTENT.MM_CONTEXT);
  record.u32(BITS_RECORD.BYTES, ldt.length);
  record.payload(SIZE, BITS_RECORD.PAYLOAD_CRC, ldt);
  return record.sign(SIZE, BITS_RECORD.RECORD_CRC);
}
