/** Finds out which of the files that a process maps is the program that it runs. */
import { readlink, stat } from 'node:fs/promises';
import { type FileIdentity, identityOf, isSameFile } from './file-identity.ts';
import { namesOf } from './locate-file.ts';
import type { MappedFile } from './mapped-files.ts';
import type { SmapsVma } from './smaps.ts';

export interface Executable {
  /** The raw bytes of the link /proc/PID/exe; empty where it cannot be read. */
  readonly name: Buffer;
  readonly identity: FileIdentity | undefined;
}

/**
 * Reads /proc/PID/exe. It never fails: a kernel thread has no executable, and that of another
 * user's process is hidden. An import works without it.
 */
export async function readExecutable(pid: number): Promise<Executable> {
  const link = `/proc/${pid}/exe`;
  const name = await readlink(link, 'buffer').catch(() => Buffer.alloc(0));
  const stats = await stat(link, { bigint: true }).catch(() => undefined);
  return { name, identity: stats === undefined ? undefined : identityOf(stats) };
}

/** Compares device and inode. Names decide only where these are not known for both. */
export function isExecutable(vma: SmapsVma, file: MappedFile, exe: Executable): boolean {
  if (file.identity !== undefined && exe.identity !== undefined) {
    return isSameFile(file.identity, exe.identity);
  }
  return exe.name.length > 0 && namesOf(vma).some((name) => name.equals(exe.name));
}
