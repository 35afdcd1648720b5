/**
 * The form of the transcripts of both sides: after each step its text, '= RESULT', and one line per
 * mapping; equal transcripts mean equal behaviour. Also helpers that both sides must share.
 */
import { PAGE_SIZE } from '../../../src/shared/page.ts';

/**
 * Describes a page as runs of equal bytes, VALUE*COUNT, or by its FNV-1a hash if it has too many.
 */
export function describePage(page: Uint8Array): string {
  const runs: string[] = [];
  for (let at = 0; at < PAGE_SIZE && runs.length <= 8; ) {
    const first = at;
    while (at < PAGE_SIZE && page[at] === page[first]) at++;
    runs.push(`${page[first]!.toString(16).padStart(2, '0')}*${at - first}`);
  }
  if (runs.length <= 8) return runs.join(' ');
  let hash = 0x811c9dc5;
  for (const byte of page) hash = Math.imul(hash ^ byte, 0x01000193);
  return `hash ${(hash >>> 0).toString(16).padStart(8, '0')}`;
}

/** Joins equal pages, given in ascending order, into runs of one line each. */
export function runsOfPages(pages: Iterable<readonly [page: number, text: string]>): string[] {
  const lines: string[] = [];
  let start = 0;
  let end = -1;
  let before = '';
  const flush = (): void => {
    if (before !== '') lines.push(`  ${start}..${end} ${before}`);
  };
  for (const [page, text] of pages) {
    if (page === end && text === before) {
      end++;
      continue;
    }
    flush();
    start = page;
    end = page + 1;
    before = text;
  }
  flush();
  return lines;
}

/**
 * Shared anonymous memory is a file without a name. Each side tells such files apart by its own
 * numbers ('zero:17'), which may be reused; this function numbers them by first appearance.
 */
export function nameZeroFiles(lines: readonly string[]): string[] {
  const named = new Map<string, number>();
  const seenBy = new Map<string, Set<string>>();
  let process = '';
  let count = 0;
  const forgetUnseen = (): void => {
    for (const id of [...named.keys()]) {
      if (![...seenBy.values()].some((seen) => seen.has(id))) named.delete(id);
    }
  };
  return lines.map((line) => {
    const head = /^(\d+) (\w+)/.exec(line);
    if (head !== null) {
      forgetUnseen();
      process = head[1]!;
      // Every step lists all mappings of its process again, except 'contents'.
      if (head[2] !== 'contents') seenBy.set(process, new Set());
      return line;
    }
    return line.replace(/ zero:(\d+)@/, (_, id: string) => {
      seenBy.get(process)!.add(id);
      if (!named.has(id)) named.set(id, count++);
      return ` zero${named.get(id)}@`;
    });
  });
}

/**
 * The transcript `ours`, in which pages that lie in a backing are not resident. Where `expected` has
 * more resident pages, its line takes the place of that in `ours`.
 */
export function withHiddenResident(
  expected: readonly string[],
  ours: readonly string[],
): readonly string[] {
  return ours.map((line, at) => {
    const linux = expected[at];
    const isVector = ours[at - 1]?.includes(' mincore ') && /^= [01]+$/.test(line);
    if (!isVector || linux?.length !== line.length) return line;
    const isLess = [...line].every((letter, place) => letter !== '1' || linux[place] === '1');
    return isLess ? linux : line;
  });
}

/** Returns the index of the first line that differs, or -1. */
export function firstDifference(left: readonly string[], right: readonly string[]): number {
  const length = Math.max(left.length, right.length);
  for (let at = 0; at < length; at++) if (left[at] !== right[at]) return at;
  return -1;
}

/** Returns both transcripts around their first difference, for a person to read. */
export function describeDifference(linux: readonly string[], ours: readonly string[]): string {
  const at = firstDifference(linux, ours);
  if (at < 0) return 'no difference';
  let step = at;
  while (step > 0 && !/^\d/.test(linux[step] ?? ' ') && !/^\d/.test(ours[step] ?? ' ')) step--;
  const part = (lines: readonly string[]): string => {
    let end = at + 1;
    while (end < lines.length && !/^\d/.test(lines[end]!)) end++;
    return lines.slice(step, end).join('\n');
  };
  return `Linux:\n${part(linux)}\nsimulated:\n${part(ours)}`;
}
