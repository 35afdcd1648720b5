/**
 * The records of the native image, `cpt` version 2: byte offsets, as docs/IMAGE_FORMAT.md has them.
 *
 * All integers are little-endian; u64 unless a comment says otherwise. `SIZE` is the record's
 * length (cpt_hdrlen), without payload.
 */

/** "MMCP" as a little-endian u32. */
export const CPT_MAGIC = 0x50434d4d;
/** What is written. */
export const CPT_VERSION = 2;
/** What is read, too: its head names no digest, its blocks have PAGES_RECORD_1. */
export const CPT_VERSION_1 = 1;
export const CPT_ARCH_X86_64 = 1;

export const FILE_HEAD = {
  MAGIC: 0, //      u8[4]
  HDRLEN: 4, //     u16
  VERSION: 6, //    u16
  ARCH: 8, //       u16
  PAGE_SHIFT: 10, // u16
  FLAGS: 12, //     u32, HEAD_FLAG
  TIME: 16, //      ns since 1970, 0 by default
  TOTAL_LEN: 24,
  MM_COUNT: 32, //  u32
  DIGEST: 40, //     u32, DIGEST (digest-kind.ts)
  PARENT: 48, //     u8[16]: id of the parent image, zeros where there is none
  RECORD_CRC: 64, // u32
  SIZE: 72,
} as const;

export const HEAD_FLAG = {
  NOT_FROZEN: 1,
  NO_PAYLOAD_CRC: 2, // version 1 only
  DONTDUMP_LEFT_OUT: 4,
} as const;

/** Starts every object after the head. */
export const OBJECT = {
  LEN: 0, //     header and payload of this object
  TYPE: 8, //    u32
  HDRLEN: 12, // u16
  CONTENT: 14, // u16
  SIZE: 16,
} as const;

export const OBJECT_TYPE = {
  MM: 1,
  VMA: 1024,
  MM_AUXV: 1051,
  PAGES: 4098,
  COPYPAGES: 4099,
  NAME: 4102,
  BITS: 4103,
  CORE_NOTES: 8192,
} as const;

export const CONTENT = { VOID: 0, ARRAY: 1, DATA: 2, NAME: 3, MM_CONTEXT: 7 } as const;

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

export const VMA_IMAGE = {
  FILE: 16, //       0 = a NAME follows, CPT_NULL = none
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

export const VMA_TYPE = { TYPE_0: 0, FILE: 1, VDSO: 2 } as const;

export const NAME_RECORD = {
  FILE_ID: 16,
  FILE_SIZE: 24, //   bytes
  FILE_KIND: 32, //   u32, NAME_KIND
  PAYLOAD_CRC: 36, // u32
  RECORD_CRC: 40, //  u32
  SIZE: 48,
} as const;

/** Limits that a reader enforces, and a dump therefore keeps. */
export const AUXV_MAX_BYTES = 0x1_0000;
export const NOTES_MAX_BYTES = 0x100_0000; // 16 MiB: a core's notes of some thousand threads
export const LDT_MAX_BYTES = 0x1_0000;
export const MMS_MAX = 1024;

export const NAME_KIND = {
  DELETED: 1, //       no name leads to it any more
  MEMORY_BACKED: 2, // its only home is memory
  INCOMPLETE: 4, //    memory-backed: pages that are not in the image are unknown, not zeros
} as const;

/** MM_AUXV and CORE_NOTES. */
export const DATA_RECORD = {
  PAYLOAD_CRC: 16, // u32
  RECORD_CRC: 20, //  u32
  SIZE: 24,
} as const;

export const PAGES_RECORD = {
  START: 16,
  END: 24,
  DIGEST: 32, //     of the pages that follow; a crc32 is its low half
  RECORD_CRC: 40, // u32
  FLAGS: 44, //      u32, PAGES_FLAG
  SIZE: 48,
} as const;

/** What version 1 has elsewhere. */
export const PAGES_RECORD_1 = { PAYLOAD_CRC: 32, FLAGS: 36 } as const;

export const PAGES_FLAG = {
  DIGEST: 1, //     the digest is there
  GUARD: 2, //      VOID: guard pages, not zero pages
  FILE_PAGES: 4, // pages of the mapped file's page cache, in a private mapping
} as const;

export const COPYPAGES_RECORD = {
  START: 16,
  END: 24,
  SOURCE: 32, //      file offset of the donor's MM object
  RECORD_CRC: 40, //  u32
  SIZE: 48,
} as const;

export const BITS_RECORD = {
  BYTES: 16, //       u32, 8 per LDT entry
  PAYLOAD_CRC: 20, // u32
  RECORD_CRC: 24, //  u32
  SIZE: 32,
} as const;
