/**
 * Derives what the image of a stopped process must hold, page by page, from /proc and
 * CLASSIFICATION.md. Shares no code with src/.
 *
 * The whole page map is read before any memory, because reading memory faults pages in.
 */
import { readFileSync, statSync } from 'node:fs';
import { type FileKind, fileKindOf, isLost } from './file-kinds.ts';
import {
  isReadable,
  type KernelPage,
  PAGE,
  type PagemapEntry,
  type ProcVma,
  readKernelPage,
  readPage,
  readPagemap,
  readSmaps,
  withFile,
} from './proc.ts';

/** The kind of a page of the process. */
type PageKind = 'guard' | 'zero page' | 'anonymous' | 'file' | 'vdso';

interface ProcPage extends PagemapEntry {
  readonly kind: PageKind;
  readonly kernel: KernelPage;
}

/** What the image must say about a page that it stores, and the bytes of the page. */
export interface StoredPage {
  readonly kind: 'copy' | 'zero' | 'guard';
  readonly bytes: Buffer | null; // null for a guard page
}

export interface Reference {
  readonly vmas: readonly ProcVma[];
  readonly fileKinds: readonly FileKind[];
  /** The kinds in the image: a deleted file that could be read completely becomes memory-backed. */
  readonly kindsInImage: readonly FileKind[];
  /** Whether the page map shows frame numbers, which needs root with CAP_SYS_ADMIN. */
  readonly privileged: boolean;
  /** Keyed by address. */
  readonly stored: ReadonlyMap<number, StoredPage>;
  /** Numbers of page-table entries, as the import counts them. */
  readonly entries: { readonly content: number; readonly zero: number; readonly guard: number };
  /** The kind of every page that exists: must not change while the process is stopped. */
  readonly states: ReadonlyMap<number, string>;
  /** One line per total in smaps that contradicts this reading. */
  readonly contradictions: readonly string[];
}

const NO_KERNEL_PAGE: KernelPage = { isZeroPage: false, isHuge: false, isMerged: false };

/**
 * Reads a stopped process. `reader` says what the importing process may read of files that it has
 * not mapped; the default is what this process may read.
 */
export function readReference(
  pid: number,
  reader: 'privileged' | 'blind' = 'privileged',
): Reference {
  const vmas = readSmaps(pid);
  const fileKinds = vmas.map(fileKindOf);
  const pages = readPages(pid, vmas);
  const privileged = pages.some((list) => list.some(({ pfn }) => pfn !== 0));
  const unmapped = reader === 'blind' ? [] : readUnmapped(pid, vmas, fileKinds, pages);
  const sources = whatIsStored(vmas, fileKinds, pages, unmapped);
  const stored = new Map<number, StoredPage>();
  withFile(`/proc/${pid}/mem`, (mem) => {
    for (const [address, source] of sources) stored.set(address, storedPage(mem, source));
  });
  return {
    vmas,
    fileKinds,
    kindsInImage: fileKinds.map((kind, at) => {
      const isWhole = reader !== 'blind' && isReadable(linkTo(pid, vmas[at]!));
      return kind === 'deleted' && isWhole ? 'deleted, memory-backed' : kind;
    }),
    privileged,
    stored,
    entries: countEntries(fileKinds, pages),
    states: statesOf(pages),
    contradictions: privileged ? vmas.flatMap((vma, at) => contradict(vma, pages[at]!)) : [],
  };
}

/** Reads the page map of every mapping except device memory. */
function readPages(pid: number, vmas: readonly ProcVma[]): ProcPage[][] {
  const entries = withFile(`/proc/${pid}/pagemap`, (fd) =>
    vmas.map((vma) => (isDevice(vma) ? [] : readEntries(fd, vma))),
  );
  if (!isReadable('/proc/kpageflags')) {
    return entries.map((list, at) => list.map((entry) => toPage(vmas[at]!, entry, NO_KERNEL_PAGE)));
  }
  return withFile('/proc/kpageflags', (fd) =>
    entries.map((list, at) =>
      list.map((entry) => {
        const kernel = entry.pfn === 0 ? NO_KERNEL_PAGE : readKernelPage(fd, entry.pfn);
        return toPage(vmas[at]!, entry, kernel);
      }),
    ),
  );
}

/** All pages of the vdso count as content, even those that were never touched. */
function readEntries(pagemap: number, { start, end, name }: ProcVma): PagemapEntry[] {
  const entries = readPagemap(pagemap, start, end);
  if (name !== '[vdso]') return entries;
  const known = new Map(entries.map((entry) => [entry.address, entry]));
  return Array.from({ length: (end - start) / PAGE }, (_, index) => {
    const address = start + index * PAGE;
    return known.get(address) ?? { ...UNTOUCHED, address };
  });
}

const UNTOUCHED = { pfn: 0, isGuard: false, isFile: true, isSwapped: false, isPresent: false };

function isDevice({ letters }: ProcVma): boolean {
  return letters.includes('io') || letters.includes('pf');
}

function toPage(vma: ProcVma, entry: PagemapEntry, kernel: KernelPage): ProcPage {
  return { ...entry, kind: pageKindOf(vma, entry, kernel), kernel };
}

/**
 * The page map reports the huge zero page as a file's page; without privilege, only the kind of
 * mapping can tell.
 */
function pageKindOf(vma: ProcVma, { isGuard, isFile }: PagemapEntry, kernel: KernelPage): PageKind {
  if (isGuard) return 'guard';
  if (kernel.isZeroPage) return 'zero page';
  if (vma.name === '[vdso]') return 'vdso';
  return isFile && vma.inode !== '0' ? 'file' : 'anonymous'; // in memory or swapped out
}

/** Where to read the bytes of a stored page, or the bytes themselves; null for a guard page. */
type Source =
  | { readonly address: number; readonly isZeroPage: boolean; readonly bytes?: undefined }
  | { readonly bytes: Buffer }
  | null;

/** A page of an unreachable file that no page table shows. */
interface UnmappedPage {
  readonly vma: ProcVma;
  readonly index: number;
  readonly bytes: Buffer;
}

/** Reads these pages from the files themselves, page by page. */
function readUnmapped(
  pid: number,
  vmas: readonly ProcVma[],
  fileKinds: readonly FileKind[],
  pages: readonly ProcPage[][],
): UnmappedPage[] {
  const seen = new Set<string>();
  vmas.forEach((vma, at) => {
    for (const { kind, address } of pages[at]!) {
      if (kind === 'file') seen.add(`${fileKey(vma)} ${indexOf(vma, address)}`);
    }
  });
  const unmapped: UnmappedPage[] = [];
  vmas.forEach((vma, at) => {
    const link = linkTo(pid, vma);
    if (!isLost(fileKinds[at]!) || isDevice(vma) || !isReadable(link)) return;
    if (!statSync(link).isFile()) return; // /dev/zero has no end
    const content = readFileSync(link);
    for (let address = vma.start; address < vma.end; address += PAGE) {
      const index = indexOf(vma, address);
      const key = `${fileKey(vma)} ${index}`;
      if (seen.has(key) || index * PAGE >= content.length) continue;
      seen.add(key);
      const bytes = Buffer.alloc(PAGE);
      content.copy(bytes, 0, index * PAGE);
      if (!bytes.equals(ZEROS)) unmapped.push({ vma, index, bytes }); // absent pages are zeros
    }
  });
  return unmapped;
}

function linkTo(pid: number, { start, end }: ProcVma): string {
  return `/proc/${pid}/map_files/${start.toString(16)}-${end.toString(16)}`;
}

/** Finds the source of each stored page by its address: the rows that a live process can reach. */
function whatIsStored(
  vmas: readonly ProcVma[],
  fileKinds: readonly FileKind[],
  pages: readonly ProcPage[][],
  unmapped: readonly UnmappedPage[],
): Map<number, Source> {
  const stored = new Map<number, Source>();
  const filePages = new Map<string, { vma: ProcVma; index: number; address: number }>();
  vmas.forEach((vma, at) => {
    for (const { kind, address } of pages[at]!) {
      if (kind === 'guard')
        stored.set(address, null); //                                  row 7
      else if (kind === 'zero page')
        stored.set(address, { address, isZeroPage: true }); // 14
      else if (kind !== 'file')
        stored.set(address, { address, isZeroPage: false }); //     16-19
      else if (isLost(fileKinds[at]!)) {
        const index = indexOf(vma, address); //                                             row 12
        filePages.set(`${fileKey(vma)} ${index}`, { vma, index, address });
      } //                                                                                  row 11
    }
  });
  for (const { vma, index, address } of filePages.values()) {
    const owner = ownerOf(vmas, vma, index, stored);
    if (owner === undefined) throw new Error(`nobody owns page ${index} of ${vma.name}`);
    stored.set(owner, { address, isZeroPage: false });
  }
  for (const { vma, index, bytes } of unmapped) {
    const owner = ownerOf(vmas, vma, index, stored);
    if (owner !== undefined) stored.set(owner, { bytes }); // otherwise every mapping hides the page
  }
  return stored;
}

/**
 * Returns the page's address in the first mapping that covers it without a private copy over it.
 */
function ownerOf(
  vmas: readonly ProcVma[],
  found: ProcVma,
  index: number,
  stored: ReadonlyMap<number, Source>,
): number | undefined {
  for (const vma of vmas) {
    if (fileKey(vma) !== fileKey(found)) continue;
    const address = vma.start + (index * PAGE - vma.offset);
    if (address < vma.start || address >= vma.end) continue;
    const isHidden = vma.perms.endsWith('p') && stored.has(address);
    if (!isHidden) return address;
  }
  return undefined;
}

function indexOf(vma: ProcVma, address: number): number {
  return (vma.offset + (address - vma.start)) / PAGE;
}

/** SysV segments have inode numbers of their own. */
function fileKey({ device, inode, name }: ProcVma): string {
  return `${name.startsWith('/SYSV') ? 'sysv' : device} ${inode}`;
}

const ZEROS = Buffer.alloc(PAGE);

function storedPage(mem: number, source: Source): StoredPage {
  if (source === null) return { kind: 'guard', bytes: null };
  if (source.bytes === undefined && source.isZeroPage) return { kind: 'zero', bytes: ZEROS };
  const bytes = source.bytes ?? readPage(mem, source.address);
  return { kind: bytes.equals(ZEROS) ? 'zero' : 'copy', bytes };
}

function countEntries(
  fileKinds: readonly FileKind[],
  pages: readonly ProcPage[][],
): Reference['entries'] {
  const counts = { content: 0, zero: 0, guard: 0 };
  pages.forEach((list, at) => {
    for (const { kind } of list) {
      if (kind === 'guard') counts.guard++;
      else if (kind === 'zero page') counts.zero++;
      else if (kind !== 'file' || isLost(fileKinds[at]!)) counts.content++;
    }
  });
  return counts;
}

/** Compares the totals of one mapping, counted page by page, with those of smaps. */
function contradict(vma: ProcVma, pages: readonly ProcPage[]): string[] {
  if (isDevice(vma)) return [];
  const resident = pages.filter(({ kind, isPresent }) => isPresent && kind !== 'zero page');
  const anonymous = resident.filter(({ kind }) => kind === 'anonymous');
  const counted: { readonly [name: string]: number } = {
    Rss: resident.length,
    Anonymous: anonymous.length,
    Swap: pages.filter(({ kind, isSwapped }) => kind === 'anonymous' && isSwapped).length,
    KSM: anonymous.filter(({ kernel }) => kernel.isMerged).length,
  };
  return Object.entries(counted).flatMap(([name, count]) => {
    const kb = vma.kb.get(name) ?? 0;
    if (kb === count * 4) return [];
    return [`${vma.start.toString(16)} ${vma.name} ${name}: ${count * 4} kB, smaps ${kb} kB`];
  });
}

/** Reads `Reference.states` again. */
export function pageStates(pid: number): ReadonlyMap<number, string> {
  return statesOf(readPages(pid, readSmaps(pid)));
}

function statesOf(pages: readonly ProcPage[][]): ReadonlyMap<number, string> {
  return new Map(
    pages
      .flat()
      .filter(({ kind }) => kind !== 'vdso') // reading one maps it, its only trace
      .map(({ address, kind, isSwapped }) => [address, isSwapped ? `${kind}, swapped out` : kind]),
  );
}
