/** Families of live processes: their members, and what they share, from a slow reading of /proc. */
import { readdirSync, readSync } from 'node:fs';
import type { Image } from 'mmdump';
import type { LiveFixture } from './capture.ts';
import { type LiveProcess, parseRegions, type Region } from './live-process.ts';
import {
  type PagemapEntry,
  readKernelPage,
  readPagemap,
  readSmaps,
  statField,
  withFile,
} from './proc.ts';

export interface LiveFamily {
  readonly live: LiveProcess;
  readonly regions: readonly Region[];
  /** The parent, then its descendants in order of pid. */
  readonly pids: readonly number[];
}

/** Starts the C program live-family.c; undefined without a compiler. */
export async function startFamily(
  { workshop }: LiveFixture,
  mode: string,
): Promise<LiveFamily | undefined> {
  const program = workshop.familyProgram();
  if (program === undefined) return undefined;
  const live = await workshop.start([program, mode]);
  const lines = await live.ready();
  const children = lines.filter((line) => line.startsWith('child ')).map((line) => line.slice(6));
  for (const child of children) workshop.adopt(Number(child));
  const regions = parseRegions(lines.filter((line) => line.startsWith('region ')));
  return { live, regions, pids: [live.pid, ...children.map(Number).sort((a, b) => a - b)] };
}

/** Returns a process and its living descendants, found through the pids of their parents. */
export function familyOf(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (statField(Number(name), 3) !== 'Z')
        parents.set(Number(name), Number(statField(Number(name), 4)));
    } catch {
      // The process has ended meanwhile.
    }
  }
  const family = [root];
  for (let grown = true; grown; ) {
    const more = [...parents].filter(
      ([pid, parent]) => family.includes(parent) && !family.includes(pid),
    );
    family.push(...more.map(([pid]) => pid));
    grown = more.length > 0;
  }
  return [root, ...family.slice(1).sort((a, b) => a - b)];
}

/** Returns the private anonymous pages in memory, by address. */
function privatePages(pid: number): Map<number, PagemapEntry> {
  const pages = new Map<number, PagemapEntry>();
  withFile(`/proc/${pid}/pagemap`, (fd) => {
    for (const { start, end, perms, letters, name } of readSmaps(pid)) {
      if (!perms.endsWith('p') || letters.includes('io') || letters.includes('pf')) continue;
      if (name === '[vdso]') continue;
      for (const entry of readPagemap(fd, start, end)) {
        if (entry.isPresent && !entry.isFile) pages.set(entry.address, entry);
      }
    }
  });
  return pages;
}

/**
 * Returns what stopped processes share because of forks: by process and address, the ordinal of the
 * first process with the same frame at that address. Undefined if frames are not visible.
 */
export function sharedPages(pids: readonly number[]): Map<number, number>[] | undefined {
  const all = pids.map(privatePages);
  if (!all.some((pages) => [...pages.values()].some(({ pfn }) => pfn !== 0))) return undefined;
  return withFile('/proc/kpageflags', (kpageflags) =>
    withFile('/proc/kpagecount', (kpagecount) =>
      all.map((pages, ordinal) => {
        const shared = new Map<number, number>();
        for (const [address, { pfn }] of pages) {
          const first = all.findIndex((other) => other.get(address)?.pfn === pfn);
          const { isZeroPage, isMerged } = readKernelPage(kpageflags, pfn);
          if (first >= ordinal || isZeroPage || isMerged) continue;
          if (readCount(kpagecount, pfn) < 2n) throw new Error(`frame ${pfn} is mapped once`);
          shared.set(address, first);
        }
        return shared;
      }),
    ),
  );
}

function readCount(kpagecount: number, pfn: number): bigint {
  const word = new BigUint64Array(1);
  readSync(kpagecount, new Uint8Array(word.buffer), 0, 8, pfn * 8);
  return word[0]!;
}

/** Returns the clones of an mm of an image: the donor's ordinal by address. */
export function clonesIn(image: Image, mm: number): Map<number, number> {
  const clones = new Map<number, number>();
  const { blocks } = image.mm(mm);
  for (let index = 0; index < blocks.count; index++) {
    const { start, pages, source } = blocks.at(index);
    if (image.page(start * 4096, { mm }).kind !== 'clone') continue;
    const donor = image.mmAt(source)!.ordinal;
    for (let page = start; page < start + pages; page++) clones.set(page * 4096, donor);
  }
  return clones;
}
