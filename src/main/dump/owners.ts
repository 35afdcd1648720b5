/**
 * Who stores the pages of memory-backed and deleted files (row 12 of docs/CLASSIFICATION.md):
 * decided by interval arithmetic over mappings, before any page is looked at.
 *
 * The mappings of a file are taken in order of mm and address. A mapping that shows every page it
 * covers, as shared ones do, settles them: no later one stores them. A private mapping may hide the
 * file's page behind an anonymous page of its own, any mapping behind a guard marker. What such a
 * mapping covers is not settled: a later one stores the page if all those before it hide it (its
 * rivals, asked page by page).
 *
 * On a machine that runs, what private mappings hide changes from page to page, so nobody can be
 * asked. Shared mappings decide among themselves then, since guards stay where they are; a private one
 * keeps for itself, as a page of its own, what it shows and no shared one does.
 */
import type { FileMapping, OwnedInterval } from '../../shared/dump/owner-table.ts';
import { addRange, intersects, type Ranges, subtract } from '../../shared/ranges.ts';
import type { Turns } from '../job/stop.ts';

/** A mapping of one file, in the order of the dump. */
export interface OrderedMapping extends FileMapping {
  readonly isShared: boolean;
  /** It shows every page that it covers. */
  readonly settles: boolean;
}

export interface Owners {
  readonly intervals: OwnedInterval[];
  readonly rivals: FileMapping[];
}

/** Decides for every file. The intervals come out ascending by mm and page. */
export async function decideOwners(
  files: ReadonlyMap<number, readonly OrderedMapping[]>,
  isFrozen: boolean,
  turns: Turns,
): Promise<Owners> {
  const intervals: OwnedInterval[] = [];
  const rivals: FileMapping[] = [];
  const decide = isFrozen ? decideFile : decideRunningFile;
  for (const mappings of files.values()) await decide(mappings, intervals, rivals, turns);
  intervals.sort((a, b) => a.mm - b.mm || a.start - b.start);
  return { intervals, rivals };
}

/** The machine runs: only what shared mappings show is sure. */
async function decideRunningFile(
  mappings: readonly OrderedMapping[],
  intervals: OwnedInterval[],
  rivals: FileMapping[],
  turns: Turns,
): Promise<void> {
  const rival = rivals.length;
  const shared = mappings.filter(({ isShared }) => isShared);
  const settled = await decideFile(shared, intervals, rivals, turns);
  for (const { isShared, mm, start, pages, pgoff } of mappings) {
    if (turns.isDue()) await turns.next();
    if (isShared) continue;
    for (const { from, to } of subtract(pgoff, pgoff + pages, settled)) {
      const first = start + (from - pgoff);
      intervals.push({ mm, start: first, pages: to - from, rival, rivals: rivals.length - rival });
    }
  }
}

/** Returns the pages of the file that no further mapping stores. */
async function decideFile(
  mappings: readonly OrderedMapping[],
  intervals: OwnedInterval[],
  rivals: FileMapping[],
  turns: Turns,
): Promise<Ranges> {
  const settled: Ranges = [];
  const contested: Ranges = [];
  const firstRival = rivals.length;
  for (const mapping of mappings) {
    if (turns.isDue()) await turns.next();
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
