/**
 * Finds what a program would read at a page, without a page fault and without a check of
 * protections. Nothing changes, not even an ACCESSED bit.
 */
import { VM } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';
import { walk } from '../tables/page-table.ts';
import { backingOf, isBacked, isPresent, pfnOf, placeOf } from '../tables/pte.ts';
import { FILE_BACKING } from './file-record.ts';
import { cacheLookup } from './page-cache.ts';

/**
 * Values for content that lies in no frame. Content in a frame or swap slot is given by its number
 * in PhysicalMemory, which is positive.
 */
export const CONTENT_OF = {
  ZEROS: 0,
  FILE: -1, //   a page of the file's backing store
  GUARD: -2, //  none: a guard or poison marker, or a swap entry whose slot is not in use
  DEVICE: -3, // not to be read: VM_IO, a page of a device that is not mapped, or no frame at all
  UNREACHABLE: -4, // a page of an unreachable file that exists nowhere any more
  BACKED: -5, // a page in a backing, which `readBacked` reads
} as const;

/**
 * Returns where the content of page `vpn`, in the VMA in `slot`, lies: the number of a frame or
 * swap slot, or one of CONTENT_OF. The machine is frozen, so neither page tables nor page caches
 * change.
 */
export function contentOf(mm: Mm, slot: number, vpn: number): number {
  const flags = mm.vmas.flags(slot);
  if ((flags & VM.IO) !== 0) return CONTENT_OF.DEVICE;
  const { cursor } = mm;
  const found = walk(mm, mm.pgd, vpn, cursor);
  if (found === 'table' || found === 'huge') {
    const low = cursor.words[cursor.at]!;
    if (low !== 0) {
      const high = cursor.words[cursor.at + 1]!;
      if (!isPresent(low)) {
        if (isBacked(low)) return CONTENT_OF.BACKED;
        const swapped = mm.machine.swap.slotOf(low, high);
        return swapped < 0 ? CONTENT_OF.GUARD : mm.machine.swap.frameOf(swapped);
      }
      const pfn = pfnOf(low, high);
      if (!mm.memory.has(pfn)) return CONTENT_OF.DEVICE;
      if ((mm.pages.flags(pfn) & PG.ZERO) !== 0) return CONTENT_OF.ZEROS;
      return found === 'huge' ? pfn + (vpn & 0x1ff) : pfn;
    }
  }
  return unmappedContent(mm, slot, vpn, flags);
}

/** The content of a page that has no entry: that of its file, or zeros. */
function unmappedContent(mm: Mm, slot: number, vpn: number, flags: number): number {
  if ((flags & VM.PFNMAP) !== 0) return CONTENT_OF.DEVICE;
  const file = mm.vmas.file(slot);
  if (file === 0) return CONTENT_OF.ZEROS;
  const cached = cacheLookup(mm, file, mm.vmas.fileIndex(slot, vpn));
  if (cached !== 0) return cached;
  const places = mm.files.places(file);
  if (places !== undefined && places.find(mm.vmas.fileIndex(slot, vpn)) >= 0) {
    return CONTENT_OF.BACKED;
  }
  const backing = mm.files.backing(file);
  if (backing === FILE_BACKING.NONE) return CONTENT_OF.ZEROS;
  return backing === FILE_BACKING.UNREACHABLE ? CONTENT_OF.UNREACHABLE : CONTENT_OF.FILE;
}

/**
 * Reads the bytes of page `vpn`, for which `contentOf` has returned BACKED, to the beginning of
 * `into`. Throws PROCESS_GONE if they cannot be read. The machine is frozen.
 */
export function readBacked(mm: Mm, slot: number, vpn: number, into: Uint8Array): void {
  const { cursor, vmas, files, backings } = mm;
  if (walk(mm, mm.pgd, vpn, cursor) === 'table' && isBacked(cursor.words[cursor.at]!)) {
    const low = cursor.words[cursor.at]!;
    const high = cursor.words[cursor.at + 1]!;
    backings.read(backingOf(high), placeOf(low, high), 1, into, 0);
    return;
  }
  const places = files.places(vmas.file(slot))!;
  const index = vmas.fileIndex(slot, vpn);
  const run = places.find(index);
  backings.read(places.backing(run), places.place(run, index), 1, into, 0);
}

/** Names what `contentOf` returned, for messages. */
export function contentName(content: number): string {
  if (content > 0 || content === CONTENT_OF.BACKED) return 'a page with content';
  switch (content) {
    case CONTENT_OF.ZEROS:
      return 'zeros';
    case CONTENT_OF.FILE:
      return "the file's page";
    case CONTENT_OF.GUARD:
      return 'a guard page';
    case CONTENT_OF.DEVICE:
      return "a device's page";
    default:
      return 'an unknown page of an unreachable file';
  }
}
