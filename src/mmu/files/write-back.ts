/**
 * Writes dirty pages of files back to where they came from. The contents of simulated files lie in
 * the store of the machine, and are written under the file lock. Files of the host are never
 * written, so their dirty pages stay in the page cache as long as the file.
 */
import { addressOf, PAGE_SIZE } from '../../shared/page.ts';
import { RANK } from '../../shared/sync/held-locks.ts';
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';
import { lockTable, unlockTable, walk } from '../tables/page-table.ts';
import { isPresent, PTE, pfnOf, setEntry } from '../tables/pte.ts';
import { revokeTranslations } from '../tables/revoke.ts';
import type { FilePlaces } from './file-places.ts';
import { FILE_BACKING, isUnreachableKind } from './file-record.ts';
import { type CacheContext, cacheLookup, cacheRemove, forEachCachedPage } from './page-cache.ts';

/**
 * Writes the dirty cached pages behind pages [from, to) of the shared VMA in `slot`
 * (vfs_fsync_range). Does nothing unless the store has the content of the file. Takes the file
 * lock; throws EAGAIN when the thread would have to wait for it and must not. The mmap lock is held
 * in either mode.
 */
export function writeBackRange(mm: Mm, slot: number, from: number, to: number): void {
  const file = mm.vmas.file(slot);
  if (file === 0 || mm.files.backing(file) !== FILE_BACKING.STORE) return;
  const first = mm.vmas.fileIndex(slot, from);
  const lock = mm.files.lock(file);
  lock.lock(mm.thread, mm.mayBlock);
  try {
    forEachCachedPage(mm, file, first, first + (to - from), (index, pfn) => {
      if ((mm.pages.flags(pfn) & PG.DIRTY) === 0) return;
      cleanLeaf(mm, from + (index - first), pfn);
      writePage(mm, file, index, pfn);
    });
  } finally {
    lock.unlock(mm.thread);
  }
}

/**
 * Clears DIRTY in the leaf of this mm, so that the next store marks the page again. If other leaves
 * map the page as well, it stays marked as dirty, because their DIRTY bits are not looked at. File
 * lock held.
 */
function cleanLeaf(mm: Mm, vpn: number, pfn: number): void {
  const { cursor } = mm;
  if (walk(mm, mm.pgd, vpn, cursor) !== 'table') return;
  const { words, at, table } = cursor;
  lockTable(mm, table);
  const low = words[at]!;
  const high = words[at + 1]!;
  const isOurs = isPresent(low) && pfnOf(low, high) === pfn;
  if (isOurs) revokeTranslations(mm);
  if (isOurs) setEntry(words, at, low & ~PTE.DIRTY, high);
  if (isOurs && mm.pages.mapCount(pfn) === 1) mm.pages.clearFlags(pfn, PG.DIRTY);
  unlockTable(mm, table);
}

/** Writes one page to the store, up to the end of the file. File lock held. */
function writePage(context: CacheContext, file: number, index: number, pfn: number): void {
  const offset = addressOf(index);
  const length = Math.min(PAGE_SIZE, context.files.size(file) - offset);
  if (length <= 0) return;
  const bytes = context.memory.page(pfn).subarray(0, length);
  context.files.content(file, offset, length).set(bytes);
}

/** Whether page `index` of a file with these places can be read from a backing. */
export function isInBacking(
  { backings }: CacheContext,
  places: FilePlaces | undefined,
  index: number,
): boolean {
  const run = places === undefined ? -1 : places.find(index);
  return run >= 0 && backings.isOpen(places!.backing(run));
}

/**
 * Drops up to `wanted` pages from the page cache of a file (shrink_folio_list): pages that have no
 * reference but that of the cache. A dirty page is written to the store first, and stays if it
 * belongs to a file of the host. A page of an unreachable file is dropped only if it can be read from
 * a backing again, and was not written. Returns the number of frames that were freed. File lock held.
 */
export function shrinkCache(context: CacheContext, file: number, wanted: number): number {
  const { files, pages, allocator, threads, thread } = context;
  threads.assertHeld(thread, RANK.FILE, 'a page cache shrinks');
  const backing = files.backing(file);
  const isUnreachable = isUnreachableKind(files.kind(file));
  const places = isUnreachable ? files.places(file) : undefined;
  if (isUnreachable && places === undefined) return 0;
  const victims: number[] = [];
  forEachCachedPage(context, file, 0, Number.MAX_SAFE_INTEGER, (index, pfn) => {
    if (victims.length >= wanted || pages.references(pfn) !== 1) return;
    const isDirty = (pages.flags(pfn) & PG.DIRTY) !== 0;
    if (isUnreachable && (isDirty || !isInBacking(context, places, index))) return;
    if (isDirty && backing !== FILE_BACKING.STORE) return;
    if (isDirty) writePage(context, file, index, pfn);
    victims.push(index);
  });
  for (const index of victims) {
    const pfn = cacheLookup(context, file, index);
    cacheRemove(context, file, index);
    allocator.put(pfn, thread);
  }
  return victims.length;
}
