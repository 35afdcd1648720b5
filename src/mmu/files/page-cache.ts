/**
 * The page cache of a file: page index → frame, a radix tree whose nodes are simulated frames of
 * 1024 pfns each. One level spans 4 MiB of file, two 4 GiB, three 4 TiB.
 *
 * Protected by the file's lock. While the machine is frozen nobody changes a tree, and anybody may
 * walk it. A cached page holds one reference of the cache and one for every PTE that maps it.
 */
import { closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { hex, PAGE_SIZE, type Pfn } from '../../shared/page.ts';
import type { MachineParts } from '../mm/machine-parts.ts';
import { PG } from '../physical/page-struct.ts';
import type { TableContext } from '../tables/page-table.ts';
import { FILE_BACKING, FILE_KIND } from './file-record.ts';
import type { FileTable } from './file-table.ts';

const FANOUT = 1024;
/** Levels that cover every page index of a mapping, which is below 2^52. */
const MAX_HEIGHT = 6;

/** What the page cache needs: frames, and the files with their open host files. */
export interface CacheContext extends TableContext {
  readonly files: FileTable;
  readonly hostFiles: HostFiles;
}

const OPEN_FILES_MAX = 128;

/** Host files that this thread has open, by path. The longest open one makes room. */
export class HostFiles {
  readonly #descriptors = new Map<string, number>();

  descriptor(path: Uint8Array): number {
    const raw = Buffer.from(path);
    const key = raw.toString('latin1');
    const open = this.#descriptors.get(key);
    if (open !== undefined) return open;
    const descriptor = openRegular(raw);
    if (this.#descriptors.size >= OPEN_FILES_MAX) this.#closeOldest();
    this.#descriptors.set(key, descriptor);
    return descriptor;
  }

  close(): void {
    for (const descriptor of this.#descriptors.values()) closeSync(descriptor);
    this.#descriptors.clear();
  }

  #closeOldest(): void {
    for (const [key, descriptor] of this.#descriptors) {
      this.#descriptors.delete(key);
      closeSync(descriptor);
      return;
    }
  }
}

/**
 * Paths come out of images, too, and an image is not to be trusted: to open a pipe would wait for a
 * writer, to open a device may do anything. Looked at before it is opened, and again afterwards.
 */
function openRegular(path: Buffer): number {
  if (!statSync(path).isFile()) throw new Error('it is not a regular file');
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  if (fstatSync(descriptor).isFile()) return descriptor;
  closeSync(descriptor);
  throw new Error('it is not a regular file');
}

function span(height: number): number {
  return FANOUT ** height;
}

/** Frame of a cached page, or 0. The caller holds the file lock or a freeze. */
export function cacheLookup(context: CacheContext, file: number, index: number): Pfn {
  let node = context.files.cacheRoot(file);
  const height = context.files.cacheHeight(file);
  if (node === 0 || index >= span(height)) return 0 as Pfn;
  for (let level = height; level > 0; level--) {
    const slot = Math.floor(index / span(level - 1)) % FANOUT;
    node = context.memory.wordsOf(node)[context.memory.wordAt(node) + slot]!;
    if (node === 0) return 0 as Pfn;
  }
  return node as Pfn;
}

/** Enters a frame whose reference now belongs to the cache. File lock held. */
export function cacheInsertLocked(
  context: CacheContext,
  file: number,
  index: number,
  pfn: Pfn,
): void {
  const { files, memory } = context;
  growLocked(context, file, index);
  let node = files.cacheRoot(file);
  for (let level = files.cacheHeight(file); level > 1; level--) {
    const words = memory.wordsOf(node);
    const at = memory.wordAt(node) + (Math.floor(index / span(level - 1)) % FANOUT);
    if (words[at] === 0) {
      words[at] = allocateNode(context);
      addChildren(context, node, 1);
    }
    node = words[at]!;
  }
  memory.wordsOf(node)[memory.wordAt(node) + (index % FANOUT)] = pfn;
  addChildren(context, node, 1);
  files.addCachePages(file, 1);
}

/**
 * Takes a page out of the tree; its reference is the caller's now. Nodes that become empty are freed,
 * up to the root. File lock held.
 */
export function removeFromCacheLocked(context: CacheContext, file: number, index: number): void {
  const { files } = context;
  files.addCachePages(file, -1);
  const height = files.cacheHeight(file);
  if (isEmptyWithout(context, files.cacheRoot(file), height, index)) {
    files.setCacheRoot(file, 0, 0);
  }
}

/** Takes the page out of the tree below a node. True when that was all, and the node is freed. */
function isEmptyWithout(
  context: CacheContext,
  node: number,
  level: number,
  index: number,
): boolean {
  const { memory, allocator, thread } = context;
  const words = memory.wordsOf(node);
  const at = memory.wordAt(node) + (Math.floor(index / span(level - 1)) % FANOUT);
  if (level > 1 && !isEmptyWithout(context, words[at]!, level - 1, index)) return false;
  words[at] = 0;
  if (addChildren(context, node, -1) > 0) return false;
  allocator.put(node, thread);
  return true;
}

/** Entries of a node that are in use, after `count` were added. File lock held. */
function addChildren({ pages }: CacheContext, node: number, count: number): number {
  const children = pages.previous(node) + count;
  pages.setPrevious(node, children);
  return children;
}

function growLocked(context: CacheContext, file: number, index: number): void {
  const { files, memory } = context;
  if (files.cacheRoot(file) === 0) files.setCacheRoot(file, allocateNode(context), 1);
  for (;;) {
    const height = files.cacheHeight(file);
    if (index < span(height)) return;
    if (height === MAX_HEIGHT) throw new MmdumpError('EOVERFLOW', 'page index beyond any file');
    const root = allocateNode(context);
    memory.wordsOf(root)[memory.wordAt(root)] = files.cacheRoot(file);
    addChildren(context, root, 1);
    files.setCacheRoot(file, root, height + 1);
  }
}

function allocateNode(context: CacheContext): Pfn {
  const pfn = context.allocator.allocateZeroed(context.thread);
  context.pages.describe(pfn, PG.CACHE_NODE, 0, 0);
  return pfn;
}

/**
 * The cached page at `index`, read in if need be, with a reference for the caller (filemap_fault,
 * shmem_fault). SIGBUS beyond the end of the file or when its bytes cannot be had.
 */
export function cacheGetPage(
  context: CacheContext,
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
        readBacking(context, file, index, context.memory.page(pfn), address);
        const memoryBacked = (files.kind(file) & FILE_KIND.MEMORY) !== 0;
        pages.describe(pfn, memoryBacked ? PG.SWAPBACKED : 0, file, index);
        cacheInsertLocked(context, file, index, pfn);
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

/** Reads one page of a file's backing store; `into` is zeroed and stays so beyond the end. */
export function readBacking(
  context: CacheContext,
  file: number,
  index: number,
  into: Uint8Array,
  address: number,
): void {
  const { files } = context;
  const offset = index * PAGE_SIZE;
  const length = Math.min(PAGE_SIZE, files.size(file) - offset);
  switch (files.backing(file)) {
    case FILE_BACKING.STORE:
      into.set(files.content(file, offset, length));
      return;
    case FILE_BACKING.HOST:
      readHostPage(context, file, offset, into.subarray(0, length), address);
      return;
    case FILE_BACKING.LOST:
      throw new MmdumpError(
        'SIGBUS',
        `page ${index} of ${files.pathText(file)} is not known: whoever loaded the file did not have it`,
        { address, path: files.pathText(file) },
      );
    default: // a memory-backed file has no other home: an absent page is zeros
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

/** Pages of a file that one leaf node covers. */
export const CACHE_NODE_PAGES: number = FANOUT;

/** Calls `visit` for every cached page with from <= index < to, ascending, skipping empty parts. */
export function forEachCachedPage(
  context: CacheContext,
  file: number,
  from: number,
  to: number,
  visit: (index: number, pfn: number) => void,
): void {
  const root = context.files.cacheRoot(file);
  if (root === 0) return;
  visitTree(context, root, context.files.cacheHeight(file), 0, { from, to, bottom: 0, visit });
}

/** Calls `visit` with the first index of every leaf node that intersects [from, to), ascending. */
export function forEachCacheNode(
  context: CacheContext,
  file: number,
  from: number,
  to: number,
  visit: (index: number) => void,
): void {
  const root = context.files.cacheRoot(file);
  if (root === 0) return;
  visitTree(context, root, context.files.cacheHeight(file), 0, { from, to, bottom: 1, visit });
}

interface TreeVisit {
  readonly from: number;
  readonly to: number;
  /** Level whose members are visited: 0 pages, 1 leaf nodes. */
  readonly bottom: number;
  visit(index: number, pfn: number): void;
}

function visitTree(
  context: CacheContext,
  node: number,
  level: number,
  base: number,
  tree: TreeVisit,
): void {
  if (level === tree.bottom) {
    tree.visit(base, node);
    return;
  }
  const words = context.memory.wordsOf(node);
  const first = context.memory.wordAt(node);
  const step = span(level - 1);
  const start = Math.max(0, Math.floor((tree.from - base) / step));
  const end = Math.min(FANOUT, Math.ceil((tree.to - base) / step));
  for (let slot = start; slot < end; slot++) {
    const child = words[first + slot]!;
    if (child !== 0) visitTree(context, child, level - 1, base + slot * step, tree);
  }
}

/** The page cache's view of a machine outside of any mm. */
export function cacheContext(machine: MachineParts, thread: number): CacheContext {
  const { memory, pages, allocator, threads, mayBlock, files, hostFiles } = machine;
  return { memory, pages, allocator, threads, thread, mayBlock, files, hostFiles };
}

/** Drops a reference to a file; the last one frees its page cache and its record (evict_inode). */
export function putFile(context: CacheContext, file: number): void {
  const { files, thread } = context;
  if (!files.dropReference(file, thread)) return;
  const root = files.cacheRoot(file);
  if (root !== 0) freeNode(context, root, files.cacheHeight(file));
  files.setCacheRoot(file, 0, 0);
  files.free(file, thread);
}

/** Removes the file's name, and with it the reference that the name holds. The caller has another. */
export function unlinkFile(context: CacheContext, file: number): void {
  if (context.files.unlink(file, context.thread)) putFile(context, file);
}

function freeNode(context: CacheContext, node: number, level: number): void {
  const words = context.memory.wordsOf(node);
  const first = context.memory.wordAt(node);
  for (let slot = 0; slot < FANOUT; slot++) {
    const child = words[first + slot]!;
    if (child === 0) continue;
    if (level > 1) freeNode(context, child, level - 1);
    else context.allocator.put(child, context.thread);
  }
  context.allocator.put(node, context.thread);
}
