/**
 * Bits of the flags of a VMA (VM_*), as linux/mm.h numbers them. Some flags are newer than the
 * 2008 kernel, and some no longer exist.
 */
export const VM = {
  READ: 0x1,
  WRITE: 0x2,
  EXEC: 0x4,
  SHARED: 0x8,
  MAYREAD: 0x10,
  MAYWRITE: 0x20,
  MAYEXEC: 0x40,
  MAYSHARE: 0x80,
  GROWSDOWN: 0x100,
  PFNMAP: 0x400,
  DENYWRITE: 0x800,
  EXECUTABLE: 0x1000,
  LOCKED: 0x2000,
  IO: 0x4000,
  SEQ_READ: 0x8000,
  RAND_READ: 0x10000,
  DONTCOPY: 0x20000,
  DONTEXPAND: 0x40000,
  LOCKONFAULT: 0x80000,
  ACCOUNT: 0x100000,
  NORESERVE: 0x200000,
  HUGETLB: 0x400000,
  WIPEONFORK: 0x2000000,
  DONTDUMP: 0x4000000,
  MIXEDMAP: 0x10000000,
  HUGEPAGE: 0x20000000,
  NOHUGEPAGE: 0x40000000,
  MERGEABLE: 0x80000000,
} as const;

/** The four letters of /proc/PID/maps: `rwx`, or `-` for each, then `p`rivate or `s`hared. */
export function protLetters(flags: number): string {
  return (
    ((flags & VM.READ) !== 0 ? 'r' : '-') +
    ((flags & VM.WRITE) !== 0 ? 'w' : '-') +
    ((flags & VM.EXEC) !== 0 ? 'x' : '-') +
    ((flags & VM.MAYSHARE) !== 0 ? 's' : 'p')
  );
}

/** The names of the bits that are set, from the lowest bit on, for messages and for JSON. */
export function vmFlagNames(flags: number): string[] {
  return Object.entries(VM)
    .filter(([, bit]) => (flags & bit) !== 0)
    .map(([name]) => name);
}

/**
 * vm_page_prot of x86-64 as low and high word (protection_map in arch/x86/mm/pgprot.c). The pages
 * of a private mapping are never writable at first, because a write has to break copy-on-write.
 */
export function pagePrivileges(flags: number): { readonly low: number; readonly high: number } {
  if ((flags & (VM.READ | VM.WRITE | VM.EXEC)) === 0) return { low: 0x120, high: 0 };
  const writable = (flags & VM.WRITE) !== 0 && (flags & VM.SHARED) !== 0;
  const noExecute = (flags & VM.EXEC) === 0;
  return { low: writable ? 0x27 : 0x25, high: noExecute ? 0x8000_0000 | 0 : 0 };
}
