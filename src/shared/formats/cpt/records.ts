/**
 * The records of the native image, `cpt` version 2, as byte offsets. They follow
 * docs/IMAGE_FORMAT.md.
 *
 * All integers are little-endian, and u64 unless a comment says otherwise. `SIZE` is the length of
 * the record (cpt_hdrlen) without its payload.
 */

/** "MMCP" as a little-endian u32. */
export const CPT_MAGIC = 0x50434d4d;
/** The version that is written. */
export const CPT_VERSION = 2;
/** A version that is read, too. Its head names no digest, and its blocks have PAGES_RECORD_1. */
export const CPT_VERSION_1 = 1;
export const CPT_ARCH_X86_64 = 1;

/** The fields of the file head, the first record of an image. */
export const FILE_HEAD = {
  MAGIC: 0, //      u8[4]
  HDRLEN: 4, //     u16
  VERSION: 6, //    u16
  ARCH: 8, //       u16
  PAGE_SHIFT: 10, // u16
  FLAGS: 12, //     u32, HEAD_FLAG
  TIME: 16, //      ns since 1970; 0 by default
  TOTAL_LEN: 24,
  MM_COUNT: 32, //  u32
  DIGEST: 40, //     u32, DIGEST (digest-kind.ts)
  PARENT_CRC: 44, // u32: record_crc of the head of the parent image, by which it is found
  PARENT: 48, //     u8[16]: id of the parent image; all zeros if it has none
  RECORD_CRC: 64, // u32
  SIZE: 72,
} as const;

/** Bits of FILE_HEAD.FLAGS. */
export const HEAD_FLAG = {
  NOT_FROZEN: 1,
  NO_PAYLOAD_CRC: 2, // version 1 only
  DONTDUMP_LEFT_OUT: 4,
  ZSTD: 8, // blocks may be compressed
} as const;

/** The fields of the header with which every object after the file head begins. */
export const OBJECT = {
  LEN: 0, //     bytes of header and payload of this object
  TYPE: 8, //    u32
  HDRLEN: 12, // u16
  CONTENT: 14, // u16
  SIZE: 16,
} as const;

/** Values of OBJECT.TYPE. */
export const OBJECT_TYPE = {
  MM: 1,
  VMA: 1024,
  MM_AUXV: 1051,
  PAGES: 4098,
  COPYPAGES: 4099,
  NAME: 4102,
  BITS: 4103,
  CORE_NOTES: 8192,
  STATE: 8193,
} as const;

/** Values of OBJECT.CONTENT. */
export const CONTENT = { VOID: 0, ARRAY: 1, DATA: 2, NAME: 3, MM_CONTEXT: 7 } as const;

/** The fields of an MM. */
export const MM_RECORD = {
  START_CODE: 16,
  END_CODE: 24,
  START_DATA: 32,
  END_DATA: 40,
  START_BRK: 48,
  BRK: 56,
  START_STACK: 64,
  START_ARG: 72,
  END_ARG: 80,
  START_ENV: 88,
  END_ENV: 96,
  DEF_FLAGS: 104,
  FLAGS: 112,
  MAP_COUNT: 120,
  RECORD_CRC: 128, // u32
  SIZE: 136,
} as const;

/** The fields of a VMA. */
export const VMA_IMAGE = {
  FILE: 16, //       0: a NAME follows; CPT_NULL: no file
  VMA_TYPE: 24, //   u32, VMA_TYPE
  ANONVMA: 28, //    u32
  ANONVMAID: 32,
  START: 40,
  END: 48,
  FLAGS: 56,
  PGPROT: 64,
  PGOFF: 72, //      pages
  PAGE_NUM: 80,
  RECORD_CRC: 88, // u32
  SIZE: 96,
} as const;

/** Values of VMA_IMAGE.VMA_TYPE. */
export const VMA_TYPE = { TYPE_0: 0, FILE: 1, VDSO: 2 } as const;

/** The fields of a NAME. */
export const NAME_RECORD = {
  FILE_ID: 16,
  FILE_SIZE: 24, //   bytes
  FILE_KIND: 32, //   u32, NAME_KIND
  PAYLOAD_CRC: 36, // u32
  RECORD_CRC: 40, //  u32
  SIZE: 48,
} as const;

/** Limits that a reader enforces. A dump therefore refuses what is beyond them. */
export const AUXV_MAX_BYTES = 0x1_0000;
export const NOTES_MAX_BYTES = 0x100_0000; // 16 MiB: the notes of a core with some thousand threads
export const LDT_MAX_BYTES = 0x1_0000;
export const MMS_MAX = 1024;
export const STATES_MAX = 1024;
export const STATE_NAME_MAX = 255; // bytes
export const STATE_MAX_BYTES = 0x4000_0000; // 1 GiB: of all states of an image together

/** Most images of a chain: the first one, which has no parent, up to the last one. */
export const CHAIN_MAX = 255;

/** Bits of NAME_RECORD.FILE_KIND. */
export const NAME_KIND = {
  DELETED: 1, //       no name leads to it any more
  MEMORY_BACKED: 2, // its content lies in memory only
  INCOMPLETE: 4, //    memory-backed: pages that the image does not hold are unknown, not zeros
} as const;

/** The fields of MM_AUXV and of CORE_NOTES. */
export const DATA_RECORD = {
  PAYLOAD_CRC: 16, // u32
  RECORD_CRC: 20, //  u32
  SIZE: 24,
} as const;

/** The fields of STATE. Its payload is the name and then the bytes, each padded to 8. */
export const STATE_RECORD = {
  BYTES: 16,
  NAME_BYTES: 24, //  u32
  NAME_CRC: 28, //    u32; crc32 of the name and its padding
  PAYLOAD_CRC: 32, // u32; crc32 of the bytes and their padding
  RECORD_CRC: 36, //  u32
  SIZE: 40,
} as const;

/** The fields of PAGES. */
export const PAGES_RECORD = {
  START: 16,
  END: 24,
  DIGEST: 32, //     digest of the pages that follow; a crc32 is its low half
  RECORD_CRC: 40, // u32
  FLAGS: 44, //      u32, PAGES_FLAG
  SIZE: 48,
} as const;

/** Other fields of PAGES_RECORD: those that version 1 has elsewhere. */
export const PAGES_RECORD_1 = {
  PAYLOAD_CRC: 32, // u32
  FLAGS: 36, //       u32, PAGES_FLAG
} as const;

/** Bits of PAGES_RECORD.FLAGS. */
export const PAGES_FLAG = {
  DIGEST: 1, //     the record has a digest
  GUARD: 2, //      VOID: guard pages, not pages of zeros
  FILE_PAGES: 4, // pages in the page cache of the mapped file, in a private mapping
  IN_PARENT: 8, //  VOID: the parent image shows the same pages at this address of this mm
  ZSTD: 16, //      DATA: a zstd frame follows instead of the pages
} as const;

/** Bits 8 to 10 of PAGES_RECORD.FLAGS: zero bytes after the zstd frame, up to a multiple of 8. */
export const PAGES_PAD_SHIFT = 8;

/** The fields of COPYPAGES. */
export const COPYPAGES_RECORD = {
  START: 16,
  END: 24,
  SOURCE: 32, //      byte of the image at which the donor's MM object begins
  RECORD_CRC: 40, //  u32
  SIZE: 48,
} as const;

/** The fields of BITS. */
export const BITS_RECORD = {
  BYTES: 16, //       u32; 8 per LDT entry
  PAYLOAD_CRC: 20, // u32
  RECORD_CRC: 24, //  u32
  SIZE: 32,
} as const;
