/**
 * Lists where the pages of unreachable files stay that are loaded on demand: in the processes that
 * map them. Each page has one place, so all mappings of the file show one page.
 */
import { encodePlaces } from '../../mmu/files/file-places.ts';
import { SCAN_RUN_KIND } from '../../shared/dump/scan-table.ts';
import { vpnOf } from '../../shared/page.ts';
import { addRange, type Ranges, subtract } from '../../shared/ranges.ts';
import type { FileUser } from './file-contents.ts';
import type { MappedFile } from './mapped-files.ts';

/** Pages of a file that a process shows, from `start` on. */
export interface ShownRun {
  readonly index: number; //  page of the file
  readonly pages: number;
  readonly member: number; // ordinal of the process
  readonly start: number; //  page
}

/**
 * Where each page of each file that a process maps can be read: in the first process, and at its
 * first address. The runs of a file ascend by index, and neighbours are joined.
 */
export function shownPlaces(users: readonly FileUser[]): Map<MappedFile, ShownRun[]> {
  const placed = new Map<MappedFile, { readonly seen: Ranges; readonly runs: ShownRun[] }>();
  for (const [member, { runs, vmas }] of users.entries()) {
    for (const { vma, kind, start, pages } of runs) {
      const { file, smaps } = vmas[vma]!;
      if (kind !== SCAN_RUN_KIND.FILE_PAGES || file === null) continue;
      const first = smaps.pgoff + (start - vpnOf(smaps.start));
      let found = placed.get(file);
      if (found === undefined) {
        found = { seen: [], runs: [] };
        placed.set(file, found);
      }
      for (const { from, to } of subtract(first, first + pages, found.seen)) {
        const at = start + (from - first);
        found.runs.push({ index: from, pages: to - from, member, start: at });
      }
      addRange(found.seen, first, first + pages);
    }
  }
  return new Map([...placed].map(([file, { runs }]) => [file, joined(runs)]));
}

/** The runs in ascending order, with neighbours joined. */
function joined(runs: readonly ShownRun[]): ShownRun[] {
  const all: ShownRun[] = [];
  for (const run of [...runs].sort((a, b) => a.index - b.index)) {
    const last = all.at(-1);
    const isNext =
      last !== undefined &&
      last.member === run.member &&
      last.index + last.pages === run.index &&
      last.start + last.pages === run.start;
    if (isNext) all[all.length - 1] = { ...last, pages: last.pages + run.pages };
    else all.push(run);
  }
  return all;
}

/** The lists of `file-places.ts` for these files. `backings`: one per process. */
export function listPlaces(
  placed: ReadonlyMap<MappedFile, readonly ShownRun[]>,
  backings: readonly number[],
): ReadonlyMap<MappedFile, Uint8Array> {
  const lists = new Map<MappedFile, Uint8Array>();
  for (const [file, runs] of placed) {
    const list = runs.map(({ index, pages, member, start }) => {
      return { index, pages, backing: backings[member]!, place: start };
    });
    lists.set(file, encodePlaces(list));
  }
  return lists;
}
