/** Searches the pages of an image with all workers. */
import type { Prot } from '../../mmu/arguments/prot.ts';
import { PROT, protFlags } from '../../mmu/arguments/prot.ts';
import { bytesOf } from '../../shared/arguments/bytes.ts';
import { type Check, listener, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import type { SearchReport } from '../../shared/dump/tasks/search-task.ts';
import { KiB, TASK_SIZE } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import type { WorkerPool } from '../crew/pool.ts';
import type { ImageContents } from '../image/read/image-contents.ts';
import { whileIntact } from '../image/source/byte-source.ts';
import { JOB_OPTIONS, type JobOptions, Yielder } from '../job/stop.ts';
import { rangesOf, SearchTables } from './stretches.ts';

/** Options of a search. */
export interface SearchOptions extends JobOptions {
  /** Ordinal of the mm to search. Default: all of them. */
  readonly mm?: number | undefined;
  /** First address at which a match may begin. Default 0. */
  readonly start?: number | undefined;
  /** Address before which a match ends. Default: the end of user space. */
  readonly end?: number | undefined;
  /** Searches only mappings that permit at least this access, such as 'rw'. Default '': all. */
  readonly prot?: Prot | undefined;
  /** Most matches that are listed, the first ones; the others are counted. Default 10 000. */
  readonly maxMatches?: number | undefined;
  /** Called at most ten times per second while pages are searched, and once more at the end. */
  readonly onProgress?: ((progress: SearchProgress) => void) | undefined;
}

/** How far a search is. */
export interface SearchProgress {
  /** Bytes that were searched. */
  readonly bytes: number;
  /** Bytes that there are to search. */
  readonly totalBytes: number;
}

/** A place where the bytes were found. */
export interface Match {
  /** Ordinal of the mm. */
  readonly mm: number;
  /** Address of the first byte. */
  readonly address: number;
}

/** What a search has found. */
export interface SearchResult {
  /** The first matches by mm and address, at most `maxMatches`. */
  readonly matches: readonly Match[];
  /** Number of all matches. */
  readonly count: number;
  /** Bytes that were searched. */
  readonly bytes: number;
}

const MATCHES_MAX = 10_000;
/** Longest sequence of bytes that is searched for. */
const PATTERN_MAX: number = 64 * KiB;
const ADDRESS: Check<number> = wholeNumber(0, TASK_SIZE);

/** The options of `search`, which are checked before it begins. */
export const SEARCH_OPTIONS: Shape<SearchOptions> = {
  ...JOB_OPTIONS,
  mm: optional(wholeNumber(0)),
  start: optional(ADDRESS),
  end: optional(ADDRESS),
  prot: optional(PROT),
  maxMatches: optional(wholeNumber(0)),
  onProgress: listener(),
};

/** The bytes that are searched for: a copy of a view, or a text in UTF-8. OPTION_INVALID. */
export function wanted(what: string, value: unknown): Uint8Array {
  const bytes = typeof value === 'string' ? Buffer.from(value) : bytesOf(what, value);
  if (bytes.length >= 1 && bytes.length <= PATTERN_MAX) return Uint8Array.from(bytes);
  throw refusal(what, value, `1 to ${PATTERN_MAX} bytes, or a text of so many`);
}

/** Searches an image. */
export async function searchWith(
  pool: WorkerPool,
  contents: ImageContents,
  pattern: Uint8Array,
  options: SearchOptions,
): Promise<SearchResult> {
  const { mm, start = 0, end = TASK_SIZE, prot = '', signal, onProgress } = options;
  const most = options.maxMatches ?? MATCHES_MAX;
  await contents.openChain(signal);
  const mms = mm === undefined ? contents.mms : [contents.mm(mm)];
  const tables = new SearchTables(pattern.length);
  const yielder = new Yielder(signal);
  for (const each of mms) {
    for (const range of rangesOf(each, protFlags(prot), { start, end })) {
      await tables.add(contents, each, range, yielder);
    }
  }
  tables.finish();
  const { unitCount, unitBytes, totalBytes, pieces, units } = tables;
  const crew = pool.crew({ units: unitCount, bytes: totalBytes, mayRunHere: true });
  const tell =
    onProgress &&
    (({ bytes }: { readonly bytes: number }) => {
      onProgress({ bytes, totalBytes });
    });
  const task = { source: contents.reach, pieces, units, unitCount, unitBytes, pattern, most };
  const reports = await whileIntact(contents, () =>
    pool.phase('search', crew).run(() => task, { signal, onProgress: tell }),
  );
  throwIfAborted(signal); // it may have fired in the last call of `onProgress`
  const count = reports.reduce((sum, report) => sum + report.count, 0);
  return { matches: matchesOf(reports, most), count, bytes: totalBytes };
}

/** The first `most` matches of all workers, each of which has listed as many of its own. */
function matchesOf(reports: readonly SearchReport[], most: number): Match[] {
  const all: Match[] = [];
  for (const { matches } of reports) {
    for (let at = 0; at < matches.length; at += 2) {
      all.push({ mm: matches[at]!, address: matches[at + 1]! });
    }
  }
  return all.sort((a, b) => a.mm - b.mm || a.address - b.address).slice(0, most);
}
