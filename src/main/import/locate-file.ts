/**
 * Finds the file behind a mapping, as the process that maps it sees it. The name alone proves
 * nothing: the process may have other mounts or another root, something may be mounted over the
 * file, and the name may belong to another file by now.
 */
import type { BigIntStats } from 'node:fs';
import { open, readFile, stat } from 'node:fs/promises';
import {
  deviceText,
  type FileIdentity,
  identityOf,
  isSameFile,
  normaliseDevice,
} from './file-identity.ts';
import type { FileView } from './file-view.ts';
import type { SmapsVma } from './smaps.ts';

/** A file that was found, and a path by which it can be opened now. */
export interface LocatedFile {
  readonly path: string | Buffer;
  readonly stats: BigIntStats;
}

/**
 * O_PATH of x86-64, which Node does not define. It finds a path and opens nothing, not even a
 * device.
 */
const O_PATH = 0x20_0000;

/**
 * Finds the file of a mapping. The first way is /proc/PID/map_files, which is always right and
 * takes CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN. The second is its name, in the root of the process
 * first; then device and inode must be those that smaps shows. Undefined if neither way leads to
 * the file.
 */
export async function locateFile(vma: SmapsVma, view: FileView): Promise<LocatedFile | undefined> {
  const { pid, sharesMounts } = view;
  const link = `/proc/${pid}/map_files/${vma.start.toString(16)}-${vma.end.toString(16)}`;
  const mapped = await look(link);
  if (mapped !== undefined) return { path: link, stats: mapped };
  for (const name of namesOf(vma)) {
    const inRoot = Buffer.concat([Buffer.from(`/proc/${pid}/root`), name]);
    for (const path of sharesMounts ? [inRoot, name] : [inRoot]) {
      const stats = await look(path);
      if (stats !== undefined && (await isOfMapping(path, stats, vma, view)))
        return { path, stats };
    }
  }
  return undefined;
}

/** The path of this host that leads to the file; undefined where none of its names does. */
export async function hostPathOf(
  vma: SmapsVma,
  identity: FileIdentity,
): Promise<Buffer | undefined> {
  for (const name of namesOf(vma)) {
    const found = await look(name);
    if (found !== undefined && isSameFile(identityOf(found), identity)) return name;
  }
  return undefined;
}

/** The names that it may stand for: the kernel writes a newline like the four characters `\012`. */
export function namesOf({ name }: SmapsVma): Buffer[] {
  if (!name.startsWith('/')) return []; // it would be taken for a relative path
  return [...new Set([name, unescapeNewlines(name)])].map((each) => Buffer.from(each, 'latin1'));
}

export function unescapeNewlines(name: string): string {
  return name.replaceAll('\\012', '\n');
}

async function look(path: string | Buffer): Promise<BigIntStats | undefined> {
  return await stat(path, { bigint: true }).catch(() => undefined);
}

/**
 * Whether the path leads to the file that smaps shows, by its inode and its file system's device.
 */
async function isOfMapping(
  path: string | Buffer,
  stats: BigIntStats,
  { device, inode }: SmapsVma,
  view: FileView,
): Promise<boolean> {
  const identity = identityOf(stats);
  if (identity.inode !== inode) return false;
  const shown = normaliseDevice(device);
  if (deviceText(identity.device) === shown) return true;
  return (await mountedDevice(path, identity, view)) === shown;
}

/** Device of the file system that the file lies on; btrfs and overlays give stat another one. */
async function mountedDevice(
  path: string | Buffer,
  identity: FileIdentity,
  { mounts }: FileView,
): Promise<string | undefined> {
  const handle = await open(path, O_PATH).catch(() => undefined);
  if (handle === undefined) return undefined;
  try {
    if (!isSameFile(identityOf(await handle.stat({ bigint: true })), identity)) return undefined;
    const info = await readFile(`/proc/self/fdinfo/${handle.fd}`, 'latin1');
    const id = /^mnt_id:\s+(\d+)$/m.exec(info)?.[1];
    return mounts.get(Number(id))?.device;
  } catch {
    return undefined; // nothing proves which file it is
  } finally {
    await handle.close();
  }
}
