/**
 * The page cache of a file maps page indices to frames. It is a radix tree whose nodes are
 * simulated frames of 1024 pfns each. One level spans 4 MiB of a file, two levels span 4 GiB, three
 * 4 TiB.
 *
 * The file lock protects the tree. While the machine is frozen no thread changes a tree, so every
 * thread may walk it without the lock. A cached page has one reference of the cache, and one per
 * PTE that maps it.
 */
import { MmdumpError } from '../../shared/errors.ts';
import type { Pfn } from '../../shared/page.ts';
import type { MachineParts } from '../mm/machine-parts.ts';
import { PG } from '../physical/page-struct.ts';
import type { TableContext } from '../tables/page-table.ts';
import type { FileTable } from './file-table.ts';
import type { HostFiles } from './host-files.ts';

/** Entries of a node. */
const FANOUT = 1024;
/** Levels that cover every page index of a mapping, which is below 2^52. */
const MAX_HEIGHT = 6;

/** What the page cache needs: frames, the file table, and where pages of files come from. */
export interface CacheContext extends TableContext {
  readonly files: FileTable;
  readonly hostFiles: HostFiles;
  readonly backings: MachineParts['backings'];
}

/** Number of pages that a tree of this height spans. */
function span(height: number): number {
  return FANOUT ** height;
}

/** Returns the frame of a cached page, or 0. The file lock is held, or the machine is frozen. */
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

/**
 * Inserts a frame at page `index`. The caller's reference to it then belongs to the cache. Throws
 * ENOMEM when no frame is free for a node, and EOVERFLOW for an index that no file has; the caller
 * keeps its reference then. File lock held.
 */
export function cacheInsert(context: CacheContext, file: number, index: number, pfn: Pfn): void {
  const { files, memory } = context;
  growTree(context, file, index);
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
 * Takes the page at `index` out of the tree. Its reference then belongs to the caller. Nodes that
 * become empty are freed, up to the root. File lock held.
 */
export function cacheRemove(context: CacheContext, file: number, index: number): void {
  const { files } = context;
  files.addCachePages(file, -1);
  const height = files.cacheHeight(file);
  if (isEmptyWithout(context, files.cacheRoot(file), height, index)) {
    files.setCacheRoot(file, 0, 0);
  }
}

/**
 * Takes the page out of the subtree of a node. Returns whether the node is empty now, and freed.
 */
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

/** Adds `count` to the number of entries that a node has in use, and returns it. File lock held. */
function addChildren({ pages }: CacheContext, node: number, count: number): number {
  const children = pages.previous(node) + count;
  pages.setPrevious(node, children);
  return children;
}

/** Adds levels until the tree spans page `index`. Throws ENOMEM and EOVERFLOW. File lock held. */
function growTree(context: CacheContext, file: number, index: number): void {
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

/** Number of pages that one leaf node covers. */
export const CACHE_NODE_PAGES: number = FANOUT;

/**
 * Calls `visit` for every cached page with from <= index < to, in ascending order. Empty parts of
 * the tree are skipped. The file lock is held, or the machine is frozen.
 */
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

/**
 * Calls `visit` with the first page index of every leaf node that intersects [from, to), in
 * ascending order. The file lock is held, or the machine is frozen.
 */
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
  /** What is visited: 0 for pages, 1 for leaf nodes. */
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

/** Makes the context for a thread that works on page caches without an mm. */
export function cacheContext(machine: MachineParts, thread: number): CacheContext {
  const { memory, pages, allocator, threads, mayBlock, files, hostFiles, backings } = machine;
  return { memory, pages, allocator, threads, thread, mayBlock, files, hostFiles, backings };
}

/**
 * Drops a reference to a file (iput). The last one frees its page cache and record (evict_inode).
 */
export function putFile(context: CacheContext, file: number): void {
  const { files, thread } = context;
  if (!files.dropReference(file, thread)) return;
  const root = files.cacheRoot(file);
  if (root !== 0) freeNode(context, root, files.cacheHeight(file));
  files.setCacheRoot(file, 0, 0);
  files.free(file, thread);
}

/** Removes the name of a file and drops the name's reference. The caller has another reference. */
export function unlinkFile(context: CacheContext, file: number): void {
  if (context.files.unlink(file, context.thread)) putFile(context, file);
}

/** Drops the pages of a subtree and frees its nodes. The file is CLAIMED, so no lock is needed. */
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
