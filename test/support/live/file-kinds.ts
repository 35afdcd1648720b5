/** Determines which kind of file a mapping of a live process shows. Shares no code with src/. */
import { statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { ProcVma } from './proc.ts';

export type FileKind = 'none' | 'living' | 'memory-backed' | 'deleted' | 'deleted, memory-backed';

const TMPFS_MAGIC = 0x0102_1994;
const DELETED = ' (deleted)';

/** Living: the path leads to the same inode. Memory-backed: only memory holds the file's pages. */
export function fileKindOf({ name, inode }: ProcVma): FileKind {
  if (inode === '0') return 'none';
  if (name.startsWith('anon_inode:')) return 'memory-backed'; // it has no path to remove
  if (leadsTo(name, inode)) return isInMemory(name) ? 'memory-backed' : 'living';
  const path = name.endsWith(DELETED) ? name.slice(0, -DELETED.length) : name;
  const isKernels = /^(\/memfd:|\/dev\/zero$|\/SYSV)/.test(path);
  return isKernels || isInMemory(dirname(path)) ? 'deleted, memory-backed' : 'deleted';
}

function leadsTo(path: string, inode: string): boolean {
  try {
    const { ino } = statSync(Buffer.from(path, 'latin1'), { bigint: true });
    return String(BigInt.asUintN(64, ino)) === inode;
  } catch {
    return false;
  }
}

function isInMemory(path: string): boolean {
  try {
    return statfsSync(Buffer.from(path, 'latin1')).type === TMPFS_MAGIC;
  } catch {
    return false;
  }
}

export function isLost(kind: FileKind): boolean {
  return kind !== 'none' && kind !== 'living';
}
