/**
 * What kind of file a mapping shows: living (its pages can be read again by its path), deleted, or
 * memory-backed (tmpfs, memfd, shared anonymous memory: only memory holds its pages).
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
   * No path of this host leads to it: it was unlinked, or lies where we cannot see it. What is read
   * of it now is all that there will be.
   */
  readonly isDeleted: boolean;
  /** A deleted one to which a path leads in other mounts or under another root. */
  readonly isForeign: boolean;
  readonly isMemoryBacked: boolean;
  /** Bytes; for a file that cannot be asked, what its mappings reach. */
  size: number;
  /** Undefined where nobody may ask which file it is. */
  readonly identity: FileIdentity | undefined;
  /** Where it can be opened while the process stands still, if it can. */
  readonly source: string | Buffer | undefined;
  readonly fileSystem: FileSystem;
}

/** As statfs(2) has it; zeros where that is not known. */
export interface FileSystem {
  readonly type: number;
  readonly blockBytes: number;
}

const UNKNOWN: FileSystem = { type: 0, blockBytes: 0 };
export const TMPFS = 0x0102_1994;
const RAMFS = 0x8584_58f6;
export const HUGETLBFS = 0x9584_58f6;
/** Kinds of file systems whose files live in memory alone. */
const MEMORY_TYPES: ReadonlySet<number> = new Set([TMPFS, RAMFS, HUGETLBFS]);
const MEMORY_NAMES: ReadonlySet<string> = new Set(['tmpfs', 'ramfs', 'hugetlbfs', 'devtmpfs']);

/**
 * File systems that give several files one number in smaps: btrfs and bcachefs number the inodes of
 * every subvolume from the same value on, an overlay without xino takes over those of its layers.
 */
const AMBIGUOUS: ReadonlySet<string> = new Set(['btrfs', 'bcachefs', 'overlay']);

/**
 * Rings of io_uring, buffers of perf: files of the kernel that have no path and no suffix, and share
 * one inode, so that nobody can tell whose a mapping is. Each is taken for a file of its own.
 */
const ANON_INODE = 'anon_inode:';
/** Segments of SysV: their inodes are numbered on their own, on the device of memfds. */
const SYSV = '/SYSV';

/**
 * Tells files apart, and asks the system about each once. One for all processes that are imported
 * together: a file that two of them map is one file.
 */
export class MappedFiles {
  /** By what stat says, where that could be asked. */
  readonly #byIdentity = new Map<string, MappedFile>();
  /** By what smaps shows: the last file that was found under these numbers. */
  readonly #byNumbers = new Map<string, MappedFile>();
  /** By what smaps shows and by name, of processes with one view. */
  readonly #seen = new Map<string, MappedFile>();
  readonly #fileSystems = new Map<bigint, FileSystem>();

  /** The file of a mapping, or null: anonymous memory, or a special mapping of the kernel. */
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
    // Of SysV segments, inode and device are those of other namespaces' as well.
    const isSysV = isSegment(vma, view);
    const identifier = isSysV ? `${key} ${located.stats.birthtimeNs}` : identityKey(identity);
    const known = this.#byIdentity.get(identifier);
    // One of several names may be gone: the file lives as long as one leads to it.
    if (known !== undefined && !known.isDeleted) return known;
    const path = isSysV ? undefined : await hostPathOf(vma, identity);
    if (known !== undefined && path === undefined) return known;
    const found = await this.#describe(vma, located, identity, path);
    // Mappings that were seen before hold the object: it becomes what is known now.
    const before = known ?? this.#unlocatedBefore(key);
    const file = before === undefined ? found : Object.assign(before, found);
    this.#byIdentity.set(identifier, file);
    this.#byNumbers.set(key, file);
    return file;
  }

  /** A file that could not be located under another name, and is known by its numbers alone. */
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
      // A device reaches anywhere.
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

/** A file that we may not ask about, or to which no name leads any more. */
function unlocated(vma: SmapsVma, { fileSystems }: FileView): MappedFile {
  const type = fileSystems.get(normaliseDevice(vma.device));
  return {
    path: nameOf(vma),
    isDeleted: true,
    isForeign: false,
    // A device without a mount is one of the kernel's own: memfd, shared anonymous, SysV memory.
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

/** Whether it is a segment, on the kernel's own mount, or a file that is called as one. */
function isSegment({ device, name }: SmapsVma, { fileSystems }: FileView): boolean {
  return name.startsWith(SYSV) && !fileSystems.has(normaliseDevice(device));
}

function numbersOf(vma: SmapsVma, view: FileView): string {
  const owner = isSegment(vma, view) ? `sysv ${view.ipcNamespace} ` : '';
  return `${owner}${vma.device} ${vma.inode}`;
}
