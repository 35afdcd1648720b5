/**
 * Faults on backed entries: a major fault that loads the page from its backing. A page that is only
 * read remembers the entry, so that reclaim can put it back (`backing-out.ts`). The mmap lock is
 * held in either mode.
 */
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex } from '../../shared/page.ts';
import { sigbus } from '../arguments/signal.ts';
import { describeAnonymous, setLeaf } from '../fault/leaf.ts';
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';
import { lockTable, type PageCursor, unlockTable } from '../tables/page-table.ts';
import { backingOf, isMerged, namedPage, placeOf, softOfSwapped } from '../tables/pte.ts';
import { dropLeaf } from '../tables/zap.ts';

/**
 * Maps a fresh frame with the bytes that the backing has for the entry `low`, `high`. The bytes are
 * read before the page-table lock is taken, since that may take long. Nothing happens if another
 * thread has changed the entry meanwhile. Throws IMAGE_CHECKSUM if the page lies in an image that
 * has changed, IMAGE_CORRUPT if it lies in a zstd frame that is damaged, and SIGBUS if the page
 * cannot be read for another reason.
 */
export function backingIn(
  mm: Mm,
  slot: number,
  flags: number,
  vpn: number,
  write: boolean,
  cursor: PageCursor,
  low: number,
  high: number,
): void {
  const { memory, machine, allocator, thread } = mm;
  const pfn = allocator.allocate(thread);
  try {
    const into = memory.bytesOf(pfn);
    machine.backings.read(backingOf(high), placeOf(low, high), 1, into, memory.byteAt(pfn));
  } catch (error) {
    allocator.put(pfn, thread);
    throw error instanceof MmdumpError ? faultError(vpn, error) : error;
  }
  // What a write fault maps is nobody's but the writer's: an ordinary page.
  const isMergedPage = isMerged(low) && !write;
  describeAnonymous(mm, slot, vpn, pfn, isMergedPage ? PG.KSM : 0);
  if (!write) mm.pages.setOrigin(pfn, namedPage(low), high);
  const { words, at, table } = cursor;
  lockTable(mm, table);
  const isSame = words[at] === low && words[at + 1] === high;
  if (isSame) setLeaf(cursor, pfn, flags, write, write, write || softOfSwapped(low) !== 0);
  if (isSame) mm.faulted = 'backing';
  unlockTable(mm, table);
  if (!isSame) dropLeaf(mm, pfn);
}

/** The error of an access to a page that its backing cannot give. */
function faultError(vpn: number, error: MmdumpError): MmdumpError {
  const { code, message, fields } = error;
  if (code !== 'IMAGE_CHECKSUM' && code !== 'IMAGE_CORRUPT') return sigbus(vpn, message);
  const address = addressOf(vpn);
  return new MmdumpError(code, `page ${hex(address)}: ${message}`, { ...fields, address });
}
