/**
 * Page arithmetic of x86-64 with four levels of page tables.
 *
 * Addresses are plain numbers in bytes (47 bits, exact in a double). A virtual page number is a
 * `Vpn`, a page frame number a `Pfn`; the brands keep the three spaces apart. An address never
 * comes from a shift: `vpn << 12` would wrap at 32 bits.
 */
declare const vpnBrand: unique symbol;
declare const pfnBrand: unique symbol;

/** Virtual page number: address / 4096, below 2^35. */
export type Vpn = number & { readonly [vpnBrand]: true };
/** Page frame number of the simulated machine, below 2^31. 0 stands for "none". */
export type Pfn = number & { readonly [pfnBrand]: true };

export const PAGE_SHIFT = 12;
/** Bytes of a page. */
export const PAGE_SIZE = 4096; //       bytes
export const WORDS_PER_PAGE = 1024; //  32-bit words
export const ENTRIES_PER_TABLE = 512; // 64-bit page-table entries
/** One page-table page maps this many pages: a granule of 2 MiB. */
export const GRANULE_PAGES = 512;
export const GRANULE_SIZE = 0x200000; // bytes

/** Bytes of a kibibyte. */
export const KiB = 0x400;
/** Bytes of a mebibyte. */
export const MiB = 0x100000;
/** Bytes of a gibibyte. */
export const GiB = 0x40000000;

/** End of user space with four levels: 2^47 less one guard page (TASK_SIZE_MAX). */
export const TASK_SIZE = 0x7fff_ffff_f000;
export const TASK_PAGES = 0x7_ffff_ffff;

export const NO_PFN: Pfn = 0 as Pfn;

export function vpnOf(address: number): Vpn {
  return Math.floor(address / PAGE_SIZE) as Vpn;
}

export function addressOf(vpn: number): number {
  return vpn * PAGE_SIZE;
}

/** Rounds bytes up to whole pages, in bytes. */
export function pageAlignUp(bytes: number): number {
  return Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;
}

export function isPageAligned(bytes: number): boolean {
  return bytes % PAGE_SIZE === 0;
}

/** First page of the granule that holds `vpn`. */
export function granuleStart(vpn: number): Vpn {
  return (Math.floor(vpn / GRANULE_PAGES) * GRANULE_PAGES) as Vpn;
}

/** First page after the granule that holds `vpn`. */
export function granuleEnd(vpn: number): Vpn {
  return ((Math.floor(vpn / GRANULE_PAGES) + 1) * GRANULE_PAGES) as Vpn;
}

/** An address as every message and every JSON output prints it. */
export function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
