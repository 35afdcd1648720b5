/**
 * Decides which mapping stores which pages of unreachable files (row 12 of docs/CLASSIFICATION.md).
 * It does so by interval arithmetic over mappings, before any page is looked at.
 *
 * The mappings of a file are taken in the order of mms and addresses. A mapping that shows every
 * page it covers, as shared mappings do, settles these pages: no later mapping stores them. Other
 * mappings may hide pages of the file: a private mapping behind anonymous pages of its own, and any
 * mapping behind guard markers. They do not settle the pages that they cover. A later mapping
 * stores such a page if all earlier ones hide it. These are its rivals, and workers look at them
 * page by page.
 *
 * On a running machine this is not possible, because the pages that private mappings hide change
 * while the dump goes on. There shared mappings decide among themselves, since guard markers stay
 * where they are. A private mapping stores, as pages of its own, what it shows and no shared
 * mapping settles.
 */
import type { FileMapping, OwnedInterval } from '../../shared/dump/owner-table.ts';
import { addRange, intersects, type Ranges, subtract } from '../../shared/ranges.ts';
import type { Yielder } from '../job/stop.ts';

/** A mapping of one file, in the order of the dump. */
export interface OrderedMapping extends FileMapping {
  readonly isShared: boolean;
  /** Whether it shows every page that it covers. */
  readonly settles: boolean;
}

/** What the plan has decided, as `encodeOwners` takes it. */
export interface Owners {
  readonly intervals: OwnedInterval[];
  readonly rivals: FileMapping[];
}

/**
 * Decides for every file. The intervals are ascending by mm and page. Throws AbortError through
 * `yielder`.
 */
export async function decideOwners(
  files: ReadonlyMap<number, readonly OrderedMapping[]>,
  isFrozen: boolean,
  yielder: Yielder,
): Promise<Owners> {
  const intervals: OwnedInterval[] = [];
  const rivals: FileMapping[] = [];
  const decide = isFrozen ? decideFile : decideRunningFile;
  for (const mappings of files.values()) await decide(mappings, intervals, rivals, yielder);
  intervals.sort((a, b) => a.mm - b.mm || a.start - b.start);
  return { intervals, rivals };
}

/** Every mapping stores all that it shows: for a format in which no page can stand for another. */
export function everyMapping(files: ReadonlyMap<number, readonly OrderedMapping[]>): Owners {
  const all = [...files.values()].flat();
  const intervals = all.map(({ mm, start, pages }) => ({ mm, start, pages, rival: 0, rivals: 0 }));
  intervals.sort((a, b) => a.mm - b.mm || a.start - b.start);
  return { intervals, rivals: [] };
}

/** Decides for a file of a running machine, where only what shared mappings show is certain. */
async function decideRunningFile(
  mappings: readonly OrderedMapping[],
  intervals: OwnedInterval[],
  rivals: FileMapping[],
  yielder: Yielder,
): Promise<void> {
  const rival = rivals.length;
  const shared = mappings.filter(({ isShared }) => isShared);
  const settled = await decideFile(shared, intervals, rivals, yielder);
  for (const { isShared, mm, start, pages, pgoff } of mappings) {
    if (yielder.isDue()) await yielder.yield();
    if (isShared) continue;
    for (const { from, to } of subtract(pgoff, pgoff + pages, settled)) {
      const first = start + (from - pgoff);
      intervals.push({ mm, start: first, pages: to - from, rival, rivals: rivals.length - rival });
    }
  }
}

/**
 * Decides for a file. Returns the pages of the file that are settled: no further mapping stores
 * them.
 */
async function decideFile(
  mappings: readonly OrderedMapping[],
  intervals: OwnedInterval[],
  rivals: FileMapping[],
  yielder: Yielder,
): Promise<Ranges> {
  const settled: Ranges = [];
  const contested: Ranges = [];
  const firstRival = rivals.length;
  for (const mapping of mappings) {
    if (yielder.isDue()) await yielder.yield();
    const from = mapping.pgoff;
    const to = from + mapping.pages;
    for (const part of subtract(from, to, settled)) {
      const isContested = intersects(contested, part.from, part.to);
      intervals.push({
        mm: mapping.mm,
        start: mapping.start + (part.from - from),
        pages: part.to - part.from,
        rival: firstRival,
        rivals: isContested ? rivals.length - firstRival : 0,
      });
    }
    if (mapping.settles) addRange(settled, from, to);
    else {
      addRange(contested, from, to);
      rivals.push(mapping);
    }
  }
  return settled;
}
