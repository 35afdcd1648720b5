/**
 * Decodes the objects of a native image, one at a time. Here an object is checked by itself:
 * lengths, alignment and its own checksum. `src/main/image/stream/checker.ts` checks the objects
 * against each other.
 */

import { ImageProblem } from '../problem.ts';
import { pad8 } from './encode-mm.ts';
import { type Fields, MAX_HEADER } from './fields.ts';
import type {
  BitsObject,
  CptObject,
  MmObject,
  ObjectBase,
  PagesObject,
  StateObject,
  VmaObject,
} from './objects.ts';
import {
  BITS_RECORD,
  CONTENT,
  COPYPAGES_RECORD,
  CPT_VERSION_1,
  DATA_RECORD,
  MM_RECORD,
  NAME_RECORD,
  OBJECT,
  OBJECT_TYPE,
  PAGES_RECORD,
  PAGES_RECORD_1,
  STATE_MAX_BYTES,
  STATE_NAME_MAX,
  STATE_RECORD,
  VMA_IMAGE,
} from './records.ts';

/** For each type its name, the offset of its record_crc, and the contents that it may have. */
const TYPES: ReadonlyMap<
  number,
  {
    readonly name: CptObject['type'];
    readonly recordCrc: number;
    readonly contents: readonly number[];
  }
> = new Map([
  [OBJECT_TYPE.MM, kind('MM', MM_RECORD.RECORD_CRC, [CONTENT.ARRAY])],
  [OBJECT_TYPE.VMA, kind('VMA', VMA_IMAGE.RECORD_CRC, [CONTENT.ARRAY])],
  [OBJECT_TYPE.NAME, kind('NAME', NAME_RECORD.RECORD_CRC, [CONTENT.NAME])],
  [OBJECT_TYPE.MM_AUXV, kind('MM_AUXV', DATA_RECORD.RECORD_CRC, [CONTENT.DATA])],
  [OBJECT_TYPE.CORE_NOTES, kind('CORE_NOTES', DATA_RECORD.RECORD_CRC, [CONTENT.DATA])],
  [OBJECT_TYPE.STATE, kind('STATE', STATE_RECORD.RECORD_CRC, [CONTENT.DATA])],
  [OBJECT_TYPE.PAGES, kind('PAGES', PAGES_RECORD.RECORD_CRC, [CONTENT.DATA, CONTENT.VOID])],
  [OBJECT_TYPE.COPYPAGES, kind('COPYPAGES', COPYPAGES_RECORD.RECORD_CRC, [CONTENT.VOID])],
  [OBJECT_TYPE.BITS, kind('BITS', BITS_RECORD.RECORD_CRC, [CONTENT.MM_CONTEXT])],
]);

/** Each half of CPT_NULL. */
const NULL_WORD = 0xffff_ffff;

/** Types of objects that have no payload. */
const BARE_TYPES: ReadonlySet<CptObject['type']> = new Set(['MM', 'VMA', 'COPYPAGES']);

function kind(name: CptObject['type'], recordCrc: number, contents: readonly number[]) {
  return { name, recordCrc, contents };
}

/**
 * Decodes the object at byte `offset`. From there on `left` bytes of the image remain. `bytes`
 * begin there, too, and hold the whole header unless the image ends before it does. `version` is
 * that of the image, and `fields` is scratch. Throws an ImageProblem: IMAGE_TRUNCATED,
 * IMAGE_CHECKSUM or IMAGE_CORRUPT.
 */
export function decodeObject(
  version: number,
  fields: Fields,
  bytes: Uint8Array,
  offset: number,
  left: number,
): CptObject {
  if (left < OBJECT.SIZE) throw cut(offset, `an object begins at byte ${offset}`, left);
  const typeNumber = u32At(bytes, OBJECT.TYPE);
  const type = TYPES.get(typeNumber);
  const isFrom2 = typeNumber === OBJECT_TYPE.STATE;
  if (type === undefined || (isFrom2 && version === CPT_VERSION_1)) {
    const message = `object at byte ${offset}: unknown type ${typeNumber}`;
    throw new ImageProblem('IMAGE_CORRUPT', offset, message);
  }
  const headerLength = bytes[OBJECT.HDRLEN]! | (bytes[OBJECT.HDRLEN + 1]! << 8);
  if (headerLength < OBJECT.SIZE || headerLength > MAX_HEADER || headerLength % 8 !== 0) {
    const where = `${type.name} at byte ${offset}`;
    const message = `${where}: header length ${headerLength} is not a multiple of 8 from 16 to 4096`;
    throw new ImageProblem('IMAGE_CORRUPT', offset, message);
  }
  if (headerLength > left) throw cut(offset, `${type.name} at byte ${offset}`, left);
  fields.load(bytes.subarray(0, headerLength), offset, type.name);
  fields.assertChecksum(type.recordCrc);
  const length = fields.number(OBJECT.LEN, 'length');
  if (length < headerLength || length % 8 !== 0) {
    throw fields.problem(`length ${length} is not a multiple of 8 from ${headerLength} on`);
  }
  if (length > left) throw cut(offset, `${fields.where}, ${length} bytes`, left);
  const content = fields.u16(OBJECT.CONTENT);
  if (!type.contents.includes(content)) {
    throw fields.problem(`content ${content} does not belong to this type of object`);
  }
  if (length > headerLength && BARE_TYPES.has(type.name)) {
    throw fields.problem(`${length - headerLength} bytes follow, which no checksum covers`);
  }
  const base = {
    offset,
    length,
    headerLength,
    recordCrc: fields.u32(type.recordCrc),
  };
  if (type.name === 'PAGES') return fillPages(version, fields, content, base);
  return fill(type.name, fields, base);
}

function u32At(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
  );
}

function cut(offset: number, what: string, left: number): ImageProblem {
  const message = `${what}: the image ends ${left} bytes later`;
  return new ImageProblem('IMAGE_TRUNCATED', offset, message);
}

function fill(
  type: Exclude<CptObject['type'], 'PAGES'>,
  fields: Fields,
  base: ObjectBase,
): CptObject {
  switch (type) {
    case 'MM':
      return fillMm(fields, base);
    case 'VMA':
      return fillVma(fields, base);
    case 'NAME':
      return {
        ...base,
        type,
        fileId: fields.number(NAME_RECORD.FILE_ID, 'file_id'),
        fileSize: fields.number(NAME_RECORD.FILE_SIZE, 'file size'),
        kind: fields.u32(NAME_RECORD.FILE_KIND),
        payloadCrc: fields.u32(NAME_RECORD.PAYLOAD_CRC),
      };
    case 'MM_AUXV':
    case 'CORE_NOTES':
      return { ...base, type, payloadCrc: fields.u32(DATA_RECORD.PAYLOAD_CRC) };
    case 'COPYPAGES':
      return {
        ...base,
        type,
        start: fields.number(COPYPAGES_RECORD.START, 'start'),
        end: fields.number(COPYPAGES_RECORD.END, 'end'),
        source: fields.number(COPYPAGES_RECORD.SOURCE, 'source'),
      };
    case 'BITS':
      return fillBits(fields, base);
    case 'STATE':
      return fillState(fields, base);
  }
}

/** An image has many blocks. Copying the fields of `base` one by one is quicker than a spread. */
function fillPages(
  version: number,
  fields: Fields,
  content: number,
  base: ObjectBase,
): PagesObject {
  const is1 = version === CPT_VERSION_1;
  const { offset, length, headerLength, recordCrc } = base;
  return {
    offset,
    length,
    headerLength,
    recordCrc,
    type: 'PAGES',
    start: fields.number(PAGES_RECORD.START, 'start'),
    end: fields.number(PAGES_RECORD.END, 'end'),
    hasData: content === CONTENT.DATA,
    digestLow: fields.u32(is1 ? PAGES_RECORD_1.PAYLOAD_CRC : PAGES_RECORD.DIGEST),
    digestHigh: is1 ? 0 : fields.u32(PAGES_RECORD.DIGEST + 4),
    flags: fields.u32(is1 ? PAGES_RECORD_1.FLAGS : PAGES_RECORD.FLAGS),
  };
}

function fillMm(fields: Fields, base: ObjectBase): MmObject {
  return {
    ...base,
    type: 'MM',
    fields: {
      start_code: fields.number(MM_RECORD.START_CODE, 'start_code'),
      end_code: fields.number(MM_RECORD.END_CODE, 'end_code'),
      start_data: fields.number(MM_RECORD.START_DATA, 'start_data'),
      end_data: fields.number(MM_RECORD.END_DATA, 'end_data'),
      start_brk: fields.number(MM_RECORD.START_BRK, 'start_brk'),
      brk: fields.number(MM_RECORD.BRK, 'brk'),
      start_stack: fields.number(MM_RECORD.START_STACK, 'start_stack'),
      start_arg: fields.number(MM_RECORD.START_ARG, 'start_arg'),
      end_arg: fields.number(MM_RECORD.END_ARG, 'end_arg'),
      start_env: fields.number(MM_RECORD.START_ENV, 'start_env'),
      end_env: fields.number(MM_RECORD.END_ENV, 'end_env'),
      def_flags: fields.number(MM_RECORD.DEF_FLAGS, 'def_flags'),
      flags: fields.number(MM_RECORD.FLAGS, 'flags'),
    },
    mapCount: fields.number(MM_RECORD.MAP_COUNT, 'map_count'),
  };
}

function fillVma(fields: Fields, base: ObjectBase): VmaObject {
  const file = fields.u32(VMA_IMAGE.FILE);
  if (file !== fields.u32(VMA_IMAGE.FILE + 4) || (file !== 0 && file !== NULL_WORD)) {
    const value = fields.u64(VMA_IMAGE.FILE).toString(16);
    throw fields.problem(`file 0x${value} is neither 0 nor CPT_NULL`);
  }
  const flags = fields.number(VMA_IMAGE.FLAGS, 'flags');
  if (flags > 0xffff_ffff) throw fields.problem(`flags 0x${flags.toString(16)} are not known`);
  const { offset, length, headerLength, recordCrc } = base;
  return {
    offset,
    length,
    headerLength,
    recordCrc,
    type: 'VMA',
    hasName: file === 0,
    vmaType: fields.u32(VMA_IMAGE.VMA_TYPE),
    anonvma: fields.u32(VMA_IMAGE.ANONVMA),
    anonvmaid: fields.number(VMA_IMAGE.ANONVMAID, 'anonvmaid'),
    start: fields.number(VMA_IMAGE.START, 'start'),
    end: fields.number(VMA_IMAGE.END, 'end'),
    flags,
    pgprotLow: fields.u32(VMA_IMAGE.PGPROT),
    pgprotHigh: fields.u32(VMA_IMAGE.PGPROT + 4),
    pgoff: fields.number(VMA_IMAGE.PGOFF, 'pgoff'),
    pageNum: fields.number(VMA_IMAGE.PAGE_NUM, 'page_num'),
  };
}

function fillBits(fields: Fields, base: ObjectBase): BitsObject {
  const size = fields.u32(BITS_RECORD.BYTES);
  const payload = base.length - base.headerLength;
  if (size !== payload) throw fields.problem(`size ${size}, but ${payload} bytes follow`);
  return { ...base, type: 'BITS', payloadCrc: fields.u32(BITS_RECORD.PAYLOAD_CRC) };
}

function fillState(fields: Fields, base: ObjectBase): StateObject {
  const bytes = fields.number(STATE_RECORD.BYTES, 'bytes');
  const nameBytes = fields.u32(STATE_RECORD.NAME_BYTES);
  if (nameBytes === 0 || nameBytes > STATE_NAME_MAX) {
    throw fields.problem(`a name of ${nameBytes} bytes, expected 1 to ${STATE_NAME_MAX}`);
  }
  if (bytes > STATE_MAX_BYTES) {
    throw fields.problem(`a state of ${bytes} bytes, expected at most ${STATE_MAX_BYTES}`);
  }
  const payload = base.length - base.headerLength;
  const expected = pad8(nameBytes) + pad8(bytes);
  if (payload !== expected) {
    throw fields.problem(`${payload} bytes of payload, expected ${expected}`);
  }
  const nameCrc = fields.u32(STATE_RECORD.NAME_CRC);
  const payloadCrc = fields.u32(STATE_RECORD.PAYLOAD_CRC);
  return { ...base, type: 'STATE', nameBytes, bytes, nameCrc, payloadCrc };
}
