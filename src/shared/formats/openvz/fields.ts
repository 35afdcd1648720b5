/** Where the reader finds the fields of the records of an OpenVZ 6 container file. */

/** Fields of the head of the file. */
export const MAJOR_HEADER = {
  SIGNATURE: 0, //  u8[4]
  HDRLEN: 4, //     u16
  VERSION: 6, //    u16
  OS_ARCH: 8, //    u16: 0 is i386, 1 is x86-64
  PAGE_SIZE: 20, // u16
  START_SEC: 64, // u32, since 1970
  START_NSEC: 68, // u32
  SIZE: 80,
} as const;

/** Fields with which every section and every object begins. */
export const ITEM = {
  NEXT: 0, //     u64, its bytes with all that is in it
  TYPE: 8, //     u32
  HDRLEN: 12, //  u16
  CONTENT: 14, // u16; 0 in a section
  SIZE: 16,
} as const;

/** Fields of the tail of the file. */
export const MAJOR_TAIL = {
  TASKS_64: 20, //   u32, tasks of 64 bits
  SECTIONS: 24, //   u64[27], positions by the number of the section
  COUNT: 240, //     u32
  SIGNATURE: 244, // u8[4]
  SIZE: 248,
} as const;

/** Fields of an MM. The eleven addresses are in the order of their names in the kernel. */
export const OPENVZ_MM = {
  ADDRESSES: 16, //  u64[11]
  DEF_FLAGS: 104, // u64
  MM_FLAGS: 128, //  u64
  SIZE: 136,
} as const;

/** Fields of a VMA. */
export const OPENVZ_VMA = {
  FILE: 16, //      u64, position of a FILE
  TYPE: 24, //      u32
  ANONVMA: 28, //   u32
  ANONVMAID: 32, // u64
  START: 40, //     u64
  END: 48, //       u64
  FLAGS: 56, //     u64
  PGPROT: 64, //    u64
  PGOFF: 72, //     u64, pages
  SIZE: 80,
} as const;

/** Fields of PAGES. They are offsets in the file if it belongs to an INODE. */
export const OPENVZ_PAGES = {
  START: 16, // u64
  END: 24, //   u64
  SIZE: 32,
} as const;

/** Fields of COPYPAGES. */
export const OPENVZ_COPYPAGES = {
  START: 16, //  u64
  END: 24, //    u64
  SOURCE: 32, // u64, position of an MM
  SIZE: 40,
} as const;

/** Fields of BITS. */
export const OPENVZ_BITS = {
  BYTES: 16, // u32
  SIZE: 24,
} as const;

/** Fields of a FILE. */
export const OPENVZ_FILE = {
  LFLAGS: 44, // u32: 1 is deleted
  INODE: 48, //  u64, position of an INODE
  SIZE: 96,
} as const;

/** Fields of an INODE. */
export const OPENVZ_INODE = {
  BYTES: 56, //  u64, length of the file
  SUPER: 104, // u32, the kind of file system
  SIZE: 120,
} as const;

/** Fields of a TASK. */
export const OPENVZ_TASK = {
  MM: 96, //      u64, position of an MM
  PID: 176, //    u32
  TGID: 180, //   u32
  PPID: 184, //   u32
  PGRP: 192, //   u32
  SESSION: 196, // u32
  IS_64: 215, //  u8
  COMM: 440, //   char[16]
  SIZE: 456, //   as far as it is read: the record has 992 bytes
} as const;

/** Fields of the registers of a task. */
export const OPENVZ_REGISTERS = {
  FS_BASE: 80, //  u64
  GS_BASE: 88, //  u64
  GENERAL: 112, // u64[17]: r15 to rdi, orig_rax, rip
  CS: 248, //      u64, a portable code
  EFLAGS: 256, //  u64
  RSP: 264, //     u64
  SS: 272, //      u64, a portable code
  SIZE: 280,
} as const;
