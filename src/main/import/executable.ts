/** Which of the files that a process maps is the program that it runs. */
import { readlink, stat } from 'node:fs/promises';
import { type FileIdentity, identityOf, isSameFile } from './file-identity.ts';
import { namesOf } from './locate-file.ts';
import type { MappedFile } from './mapped-files.ts';
import type { SmapsVma } from './smaps.ts';

export interface Executable {
  /** What the link /proc/PID/exe says, raw bytes; empty where it cannot be read. */
  readonly name: Buffer;
  readonly identity: FileIdentity | undefined;
}

/** A kernel thread has none, nor has another user's process: nothing depends on it. */
export async function readExecutable(pid: number): Promise<Executable> {
  const link = `/proc/${pid}/exe`;
  const name = await readlink(link, 'buffer').catch(() => Buffer.alloc(0));
  const stats = await stat(link, { bigint: true }).catch(() => undefined);
  return { name, identity: stats === undefined ? undefined : identityOf(stats) };
}

/** By name only where it cannot be asked which file the mapping shows. */
export function isExecutable(vma: SmapsVma, file: MappedFile, exe: Executable): boolean {
  if (file.identity !== undefined && exe.identity !== undefined) {
    return isSameFile(file.identity, exe.identity);
  }
  return exe.name.length > 0 && namesOf(vma).some((name) => name.equals(exe.name));
}
