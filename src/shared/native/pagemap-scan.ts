/**
 * Which pages of a range have an entry in a page table (ioctl PAGEMAP_SCAN, Linux 6.7). The kernel
 * skips what has no page tables, while /proc/PID/pagemap has 8 bytes for every page.
 */
import { addressOfView, hasNativeCalls, nativeFunction } from './library.ts';

const IOCTL = 'int ioctl(int descriptor, ulong request, uintptr_t argument)';
const PAGEMAP_SCAN = 0xc060_6610;

/** Fields of struct pm_scan_arg: u64 each. */
const SCAN_ARG = {
  BYTES: 0,
  FLAGS: 8,
  START: 16,
  END: 24,
  WALK_END: 32,
  REGIONS: 40, //       address
  REGIONS_COUNT: 48,
  MAX_PAGES: 56,
  INVERTED: 64, //      categories
  ALL_OF: 72, //        categories
  ANY_OF: 80, //        categories
  RETURNED: 88, //      categories
  SIZE: 96,
} as const;

/** Fields of struct page_region: u64 each. */
const REGION = { START: 0, END: 8, CATEGORIES: 16, SIZE: 24 } as const;

/** Guard pages and other markers count as swapped. */
const PRESENT_OR_SWAPPED = 0b1_1000n;
const REGIONS_MAX = 1024;
/** So that one call does not walk the tables of a dense terabyte: 4 GiB. */
const PAGES_MAX = 0x10_0000n;

/** What one call has found: pairs of addresses, and where to go on. */
export interface PagemapScan {
  /** From, to, from, to …, in ascending order. */
  readonly bounds: readonly number[];
  /** Up to here everything was looked at. */
  readonly end: number;
}

/**
 * Looks at addresses [from, to) of the process whose page map this descriptor shows, up to some
 * thousand pages. undefined where there is no such call.
 */
export function scanPagemap(pagemap: number, from: number, to: number): PagemapScan | undefined {
  if (!hasNativeCalls()) return undefined;
  const argument = Buffer.from(new SharedArrayBuffer(SCAN_ARG.SIZE));
  const regions = Buffer.from(new SharedArrayBuffer(REGION.SIZE * REGIONS_MAX));
  const set = (at: number, value: bigint): void => void argument.writeBigUInt64LE(value, at);
  set(SCAN_ARG.BYTES, BigInt(SCAN_ARG.SIZE));
  set(SCAN_ARG.START, BigInt(from));
  set(SCAN_ARG.END, BigInt(to));
  set(SCAN_ARG.REGIONS, BigInt(addressOfView(regions)));
  set(SCAN_ARG.REGIONS_COUNT, BigInt(REGIONS_MAX));
  set(SCAN_ARG.MAX_PAGES, PAGES_MAX);
  set(SCAN_ARG.ANY_OF, PRESENT_OR_SWAPPED);
  set(SCAN_ARG.RETURNED, PRESENT_OR_SWAPPED);
  const count = nativeFunction(IOCTL)(pagemap, PAGEMAP_SCAN, addressOfView(argument));
  if (count < 0) return undefined; // an older kernel, or a process that has ended
  const bounds: number[] = [];
  for (let at = 0; at < count * REGION.SIZE; at += REGION.SIZE) {
    bounds.push(Number(regions.readBigUInt64LE(at + REGION.START)));
    bounds.push(Number(regions.readBigUInt64LE(at + REGION.END)));
  }
  const end = Number(argument.readBigUInt64LE(SCAN_ARG.WALK_END));
  return { bounds, end };
}
