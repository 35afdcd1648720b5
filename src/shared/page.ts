/**
 * Page arithmetic of x86-64 with four levels of page tables.
 *
 * Addresses are plain numbers of bytes (47 bits, exact in a double). A virtual page number is a
 * `Vpn` and a page frame number is a `Pfn`; the brands keep the three kinds of number apart. An
 * address is never computed with a shift, because `vpn << 12` would wrap at 32 bits.
 */
declare const vpnBrand: unique symbol;
declare const pfnBrand: unique symbol;

/** Virtual page number: address / 4096, below 2^35. */
export type Vpn = number & { readonly [vpnBrand]: true };
/** Page frame number of the simulated machine, below 2^31. 0 means that there is no frame. */
export type Pfn = number & { readonly [pfnBrand]: true };

export const PAGE_SHIFT = 12;
/** Bytes of a page. */
export const PAGE_SIZE = 4096; //       bytes
export const WORDS_PER_PAGE = 1024; //  32-bit words
export const ENTRIES_PER_TABLE = 512; // 64-bit page-table entries
/** Pages that one page-table page maps: a granule of 2 MiB. */
export const GRANULE_PAGES = 512;
export const GRANULE_SIZE = 0x200000; // bytes

/** Bytes of a kibibyte. */
export const KiB = 0x400;
/** Bytes of a mebibyte. */
export const MiB = 0x100000;
/** Bytes of a gibibyte. */
export const GiB = 0x40000000;

/**
 * End of user space in bytes with four levels: 2^47 less one guard page (Linux's TASK_SIZE_MAX).
 */
export const TASK_SIZE = 0x7fff_ffff_f000;
/** The same in pages. */
export const TASK_PAGES = 0x7_ffff_ffff;

/** No frame. */
export const NO_PFN: Pfn = 0 as Pfn;

/** The page that holds an address. */
export function vpnOf(address: number): Vpn {
  return Math.floor(address / PAGE_SIZE) as Vpn;
}

/** The address, in bytes, at which a page begins. */
export function addressOf(vpn: number): number {
  return vpn * PAGE_SIZE;
}

/** Rounds a number of bytes up to whole pages. The result is in bytes. */
export function pageAlignUp(bytes: number): number {
  return Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;
}

/** Whether an address or a length in bytes is a multiple of the page size. */
export function isPageAligned(bytes: number): boolean {
  return bytes % PAGE_SIZE === 0;
}

/** The first page of the granule that holds `vpn`. */
export function granuleStart(vpn: number): Vpn {
  return (Math.floor(vpn / GRANULE_PAGES) * GRANULE_PAGES) as Vpn;
}

/** The first page after the granule that holds `vpn`. */
export function granuleEnd(vpn: number): Vpn {
  return ((Math.floor(vpn / GRANULE_PAGES) + 1) * GRANULE_PAGES) as Vpn;
}

/** A number in hexadecimal, as all messages and all JSON output show addresses. */
export function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
