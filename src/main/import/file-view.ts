/**
 * Reads the mounts and namespaces that give names and numbers in /proc/PID/smaps their meaning.
 * Those of the process need not be ours.
 */
import { readFile, readlink } from 'node:fs/promises';

export interface Mount {
  /** `254:0`: the file system's own, as smaps shows it. Stat may show another (btrfs, overlay). */
  readonly device: string;
  /** Type of the file system, such as `ext4`. */
  readonly type: string;
}

export interface FileView {
  readonly pid: number;
  /** Our mounts and those of the process, by the mount id that /proc/PID/fdinfo gives. */
  readonly mounts: ReadonlyMap<number, Mount>;
  /** Types of file systems by device, from both sets of mounts. */
  readonly fileSystems: ReadonlyMap<string, string>;
  /** Whether the process is in our mount namespace, so that names mean the same for both. */
  readonly sharesMounts: boolean;
  /** Names the IPC namespace, whose SysV segments the process sees. */
  readonly ipcNamespace: string;
}

export async function readFileView(pid: number): Promise<FileView> {
  const theirs = await readMounts(`/proc/${pid}`);
  const mounts = new Map([...(await readMounts('/proc/self')), ...theirs]);
  const fileSystems = new Map([...mounts.values()].map(({ device, type }) => [device, type]));
  const here = await namespaceOf('self', 'mnt');
  const there = await namespaceOf(pid, 'mnt');
  // Where the link cannot be read, the process is taken to share its segments with no other.
  const ipcNamespace = (await namespaceOf(pid, 'ipc')) ?? `of ${pid}`;
  const sharesMounts = here !== undefined && here === there;
  return { pid, mounts, fileSystems, sharesMounts, ipcNamespace };
}

async function namespaceOf(process: number | 'self', kind: string): Promise<string | undefined> {
  return await readlink(`/proc/${process}/ns/${kind}`).catch(() => undefined);
}

/** `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue` */
async function readMounts(process: string): Promise<Map<number, Mount>> {
  const mounts = new Map<number, Mount>();
  const text = await readFile(`${process}/mountinfo`, 'latin1').catch(() => '');
  for (const line of text.split('\n')) {
    const [left, right] = line.split(' - ');
    const [id, , device] = left!.split(' ');
    const type = right?.split(' ')[0];
    if (device !== undefined && type !== undefined) mounts.set(Number(id), { device, type });
  }
  return mounts;
}
