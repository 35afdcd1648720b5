/** The objects of a native image, as `decode-object.ts` makes them of its bytes. */

import type { MmFields } from './encode-mm.ts';

/** What every object has. */
export interface ObjectBase {
  /** Byte of the image at which its header begins. */
  readonly offset: number;
  /** Bytes of header and payload. */
  readonly length: number;
  readonly headerLength: number;
  readonly recordCrc: number;
}

/** The fields of an MM. */
export interface MmObject extends ObjectBase {
  readonly type: 'MM';
  readonly fields: MmFields;
  readonly mapCount: number;
}

/** The fields of a VMA. Addresses are in bytes, `pgoff` is in pages. */
export interface VmaObject extends ObjectBase {
  readonly type: 'VMA';
  readonly hasName: boolean;
  readonly vmaType: number;
  readonly anonvma: number;
  readonly anonvmaid: number;
  readonly start: number;
  readonly end: number;
  readonly flags: number;
  readonly pgprotLow: number;
  readonly pgprotHigh: number;
  readonly pgoff: number;
  readonly pageNum: number;
}

/** The fields of a NAME. The payload is the path. */
export interface NameObject extends ObjectBase {
  readonly type: 'NAME';
  readonly fileId: number;
  readonly fileSize: number;
  readonly kind: number;
  readonly payloadCrc: number;
}

/** An auxiliary vector or notes. */
export interface DataObject extends ObjectBase {
  readonly type: 'MM_AUXV' | 'CORE_NOTES';
  readonly payloadCrc: number;
}

/** State beside memory. The payload is its name, and then its bytes. */
export interface StateObject extends ObjectBase {
  readonly type: 'STATE';
  readonly nameBytes: number;
  /** Length of the state, without padding. */
  readonly bytes: number;
  readonly nameCrc: number;
  readonly payloadCrc: number;
}

/** A block of pages. */
export interface PagesObject extends ObjectBase {
  readonly type: 'PAGES';
  readonly start: number;
  readonly end: number;
  readonly hasData: boolean;
  /** Halves of the digest of its pages. A crc32 is the low half. */
  readonly digestLow: number;
  readonly digestHigh: number;
  readonly flags: number;
}

/** A block of pages that an earlier mm stores. */
export interface CopyPagesObject extends ObjectBase {
  readonly type: 'COPYPAGES';
  readonly start: number;
  readonly end: number;
  /** Byte of the image at which the MM object of the donor begins. */
  readonly source: number;
}

/** An LDT. */
export interface BitsObject extends ObjectBase {
  readonly type: 'BITS';
  readonly payloadCrc: number;
}

/** Any object of an image. */
export type CptObject =
  | MmObject
  | VmaObject
  | NameObject
  | StateObject
  | DataObject
  | PagesObject
  | CopyPagesObject
  | BitsObject;

/** Where an object is, for messages: `VMA at byte 208`. */
export function whereIs(object: CptObject): string {
  return `${object.type} at byte ${object.offset}`;
}
