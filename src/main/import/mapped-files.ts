/**
 * Finds the file that a mapping shows, and its kind: living (its pages can be read again by its
 * path), deleted, or memory-backed (tmpfs, memfd, shared anonymous memory: only memory holds its
 * pages).
 */
import { statfs } from 'node:fs/promises';
import { withoutDeletedSuffix } from '../../shared/formats/deleted-suffix.ts';
import { addressOf } from '../../shared/page.ts';
import { type FileIdentity, identityKey, identityOf, normaliseDevice } from './file-identity.ts';
import type { FileView } from './file-view.ts';
import { hostPathOf, type LocatedFile, locateFile, unescapeNewlines } from './locate-file.ts';
import type { SmapsVma } from './smaps.ts';

export interface MappedFile {
  /** Raw bytes, without the suffix ' (deleted)'. */
  readonly path: Buffer;
  /**
   * No path of this host leads to it: it was unlinked, or lies where we cannot see it. What is not
   * read of it now cannot be read later.
   */
  readonly isDeleted: boolean;
  /** It counts as deleted here, but a path leads to it in other mounts or under another root. */
  readonly isForeign: boolean;
  readonly isMemoryBacked: boolean;
  /** Bytes. Where the length of the file is not known, the end of its furthest mapping. */
  size: number;
  /** Undefined where it could not be found out which file it is. */
  readonly identity: FileIdentity | undefined;
  /** A path by which it can be opened while the process stands still; undefined without one. */
  readonly source: string | Buffer | undefined;
  readonly fileSystem: FileSystem;
}

/** The fields of statfs(2); zeros where they are not known. */
export interface FileSystem {
  readonly type: number;
  readonly blockBytes: number;
}

const UNKNOWN: FileSystem = { type: 0, blockBytes: 0 };
export const TMPFS = 0x0102_1994;
const RAMFS = 0x8584_58f6;
export const HUGETLBFS = 0x9584_58f6;
/** Types of file systems whose files live in memory alone. */
const MEMORY_TYPES: ReadonlySet<number> = new Set([TMPFS, RAMFS, HUGETLBFS]);
const MEMORY_NAMES: ReadonlySet<string> = new Set(['tmpfs', 'ramfs', 'hugetlbfs', 'devtmpfs']);

/**
 * File systems of which several files may have the same numbers in smaps: btrfs and bcachefs number
 * the inodes of every subvolume from the same value on, and an overlay without xino takes over the
 * inode numbers of its layers.
 */
const AMBIGUOUS: ReadonlySet<string> = new Set(['btrfs', 'bcachefs', 'overlay']);

/**
 * Names of kernel files such as io_uring rings and perf buffers begin with this. They have no path
 * and no suffix, and share one inode, so two mappings cannot be known to show the same file. Each
 * mapping is taken for a file of its own.
 */
const ANON_INODE = 'anon_inode:';
/**
 * Names of SysV segments begin with this. Their inodes are numbered separately, on memfds' device.
 */
const SYSV = '/SYSV';

/**
 * Tells files apart, and asks the system about each of them once. All processes of an import use
 * the same object, so that a file which two of them map is one file.
 */
export class MappedFiles {
  /** Files by their identity, as far as they were found. */
  readonly #byIdentity = new Map<string, MappedFile>();
  /** The last file that was found under the numbers that smaps shows. */
  readonly #byNumbers = new Map<string, MappedFile>();
  /** Files by process, numbers in smaps, and name. */
  readonly #seen = new Map<string, MappedFile>();
  readonly #fileSystems = new Map<bigint, FileSystem>();

  /**
   * Returns the file of a mapping; null for anonymous memory and special mappings of the kernel.
   */
  async find(vma: SmapsVma, view: FileView): Promise<MappedFile | null> {
    if (vma.inode === 0n && !vma.name.startsWith('/')) return null;
    if (vma.name.startsWith(ANON_INODE)) return anonInode(vma);
    const numbers = numbersOf(vma, view);
    const isAmbiguous = AMBIGUOUS.has(view.fileSystems.get(normaliseDevice(vma.device)) ?? '');
    const seenAs = `${view.pid} ${numbers} ${vma.name}`;
    const seen = isAmbiguous ? undefined : this.#seen.get(seenAs);
    const file = seen ?? (await this.#identify(vma, view, numbers, isAmbiguous));
    this.#seen.set(seenAs, file);
    if (file.identity === undefined) file.size = Math.max(file.size, reachOf(vma));
    return file;
  }

  async #identify(
    vma: SmapsVma,
    view: FileView,
    numbers: string,
    isAmbiguous: boolean,
  ): Promise<MappedFile> {
    const key = isAmbiguous ? `${numbers} ${vma.name}` : numbers;
    const located = await locateFile(vma, view);
    if (located === undefined) {
      const known = this.#byNumbers.get(key);
      if (known !== undefined) return known;
      const file = unlocated(vma, view);
      this.#byNumbers.set(key, file);
      return file;
    }
    const identity = identityOf(located.stats);
    // SysV segments of several IPC namespaces may have the same device and inode.
    const isSysV = isSegment(vma, view);
    const identifier = isSysV ? `${key} ${located.stats.birthtimeNs}` : identityKey(identity);
    const known = this.#byIdentity.get(identifier);
    // One of several names may be gone. The file is living as long as one name leads to it.
    if (known !== undefined && !known.isDeleted) return known;
    const path = isSysV ? undefined : await hostPathOf(vma, identity);
    if (known !== undefined && path === undefined) return known;
    const found = await this.#describe(vma, located, identity, path);
    // Mappings that were seen before refer to this object, so what is known now is written into it.
    const before = known ?? this.#unlocatedBefore(key);
    const file = before === undefined ? found : Object.assign(before, found);
    this.#byIdentity.set(identifier, file);
    this.#byNumbers.set(key, file);
    return file;
  }

  /** A file that was not found by another of its names, so that only its numbers are known. */
  #unlocatedBefore(key: string): MappedFile | undefined {
    const file = this.#byNumbers.get(key);
    return file?.identity === undefined ? file : undefined;
  }

  async #describe(
    vma: SmapsVma,
    { path: source, stats }: LocatedFile,
    identity: FileIdentity,
    hostPath: Buffer | undefined,
  ): Promise<MappedFile> {
    const fileSystem = await this.#fileSystemOf(source, identity.device);
    return {
      path: hostPath ?? nameOf(vma),
      isDeleted: hostPath === undefined,
      isForeign: hostPath === undefined && stats.nlink > 0n,
      isMemoryBacked: MEMORY_TYPES.has(fileSystem.type),
      // A device has no length, so its mapping decides.
      size: stats.isFile() ? Number(stats.size) : reachOf(vma),
      identity,
      source,
      fileSystem,
    };
  }

  async #fileSystemOf(path: string | Buffer, device: bigint): Promise<FileSystem> {
    const known = this.#fileSystems.get(device);
    if (known !== undefined) return known;
    const found = await statfs(path).then(
      ({ type, bsize }) => ({ type, blockBytes: bsize }),
      () => UNKNOWN,
    );
    this.#fileSystems.set(device, found);
    return found;
  }
}

function anonInode(vma: SmapsVma): MappedFile {
  return {
    path: Buffer.from(vma.name, 'latin1'),
    isDeleted: false,
    isForeign: false,
    isMemoryBacked: true,
    size: reachOf(vma),
    identity: undefined,
    source: undefined,
    fileSystem: UNKNOWN,
  };
}

/** Describes a file that was not found: we may not look, or no name leads to it any more. */
function unlocated(vma: SmapsVma, { fileSystems }: FileView): MappedFile {
  const type = fileSystems.get(normaliseDevice(vma.device));
  return {
    path: nameOf(vma),
    isDeleted: true,
    isForeign: false,
    // A device without a mount belongs to the kernel: memfds, shared anonymous and SysV memory.
    isMemoryBacked: type === undefined ? vma.device.startsWith('00:') : MEMORY_NAMES.has(type),
    size: reachOf(vma),
    identity: undefined,
    source: undefined,
    fileSystem: UNKNOWN,
  };
}

function nameOf({ name }: SmapsVma): Buffer {
  const bare = withoutDeletedSuffix(Buffer.from(name, 'latin1')).toString('latin1');
  return Buffer.from(unescapeNewlines(bare), 'latin1');
}

/** Bytes of the file up to the end of the mapping. */
function reachOf({ pgoff, start, end }: SmapsVma): number {
  return Math.min(Number.MAX_SAFE_INTEGER, addressOf(pgoff) + (end - start));
}

/** Whether it is a SysV segment, whose device has no mount, and not a file with such a name. */
function isSegment({ device, name }: SmapsVma, { fileSystems }: FileView): boolean {
  return name.startsWith(SYSV) && !fileSystems.has(normaliseDevice(device));
}

function numbersOf(vma: SmapsVma, view: FileView): string {
  const owner = isSegment(vma, view) ? `sysv ${view.ipcNamespace} ` : '';
  return `${owner}${vma.device} ${vma.inode}`;
}
