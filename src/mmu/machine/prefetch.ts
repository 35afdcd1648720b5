/**
 * Loading, before anybody touches them, pages of an mm that lie in a backing. A dumper that has
 * restored or imported on demand loads them with its workers: it registers for the machine, since
 * this room knows no workers. Without one the calling thread loads them itself, granule by granule.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { abortSignal, listener, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { TASK_PAGES } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { type PageRange, parseRange } from '../arguments/range.ts';
import { findBacked, loadBacked } from '../backing/load-backed.ts';
import { type MmReference, runOnAsync } from './enter.ts';

/** A range of an address space, in bytes. */
export interface AddressRange {
  /** Address of a page. */
  readonly address: number;
  /** Length in bytes, rounded up to whole pages. */
  readonly length: number;
}

/** Options of `AddressSpace.prefetch`. */
export interface PrefetchOptions {
  /** Stops it: AbortError. Pages that are loaded by then stay. Default: no signal. */
  readonly signal?: AbortSignal | undefined;
  /** Called at most ten times per second while pages are loaded, and once at the end. */
  readonly onProgress?: ((progress: PrefetchProgress) => void) | undefined;
}

/** How far a prefetch is, in pages of the granules (2 MiB) that have pages to load. */
export interface PrefetchProgress {
  /** Pages that were looked at. */
  readonly pages: number;
  /** Pages that will be looked at. */
  readonly totalPages: number;
}

/** What a prefetch has done. */
export interface PrefetchResult {
  /** Pages that it has loaded. Those that others loaded first do not count. */
  readonly pages: number;
}

/** Loads the pages of a part of an mm. */
export type Prefetcher = (
  reference: MmReference,
  parts: BackedParts,
  options: PrefetchOptions,
) => Promise<PrefetchResult>;

/** Parts of granules: see `findBacked`. */
export type BackedParts = readonly { readonly start: number; readonly pages: number }[];

const prefetchers = new Map<string, Prefetcher>();

/** Registers for the machine with this id, until the function that it returns is called. */
export function setPrefetcher(machine: string, prefetcher: Prefetcher): () => void {
  prefetchers.set(machine, prefetcher);
  return () => {
    if (prefetchers.get(machine) === prefetcher) prefetchers.delete(machine);
  };
}

const OPTIONS: Shape<PrefetchOptions> = {
  signal: optional(abortSignal),
  onProgress: listener(),
};
const RANGE: Shape<AddressRange> = { address: wholeNumber(0), length: wholeNumber(0) };

/** What `AddressSpace.prefetch` does, with its arguments as the caller gave them. */
export async function prefetch(
  reference: MmReference,
  range: AddressRange | undefined,
  options: PrefetchOptions,
): Promise<PrefetchResult> {
  const checked = optionsOf('prefetch', options, OPTIONS);
  const pages = pagesOf(range);
  throwIfAborted(checked.signal);
  const parts = pages === undefined ? [] : await findParts(reference, pages, checked.signal);
  const prefetcher = prefetchers.get(reference.machine.id) ?? prefetchHere;
  return await prefetcher(reference, parts, checked);
}

function pagesOf(range: AddressRange | undefined): PageRange | undefined {
  if (range === undefined) return { from: 0, to: TASK_PAGES };
  const { address, length } = optionsOf('range', range, RANGE);
  return parseRange('prefetch', address, length);
}

async function findParts(
  reference: MmReference,
  { from, to }: PageRange,
  signal: AbortSignal | undefined,
): Promise<BackedParts> {
  const all: { readonly start: number; readonly pages: number }[] = [];
  for (let next = from; next >= 0; ) {
    const found = await runOnAsync(reference, 'read', (mm) => findBacked(mm, next, to), signal);
    for (const part of found.parts) all.push(part);
    next = found.next;
    if (next >= 0) await nextTurn();
  }
  return all;
}

const PROGRESS_MS = 100;

async function prefetchHere(
  reference: MmReference,
  parts: BackedParts,
  { signal, onProgress }: PrefetchOptions,
): Promise<PrefetchResult> {
  const totalPages = parts.reduce((sum, { pages }) => sum + pages, 0);
  let done = 0;
  let pages = 0;
  let told = Number.NEGATIVE_INFINITY;
  for (const { start, pages: count } of parts) {
    throwIfAborted(signal);
    pages += await runOnAsync(
      reference,
      'read',
      (mm) => loadBacked(mm, start, start + count),
      signal,
    );
    done += count;
    if (performance.now() - told >= PROGRESS_MS && done < totalPages) {
      told = performance.now();
      onProgress?.({ pages: done, totalPages });
    }
    await nextTurn(); // a granule takes about a millisecond
  }
  throwIfAborted(signal);
  onProgress?.({ pages: done, totalPages });
  return { pages };
}
