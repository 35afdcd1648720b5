/** Reads the pages that `file-contents.ts` lists, at a cost that follows their content. */

import { forEachCachedPage } from '../../mmu/files/page-cache.ts';
import { type MmReference, runOnAsync } from '../../mmu/machine/enter.ts';
import { NO_DIGEST } from '../../shared/digest/digest-kind.ts';
import { LOAD, LoadList } from '../../shared/dump/load-table.ts';
import { MiB, PAGE_SIZE, type Pfn } from '../../shared/page.ts';
import { addRange, intersection, type Ranges } from '../../shared/ranges.ts';
import type { WorkerPool } from '../crew/pool.ts';
import type { Yielder } from '../job/stop.ts';
import { runLoadPhase } from '../load/load-phase.ts';
import type { Piece, UnmappedPages } from './file-contents.ts';
import type { MappedFile } from './mapped-files.ts';
import { openAgain } from './readable-files.ts';
import { findData } from './sparse-search.ts';

/** Pages per run. A full run is one unit of work, and even a large file has few enough of them. */
const RUN_PAGES = 4096;

/**
 * Loads the pages with all workers, file by file. Returns how many of them have content, by the
 * ordinal of the process that maps the file first. `mm` may be any mm of the machine, since page
 * caches belong to none.
 */
export async function loadUnmapped(
  pool: WorkerPool,
  mm: MmReference,
  unmapped: readonly UnmappedPages[],
  ids: ReadonlyMap<MappedFile, number>,
  yielder: Yielder,
  signal: AbortSignal | undefined,
): Promise<Map<number, number>> {
  const found = new Map<number, number>();
  for (const each of unmapped) {
    const { file, source } = each;
    const { pieces, enough } = await whatToRead(each, mm, ids.get(file)!, yielder);
    if (pieces.length === 0) continue;
    const handle = await openAgain(file, source);
    try {
      const name = `file ${Buffer.from(file.path).toString()}`;
      const reach = { kind: 'file', name, fd: handle.fd } as const;
      const list = listRuns(pieces, ids.get(file)!);
      const reports = await runLoadPhase(pool, [mm], reach, list, { signal, enough });
      const bytes = reports.reduce((sum, report) => sum + report.bytes, 0);
      found.set(source.user, (found.get(source.user) ?? 0) + bytes / PAGE_SIZE);
    } finally {
      await handle.close();
    }
  }
  return found;
}

/** A file on disk is searched before it is read if at most one page in 32 can have data. */
const SPARSE = 32;
/** Files with fewer pages are not searched: reading them takes less time than starting a search. */
const SEARCHED_PAGES = (64 * MiB) / PAGE_SIZE;

interface ToRead {
  readonly pieces: readonly Piece[];
  /** Reading ends once this many pages with content were found; 0: it goes on to the end. */
  readonly enough: number;
}

/**
 * Leaves out what is known to be a hole of a file on disk. If the mapped pages account for all of
 * its blocks, everything else is a hole. Otherwise a search finds the parts that have no data.
 */
async function whatToRead(
  { file, source, pieces, mostPages }: UnmappedPages,
  mm: MmReference,
  id: number,
  yielder: Yielder,
): Promise<ToRead> {
  if (file.isMemoryBacked) {
    return { pieces, enough: Number.isFinite(source.mostContent) ? mostPages : 0 };
  }
  if (!Number.isFinite(source.mostContent)) return { pieces, enough: 0 };
  // A file without blocks may have data in its inode. Such data belongs to the first page.
  if (source.mostContent === 0) return { pieces: within(pieces, [{ from: 0, to: 1 }]), enough: 0 };
  const pages = pieces.reduce((sum, piece) => sum + piece.pages, 0);
  if (pages < SEARCHED_PAGES) return { pieces, enough: 0 };
  const cached = await findContent(mm, id, yielder);
  const left = source.mostContent - cached.pages;
  if (left <= 0) return { pieces: [], enough: 0 };
  const dense: ToRead = { pieces, enough: Math.min(left, pages) };
  if (left > pages / SPARSE) return dense;
  const ranges: Ranges = [];
  for (const { index, pages: count } of pieces) addRange(ranges, index, index + count);
  const data = await findData(source.path, ranges, cached.first, yielder);
  return data === undefined ? dense : { ...dense, pieces: within(pieces, data) };
}

/** The parts of the pieces that lie in these ranges of the file. */
function within(pieces: readonly Piece[], ranges: Ranges): Piece[] {
  return pieces.flatMap(({ start, index, pages }) => {
    return intersection(index, index + pages, ranges).map(({ from, to }) => {
      return { start: start + (from - index), index: from, pages: to - from };
    });
  });
}

/** Cached pages that are compared with zeros between two yields. */
const LOOKED_AT = 1024;
const ZERO_PAGE = new Uint8Array(PAGE_SIZE);

interface Content {
  readonly pages: number;
  readonly first: number | undefined;
}

/**
 * Counts the pages of a file that are loaded, or that lie in a backing, and are not all zeros. Finds
 * the first of them.
 */
async function findContent(mm: MmReference, file: number, yielder: Yielder): Promise<Content> {
  const placed = await findPlaced(mm, file, yielder);
  const cached: { readonly index: number; readonly pfn: number }[] = [];
  await runOnAsync(mm, 'read', (view) => {
    forEachCachedPage(view, file, 0, Number.MAX_SAFE_INTEGER, (index, pfn) => {
      cached.push({ index, pfn });
    });
  });
  let { pages, first } = placed;
  for (let from = 0; from < cached.length; from += LOOKED_AT) {
    await yielder.yield();
    for (const { index, pfn } of cached.slice(from, from + LOOKED_AT)) {
      if (Buffer.compare(mm.machine.memory.page(pfn as Pfn), ZERO_PAGE) === 0) continue;
      pages++;
      first ??= index;
    }
  }
  return { pages, first };
}

/** The same for pages that lie in a backing, which are read as they are found. */
async function findPlaced(
  { machine }: MmReference,
  file: number,
  yielder: Yielder,
): Promise<Content> {
  const places = machine.files.places(file);
  let pages = 0;
  let first: number | undefined;
  const window = new Uint8Array(places === undefined ? 0 : LOOKED_AT * PAGE_SIZE);
  for (let run = 0; places !== undefined && run < places.count; run++) {
    const start = places.index(run);
    const end = start + places.pages(run);
    for (let from = start; from < end; from += LOOKED_AT) {
      await yielder.yield();
      const count = Math.min(LOOKED_AT, end - from);
      machine.backings.read(places.backing(run), places.place(run, from), count, window, 0);
      for (let page = 0; page < count; page++) {
        const bytes = window.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
        if (Buffer.compare(bytes, ZERO_PAGE) === 0) continue;
        pages++;
        first ??= from + page;
      }
    }
  }
  return { pages, first };
}

/** Pages of zeros stay absent. They read the same, because every page of the file is looked for. */
function listRuns(pieces: readonly Piece[], file: number): LoadList {
  const list = new LoadList();
  for (const { start, index, pages } of pieces) {
    for (let done = 0; done < pages; done += RUN_PAGES) {
      list.add({
        mm: 0,
        kind: LOAD.CONTENT,
        flags: 0,
        pages: Math.min(RUN_PAGES, pages - done),
        start: start + done,
        source: (index + done) * PAGE_SIZE,
        file,
        index: index + done,
        ...NO_DIGEST,
      });
    }
  }
  return list;
}
