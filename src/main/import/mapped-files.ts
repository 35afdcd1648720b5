/**
 * What kind of file a mapping shows: living (its pages can be read again by its path), deleted, or
 * memory-backed (tmpfs, memfd, shared anonymous memory: only memory holds its pages).
 */
import { readFile, readlink, stat } from 'node:fs/promises';
import { withoutDeletedSuffix } from '../deleted-suffix.ts';
import type { SmapsVma } from './smaps.ts';

export interface MappedFile {
  /** Raw bytes, without the suffix ' (deleted)'. */
  path: Buffer;
  isDeleted: boolean;
  isMemoryBacked: boolean;
  /** Bytes; for a file that cannot be asked, what its mappings reach. */
  size: number;
}

/** Kinds of file systems whose files live in memory alone. */
const MEMORY_FILE_SYSTEMS = new Set(['tmpfs', 'ramfs', 'hugetlbfs', 'devtmpfs']);

/**
 * Rings of io_uring, buffers of perf: files of the kernel that have no path and no suffix, and share one inode,
 * so that nobody can tell whose a mapping is. Each is taken for a file of its own.
 */
const ANON_INODE = 'anon_inode:';

/** What a process's mappings have to be read with: its mounts, and whose SysV segments it sees. */
export interface FileView {
  /** Type of the file system by device. */
  readonly fileSystems: ReadonlyMap<string, string>;
  readonly ipcNamespace: string;
}

/**
 * Tells files apart by device and inode, and asks the file system about each once. One for all
 * processes that are imported together: a file that two of them map is one file.
 */
export class MappedFiles {
  readonly #known = new Map<string, MappedFile>();

  /** The file of a mapping, or null: anonymous memory, or a special mapping of the kernel. */
  async find(vma: SmapsVma, view: FileView): Promise<MappedFile | null> {
    if (vma.inode === 0 && !vma.name.startsWith('/')) return null;
    if (vma.name.startsWith(ANON_INODE)) return anonInode(vma);
    const key = keyOf(vma, view);
    const reach = vma.offset + (vma.end - vma.start);
    let file = this.#known.get(key);
    if (file === undefined || file.isDeleted) {
      const again = await ask(vma, reach, view);
      // One of several names may be gone: the file lives as long as one leads to it.
      if (file === undefined) file = again;
      else if (!again.isDeleted) Object.assign(file, again);
      this.#known.set(key, file);
    }
    if (file.isDeleted) file.size = Math.max(file.size, reach);
    return file;
  }
}

function anonInode({ name, offset, start, end }: SmapsVma): MappedFile {
  const path = Buffer.from(name, 'latin1');
  return { path, isDeleted: false, isMemoryBacked: true, size: offset + (end - start) };
}

async function ask(vma: SmapsVma, reach: number, view: FileView): Promise<MappedFile> {
  const isMemoryBacked = isMemory(vma.device, view);
  // The suffix alone proves nothing, nor does an escape: a file may be called so. A living file
  // answers to one of its names.
  for (const name of new Set([vma.name, unescapeNewlines(vma.name)])) {
    const path = Buffer.from(name, 'latin1');
    const size = await sizeOf(path, vma.inode, reach);
    if (size !== undefined) return { path, isDeleted: false, isMemoryBacked, size };
  }
  const path = withoutDeletedSuffix(Buffer.from(vma.name, 'latin1')).toString('latin1');
  return {
    path: Buffer.from(unescapeNewlines(path), 'latin1'),
    isDeleted: true,
    isMemoryBacked,
    size: reach,
  };
}

/** A device without a mount is one of the kernel's own: memfd, shared anonymous, SysV memory. */
function isMemory(device: string, { fileSystems }: FileView): boolean {
  const type = fileSystems.get(normaliseDevice(device));
  if (type !== undefined) return MEMORY_FILE_SYSTEMS.has(type);
  return device.startsWith('00:');
}

/** Bytes of the file if the path leads to that inode, else undefined. A device reaches anywhere. */
async function sizeOf(path: Buffer, inode: number, reach: number): Promise<number | undefined> {
  try {
    const info = await stat(path);
    if (info.ino !== inode) return undefined;
    return info.isFile() ? info.size : reach;
  } catch {
    return undefined; // no such path for us: the file cannot be read by it
  }
}

/** A file is what its device and inode are, whatever it is called. */
function keyOf({ device, inode, name }: SmapsVma, { ipcNamespace }: FileView): string {
  // Inodes of SysV segments are numbered on their own, on the device of memfds.
  return `${name.startsWith('/SYSV') ? `sysv ${ipcNamespace}` : device} ${inode}`;
}

function unescapeNewlines(name: string): string {
  return name.replaceAll('\\012', '\n');
}

function normaliseDevice(device: string): string {
  const [major, minor] = device.split(':');
  return `${Number.parseInt(major ?? '', 16)}:${Number.parseInt(minor ?? '', 16)}`;
}

export async function readFileView(pid: number): Promise<FileView> {
  // Who cannot read the link takes its segments for nobody else's.
  const ipcNamespace = await readlink(`/proc/${pid}/ns/ipc`).catch(() => `of ${pid}`);
  return { fileSystems: await readFileSystems(pid), ipcNamespace };
}

/** Type of the file system by device, `254:0` → `ext4`, from the process's own mounts. */
async function readFileSystems(pid: number): Promise<Map<string, string>> {
  const types = new Map<string, string>();
  const text = await readFile(`/proc/${pid}/mountinfo`, 'latin1').catch(() => '');
  for (const line of text.split('\n')) {
    const [left, right] = line.split(' - ');
    const device = left?.split(' ')[2];
    const type = right?.split(' ')[0];
    if (device !== undefined && type !== undefined) types.set(device, type);
  }
  return types;
}
