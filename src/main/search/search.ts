/** Searches the pages of an image with all workers. */
import type { Prot } from '../../mmu/arguments/prot.ts';
import { PROT, protFlags } from '../../mmu/arguments/prot.ts';
import type { AddressRange } from '../../mmu/machine/prefetch.ts';
import { type Check, listener, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import type { SearchExpression } from '../../shared/dump/tasks/search-task.ts';
import { addressOf, TASK_SIZE } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import type { WorkerPool } from '../crew/pool.ts';
import type { ImageMm } from '../image/index/image-mm.ts';
import { BYTE_RANGE, chosenVmas, KIND_FILTER, kindsOf } from '../image/pages/page-filter.ts';
import type { PageKind, PageState } from '../image/pages/page-info.ts';
import { runsIn } from '../image/pages/page-runs.ts';
import type { ImageContents } from '../image/read/image-contents.ts';
import { whileIntact } from '../image/source/byte-source.ts';
import { JOB_OPTIONS, type JobOptions, Yielder } from '../job/stop.ts';
import { PATTERN_MAX, type Wanted } from './pattern.ts';
import { findBytes, findExpression } from './search-phases.ts';
import { rangesOf, type SearchRange, SearchTables } from './stretches.ts';

/** Options of a search in address spaces. */
export interface SpaceSearchOptions extends JobOptions {
  /** Ordinal of the mm to search. Default: all of them. */
  readonly mm?: number | undefined;
  /** Bytes in which matches lie. Default: all of user space. */
  readonly range?: AddressRange | undefined;
  /** The same in another way: first address at which a match may begin. Default 0. */
  readonly start?: number | undefined;
  /** Address before which a match ends. Default: the end of user space. */
  readonly end?: number | undefined;
  /** Searches only mappings that permit at least this access, such as 'rw'. Default '': all. */
  readonly prot?: Prot | undefined;
  /** Most bytes of a match of an expression, 1 to 65 536. Default 4096. */
  readonly maxMatchBytes?: number | undefined;
  /** Most matches that are listed, the first ones; the others are counted. Default 10 000. */
  readonly maxMatches?: number | undefined;
  /** Called at most ten times per second while pages are searched, and once more at the end. */
  readonly onProgress?: ((progress: SearchProgress) => void) | undefined;
}

/** Options of a search in an image. */
export interface SearchOptions extends SpaceSearchOptions {
  /** Searches only pages of this kind, or of one of these: see `PageInfo`. Default: all. */
  readonly kind?: PageKind | readonly PageKind[] | undefined;
  /** Searches only pages of this class, or of one of these. A page in the parent is a 'copy'. */
  readonly class?: PageState | readonly PageState[] | undefined;
}

/** How far a search is. */
export interface SearchProgress {
  /** Bytes that were searched. */
  readonly bytes: number;
  /** Bytes that there are to search. */
  readonly totalBytes: number;
}

/** A place where the pattern was found. */
export interface Match {
  /** Ordinal of the mm. */
  readonly mm: number;
  /** Address of the first byte. */
  readonly address: number;
  /** Length of the match, in bytes. */
  readonly bytes: number;
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

/** Most matches that are listed by default. */
export const MATCHES_MAX = 10_000;
const MATCH_BYTES = 4096;
const ADDRESS: Check<number> = wholeNumber(0, TASK_SIZE);

/** The options of a search in address spaces, which are checked before it begins. */
export const SPACE_SEARCH_OPTIONS: Shape<SpaceSearchOptions> = {
  ...JOB_OPTIONS,
  mm: optional(wholeNumber(0)),
  range: optional(BYTE_RANGE),
  start: optional(ADDRESS),
  end: optional(ADDRESS),
  prot: optional(PROT),
  maxMatchBytes: optional(wholeNumber(1, PATTERN_MAX)),
  maxMatches: optional(wholeNumber(0)),
  onProgress: listener(),
};

/** The options of a search in an image. */
export const SEARCH_OPTIONS: Shape<SearchOptions> = { ...SPACE_SEARCH_OPTIONS, ...KIND_FILTER };

/** Checks options of a search. OPTION_INVALID, also for `range` beside `start` or `end`. */
export function searchOptions<T extends SpaceSearchOptions>(
  what: string,
  value: unknown,
  shape: Shape<T>,
): T {
  const options = optionsOf(what, value, shape);
  const { range, start, end } = options;
  if (range === undefined || (start === undefined && end === undefined)) return options;
  throw refusal('range', range, "either 'range', or 'start' and 'end'");
}

/** Searches an image. */
export async function searchWith(
  pool: WorkerPool,
  contents: ImageContents,
  pattern: Wanted,
  options: SearchOptions,
): Promise<SearchResult> {
  const { mm, signal, onProgress } = options;
  const most = options.maxMatches ?? MATCHES_MAX;
  await contents.openChain(signal);
  const mms = mm === undefined ? contents.mms : [contents.mm(mm)];
  const tables = new SearchTables(lengthsOf(pattern, options));
  const yielder = new Yielder(signal);
  for (const each of mms) await addMm(tables, contents, each, options, yielder);
  tables.finish();
  const { unitCount, unitBytes, totalBytes, pieces, units } = tables;
  const crew = pool.crew({
    units: unitCount,
    bytes: totalBytes,
    mayRunHere: pattern.kind === 'bytes',
  }); // an expression may take long
  const tell =
    onProgress &&
    (({ bytes }: { readonly bytes: number }) => {
      onProgress({ bytes, totalBytes });
    });
  const image = { source: contents.reach, pieces };
  const task = { image, spaces: undefined, units, unitCount, unitBytes, most };
  const planned = { pool, crew, taskOf: () => task };
  const found = await whileIntact(contents, () =>
    pattern.kind === 'bytes'
      ? findBytes(planned, pattern.bytes, { signal, onProgress: tell })
      : findExpression(planned, expressionFor(pattern, options), { signal, onProgress: tell }),
  );
  throwIfAborted(signal); // it may have fired in the last call of `onProgress`
  return { ...found, bytes: totalBytes };
}

/** The expression for workers. */
export function expressionFor(
  { source, flags }: Wanted & { readonly kind: 'expression' },
  options: SpaceSearchOptions,
): SearchExpression {
  return { source, flags, most: options.maxMatchBytes ?? MATCH_BYTES };
}

/** The fewest and the most bytes of a match. */
export function lengthsOf(
  pattern: Wanted,
  options: SpaceSearchOptions,
): { readonly shortest: number; readonly longest: number } {
  if (pattern.kind === 'expression') {
    return { shortest: 1, longest: options.maxMatchBytes ?? MATCH_BYTES };
  }
  const { length } = pattern.bytes;
  return { shortest: length, longest: length };
}

/** The bytes in which matches lie. */
export function rangeOf({ range, start, end }: SpaceSearchOptions): SearchRange {
  if (range !== undefined) return { start: range.address, end: range.address + range.length };
  return { start: start ?? 0, end: end ?? TASK_SIZE };
}

/** Adds what the filters choose of an mm. */
async function addMm(
  tables: SearchTables,
  contents: ImageContents,
  mm: ImageMm,
  options: SearchOptions,
  yielder: Yielder,
): Promise<void> {
  const { prot = '' } = options;
  const { start, end } = rangeOf(options);
  const kinds = kindsOf(options);
  if (kinds === undefined) {
    for (const each of rangesOf(mm, protFlags(prot), { start, end })) {
      await tables.add(contents, mm, each, yielder);
    }
    return;
  }
  const bytes = { address: start, length: Math.max(0, end - start) };
  const vmas = chosenVmas(mm.vmas, { range: bytes, prot });
  for await (const { address, pages } of runsIn(mm, vmas, bytes, kinds, yielder)) {
    const from = Math.max(start, address);
    const to = Math.min(end, address + addressOf(pages));
    if (from < to) await tables.add(contents, mm, { start: from, end: to }, yielder);
  }
}
