/** Finds the unreachable files that processes map, and says which of them can be read. */
import type { BigIntStats } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { FileUser } from './file-contents.ts';
import { identityOf, isSameFile } from './file-identity.ts';
import { HUGETLBFS, type MappedFile, TMPFS } from './mapped-files.ts';
import type { ProcessVma } from './process-mappings.ts';
import type { SmapsVma } from './smaps.ts';

/** Bytes of a block as stat counts them. */
const BLOCK_BYTES = 512;
/** Device number of /dev/zero. Pages that a mapping of it does not show are zeros. */
const DEV_ZERO = 0x105n;
const ZEROS = { bytes: 0, mostContent: 0 } as const;
const EXT = 0xef53; // ext2, ext3, ext4
const XFS = 0x5846_5342;
/**
 * File systems on disk that count a block for each page with data, and read no device for a hole.
 */
const COUNTING_TYPES: ReadonlySet<number> = new Set([EXT, XFS]);

/** Where the pages of a file can be read, and how many there can be. */
export interface ReadableFile {
  /** Ordinal of the first process that maps it. */
  readonly user: number;
  readonly path: string | Buffer;
  readonly bytes: number;
  /** The most pages with content that the file can have; infinite where its blocks do not tell. */
  readonly mostContent: number;
}

/** The unreachable files that can be read. */
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

/** Paths of the unreachable files that cannot be read. */
export function unreadableFiles(
  vmas: readonly ProcessVma[],
  readable: ReadonlyMap<MappedFile, unknown>,
): string[] {
  const all = [...firstMappings(vmas).keys()];
  return all.filter((file) => !readable.has(file)).map(({ path }) => path.toString());
}

/** Paths of the foreign files, as the process sees them. */
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

export function isDevice({ flags }: SmapsVma): boolean {
  return (flags & (VM.IO | VM.PFNMAP)) !== 0;
}

/** Opens the file where it was found; undefined if it cannot be read, or is another file by now. */
async function tryRead(file: MappedFile): Promise<Omit<ReadableFile, 'user'> | undefined> {
  const { source: path } = file;
  if (path === undefined) return undefined;
  let handle: FileHandle | undefined;
  try {
    const info = await stat(path, { bigint: true });
    if (info.isCharacterDevice() && info.rdev === DEV_ZERO) return { ...ZEROS, path };
    if (!info.isFile()) return undefined; // opening a device may have side effects
    handle = await open(path, 'r');
    const stats = await handle.stat({ bigint: true });
    if (!isStill(file, stats)) return undefined;
    return { path, bytes: Number(stats.size), mostContent: mostContent(file, stats) };
  } catch {
    return undefined; // not permitted, or gone: its pages stay unknown, and the report says so
  } finally {
    await handle?.close();
  }
}

/**
 * The most pages with content that the file can have, by its blocks. They tell only where the file
 * system counts blocks for all data: some compress it, and some do not count at all (ramfs).
 */
function mostContent({ fileSystem }: MappedFile, { blocks }: BigIntStats): number {
  const { type, blockBytes } = fileSystem;
  const bytes = Number(blocks) * BLOCK_BYTES;
  if (type === TMPFS || type === HUGETLBFS) return Math.ceil(bytes / PAGE_SIZE);
  if (!COUNTING_TYPES.has(type) || blockBytes <= 0) return Number.POSITIVE_INFINITY;
  return Math.ceil(bytes / Math.min(blockBytes, PAGE_SIZE)); // a page may have one small block only
}

/** Whether what was opened is the file that the mapping shows. */
function isStill({ identity }: MappedFile, stats: BigIntStats): boolean {
  return identity !== undefined && isSameFile(identity, identityOf(stats));
}

/** Opens the file for reading. INPUT_FAILED if it is gone, or another file than before. */
export async function openAgain(file: MappedFile, { path }: ReadableFile): Promise<FileHandle> {
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
  const reason = 'it is not the file that was mapped';
  throw new MmdumpError('INPUT_FAILED', `${text}: ${reason}`, { path: text, reason });
}
