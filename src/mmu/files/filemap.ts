/** Reading pages of files into the page cache (mm/filemap.c). */
import { readSync } from 'node:fs';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { hex, PAGE_SIZE, type Pfn } from '../../shared/page.ts';
import { PG } from '../physical/page-struct.ts';
import { FILE_BACKING, FILE_KIND } from './file-record.ts';
import { type CacheContext, cacheInsert, cacheLookup } from './page-cache.ts';

/**
 * Returns the cached page at `index`, which is read in if need be, with a reference for the caller
 * (filemap_fault, shmem_fault). `address`, in bytes, is where the fault was. Takes the file lock.
 * Throws SIGBUS beyond the end of the file or when the bytes cannot be read, ENOMEM when no frame
 * is free, and EAGAIN when the thread would have to wait for the lock and must not. Sets `hasRead`
 * of the context if it reads bytes.
 */
export function cacheGetPage(
  context: CacheContext & { hasRead?: boolean },
  file: number,
  index: number,
  address: number,
): Pfn {
  const { files, pages } = context;
  if (index * PAGE_SIZE >= files.size(file)) {
    throw new MmdumpError(
      'SIGBUS',
      `page ${index} is beyond the end of file ${files.pathText(file)}`,
      { address, path: files.pathText(file) },
    );
  }
  const lock = files.lock(file);
  lock.lock(context.thread, context.mayBlock);
  try {
    let pfn = cacheLookup(context, file, index);
    if (pfn === 0) {
      pfn = context.allocator.allocateZeroed(context.thread);
      try {
        context.hasRead = readBacking(context, file, index, context.memory.page(pfn), address);
        const memoryBacked = (files.kind(file) & FILE_KIND.MEMORY) !== 0;
        pages.describe(pfn, memoryBacked ? PG.SWAPBACKED : 0, file, index);
        cacheInsert(context, file, index, pfn);
      } catch (error) {
        context.allocator.put(pfn, context.thread);
        throw error;
      }
    }
    pages.get(pfn);
    return pfn;
  } finally {
    lock.unlock(context.thread);
  }
}

/**
 * Reads one page of a file from where it lies: from a backing of the machine, or from the backing
 * store of the file. `into` has 4096 bytes that are zero, and stays
 * zero beyond the end of the file. Throws SIGBUS, with `address` in bytes, when the page cannot be
 * read. Returns whether the page lies anywhere. File lock held, or the machine is frozen.
 */
export function readBacking(
  context: CacheContext,
  file: number,
  index: number,
  into: Uint8Array,
  address: number,
): boolean {
  const { files } = context;
  const offset = index * PAGE_SIZE;
  const length = Math.min(PAGE_SIZE, files.size(file) - offset);
  const places = files.places(file);
  const run = places === undefined ? -1 : places.find(index);
  if (run >= 0) {
    readPlaced(context, file, places!.backing(run), places!.place(run, index), into, address);
    return true;
  }
  switch (files.backing(file)) {
    case FILE_BACKING.STORE:
      into.set(files.content(file, offset, length));
      return true;
    case FILE_BACKING.HOST:
      readHostPage(context, file, offset, into.subarray(0, length), address);
      return true;
    case FILE_BACKING.UNREACHABLE:
      throw new MmdumpError(
        'SIGBUS',
        `page ${index} of ${files.pathText(file)} is unknown: the file was loaded without it`,
        { address, path: files.pathText(file) },
      );
    default: // a memory-backed file has no backing store: an absent page is zeros
      return false;
  }
}

function readPlaced(
  { files, backings }: CacheContext,
  file: number,
  backing: number,
  place: number,
  into: Uint8Array,
  address: number,
): void {
  try {
    backings.read(backing, place, 1, into, 0);
  } catch (error) {
    if (!(error instanceof MmdumpError)) throw error;
    const path = files.pathText(file);
    throw new MmdumpError(
      'SIGBUS',
      `page at ${hex(address)} of ${path} cannot be read: ${error.message}`,
      { ...error.fields, address, path },
      error,
    );
  }
}

function readHostPage(
  context: CacheContext,
  file: number,
  offset: number,
  into: Uint8Array,
  address: number,
): void {
  const path = context.files.pathText(file);
  try {
    const descriptor = context.hostFiles.descriptor(context.files.path(file));
    for (let done = 0; done < into.length; ) {
      const count = readSync(descriptor, into, done, into.length - done, offset + done);
      if (count === 0) throw new Error('the file is shorter than it was when it was mapped');
      done += count;
    }
  } catch (error) {
    throw new MmdumpError(
      'SIGBUS',
      `page at ${hex(address)} cannot be read from ${path}: ${reasonOf(error)}`,
      { address, path, errno: errnoOf(error) ?? 'EIO' },
      error,
    );
  }
}
