/**
 * Pages of memory-backed and deleted files that no page table of the process shows: written through
 * a descriptor, by another process, or swapped out. Its page map says nothing of them, and reading
 * them through its memory would map them there. So they are read from the file itself: through
 * /proc/PID/map_files, which takes CAP_CHECKPOINT_RESTORE (root has it), or by the file's name.
 */
import type { BigIntStats } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import type { MmReference } from '../../mmu/enter.ts';
import { CACHE_NODE_PAGES } from '../../mmu/files/page-cache.ts';
import { LOAD, LOAD_FLAG, LoadList } from '../../shared/dump/load-table.ts';
import { SCAN_RUN_KIND } from '../../shared/dump/scan-table.ts';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { PAGE_SIZE, vpnOf } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { runLoadPhase } from '../load/load-phase.ts';
import type { WorkerPool } from '../pool.ts';
import { addRange, type Ranges, sizeOf, subtract } from '../ranges.ts';
import { identityOf, isSameFile } from './file-identity.ts';
import type { MappedFile } from './mapped-files.ts';
import type { ProcessVma } from './process-mappings.ts';
import type { ScannedRun } from './scan-phase.ts';
import type { SmapsVma } from './smaps.ts';

/** Bytes of a block as stat counts them. */
const BLOCK_BYTES = 512;
/** Device number of /dev/zero: whatever a mapping of it does not show is zeros. */
const DEV_ZERO = 0x105n;
const ZEROS = { bytes: 0, allocatedPages: 0 } as const;
/** Pages of a run: a unit of its own, and not too many of them for a large file. */
const RUN_PAGES = 4096;

/** A process, as far as its files are concerned. */
export interface FileUser {
  readonly pid: number;
  readonly vmas: readonly ProcessVma[];
  readonly runs: readonly ScannedRun[];
}

/** Where the pages of a file can be read. */
export interface ReadableFile {
  /** The first process that maps it, by its ordinal. */
  readonly user: number;
  readonly path: string | Buffer;
  readonly bytes: number;
  /** Pages that the file has at most; those of a file on disk cannot be told from stat. */
  readonly allocatedPages: number;
}

/** Part of a mapping whose pages of the file have to be looked for. */
interface Piece {
  readonly start: number; // page
  readonly index: number; // page of the file
  readonly pages: number;
}

/** What is to be read of one file. */
export interface UnmappedPages {
  readonly file: MappedFile;
  readonly source: ReadableFile;
  readonly pieces: readonly Piece[];
  /** As many pages at most are to be found. */
  readonly mostPages: number;
}

/** The memory-backed and deleted files that can be read. */
export async function findReadable(
  users: readonly FileUser[],
): Promise<Map<MappedFile, ReadableFile>> {
  const readable = new Map<MappedFile, ReadableFile>();
  for (const [user, { vmas }] of users.entries()) {
    for (const file of firstMappings(vmas).keys()) {
      if (readable.has(file)) continue;
      const found = await tryRead(file);
      if (found !== undefined) readable.set(file, { ...found, user });
    }
  }
  return readable;
}

/** Paths of those that cannot be read. */
export function unreadableFiles(
  vmas: readonly ProcessVma[],
  readable: ReadonlyMap<MappedFile, unknown>,
): string[] {
  const all = [...firstMappings(vmas).keys()];
  return all.filter((file) => !readable.has(file)).map(({ path }) => path.toString());
}

/** Paths, in the process's own world, of those that live elsewhere. */
export function foreignFiles(vmas: readonly ProcessVma[]): string[] {
  const all = [...firstMappings(vmas).keys()];
  return all.filter(({ isForeign }) => isForeign).map(({ path }) => path.toString());
}

function firstMappings(vmas: readonly ProcessVma[]): Map<MappedFile, ProcessVma> {
  const first = new Map<MappedFile, ProcessVma>();
  for (const vma of vmas) {
    const { file, smaps } = vma;
    const isLost = file !== null && (file.isDeleted || file.isMemoryBacked);
    if (!isLost || isDevice(smaps) || first.has(file)) continue;
    first.set(file, vma);
  }
  return first;
}

function isDevice({ flags }: SmapsVma): boolean {
  return (flags & (VM.IO | VM.PFNMAP)) !== 0;
}

/** Opens the file where it was found; undefined where it cannot be read, or is another by now. */
async function tryRead(file: MappedFile): Promise<Omit<ReadableFile, 'user'> | undefined> {
  const { source: path } = file;
  if (path === undefined) return undefined;
  let handle: FileHandle | undefined;
  try {
    const info = await stat(path, { bigint: true });
    if (info.isCharacterDevice() && info.rdev === DEV_ZERO) return { ...ZEROS, path };
    if (!info.isFile()) return undefined; // to open a device may do anything
    handle = await open(path, 'r');
    const stats = await handle.stat({ bigint: true });
    if (!isStill(file, stats)) return undefined;
    const allocatedPages = Math.ceil((Number(stats.blocks) * BLOCK_BYTES) / PAGE_SIZE);
    return { path, bytes: Number(stats.size), allocatedPages };
  } catch {
    return undefined; // not permitted, or not there: its pages stay unknown, which is reported
  } finally {
    await handle?.close();
  }
}

/** Whether what was opened is the file that the mapping shows. */
function isStill({ identity }: MappedFile, stats: BigIntStats): boolean {
  return identity !== undefined && isSameFile(identity, identityOf(stats));
}

/** What no page table of the processes shows of their memory-backed and deleted files. */
export function listUnmapped(
  users: readonly FileUser[],
  shown: ReadonlyMap<MappedFile, Ranges>,
  readable: ReadonlyMap<MappedFile, ReadableFile>,
): UnmappedPages[] {
  const vmas = users.flatMap((user) => user.vmas);
  const unmapped: UnmappedPages[] = [];
  for (const [file, source] of readable) {
    const seen = shown.get(file) ?? [];
    // On disk, stat does not tell how much there is to be found: blocks may be compressed.
    const left = file.isMemoryBacked
      ? source.allocatedPages - sizeOf(seen)
      : Number.POSITIVE_INFINITY;
    if (left <= 0) continue;
    const pieces = missingPieces(file, source, vmas, [...seen]);
    const pages = pieces.reduce((sum, piece) => sum + piece.pages, 0);
    if (pages > 0) unmapped.push({ file, source, pieces, mostPages: Math.min(left, pages) });
  }
  return unmapped;
}

/** Frames that they and the nodes of their page caches take at most. */
export function unmappedFrames(unmapped: readonly UnmappedPages[]): number {
  let frames = 0;
  for (const { pieces, mostPages } of unmapped) {
    const nodes = pieces.reduce(
      (sum, { pages }) => sum + Math.ceil(pages / CACHE_NODE_PAGES) + 1,
      4,
    );
    frames += mostPages + Math.min(mostPages + 4, nodes);
  }
  return frames;
}

/** Pages of each file that some page table entry of some process shows. */
export function shownPages(users: readonly FileUser[]): Map<MappedFile, Ranges> {
  const shown = new Map<MappedFile, Ranges>();
  for (const { runs, vmas } of users) {
    for (const { vma, kind, start, pages } of runs) {
      const { file, smaps } = vmas[vma]!;
      if (kind !== SCAN_RUN_KIND.FILE_PAGES || file === null) continue;
      const index = smaps.pgoff + (start - vpnOf(smaps.start));
      let ranges = shown.get(file);
      if (ranges === undefined) {
        ranges = [];
        shown.set(file, ranges);
      }
      addRange(ranges, index, index + pages);
    }
  }
  return shown;
}

/** Frames of the page caches that hold those pages, without nodes. */
export function shownFrames(shown: ReadonlyMap<MappedFile, Ranges>): number {
  return [...shown.values()].reduce((sum, ranges) => sum + sizeOf(ranges), 0);
}

/** What the mappings of a file cover beyond what is `seen`, each page once. */
function missingPieces(
  file: MappedFile,
  { bytes }: ReadableFile,
  vmas: readonly ProcessVma[],
  seen: Ranges,
): Piece[] {
  const end = Math.ceil(bytes / PAGE_SIZE);
  const pieces: Piece[] = [];
  for (const { file: mapped, smaps } of vmas) {
    if (mapped !== file || isDevice(smaps)) continue;
    const first = smaps.pgoff;
    const last = Math.min(end, first + (smaps.end - smaps.start) / PAGE_SIZE);
    if (first >= last) continue;
    for (const { from, to } of subtract(first, last, seen)) {
      pieces.push({ start: vpnOf(smaps.start) + (from - first), index: from, pages: to - from });
    }
    addRange(seen, first, last);
  }
  return pieces;
}

/**
 * Loads them with all workers, file by file; returns how many pages have content, by the process
 * that maps the file first. `mm`: any that maps something; page caches belong to none.
 */
export async function loadUnmapped(
  pool: WorkerPool,
  mm: MmReference,
  unmapped: readonly UnmappedPages[],
  ids: ReadonlyMap<MappedFile, number>,
  signal: AbortSignal | undefined,
): Promise<Map<number, number>> {
  const found = new Map<number, number>();
  for (const { file, source, pieces, mostPages } of unmapped) {
    const handle = await openAgain(file, source);
    try {
      const name = `file ${Buffer.from(file.path).toString()}`;
      const reach = { kind: 'file', name, fd: handle.fd } as const;
      const list = listRuns(pieces, ids.get(file)!, !file.isMemoryBacked);
      const enough = file.isMemoryBacked ? mostPages : 0;
      const reports = await runLoadPhase(pool, [mm], reach, list, { signal, enough });
      const bytes = reports.reduce((sum, report) => sum + report.bytes, 0);
      found.set(source.user, (found.get(source.user) ?? 0) + bytes / PAGE_SIZE);
    } finally {
      await handle.close();
    }
  }
  return found;
}

async function openAgain(file: MappedFile, { path }: ReadableFile): Promise<FileHandle> {
  const text = path.toString();
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    if (isStill(file, await handle.stat({ bigint: true }))) return handle;
  } catch (error) {
    await handle?.close();
    const fields = { path: text, errno: errnoOf(error) ?? 'EIO' };
    throw new MmdumpError('INPUT_FAILED', `${text}: ${reasonOf(error)}`, fields, error);
  }
  await handle.close();
  const reason = 'it is another file than the one that was mapped';
  throw new MmdumpError('INPUT_FAILED', `${text}: ${reason}`, { path: text, reason });
}

/** An absent page of a deleted file on disk is no page of zeros, so zeros are kept there. */
function listRuns(pieces: readonly Piece[], file: number, keepZeros: boolean): LoadList {
  const list = new LoadList();
  const flags = keepZeros ? LOAD_FLAG.KEEP_ZEROS : 0;
  for (const { start, index, pages } of pieces) {
    for (let done = 0; done < pages; done += RUN_PAGES) {
      list.add({
        mm: 0,
        kind: LOAD.CONTENT,
        flags,
        pages: Math.min(RUN_PAGES, pages - done),
        start: start + done,
        source: (index + done) * PAGE_SIZE,
        file,
        index: index + done,
        crc: 0,
      });
    }
  }
  return list;
}
