/**
 * Temporary files that exist now. Should the process exit in the middle of a dump, they go with it;
 * only a process that is killed outright leaves one behind.
 */
import { unlinkSync } from 'node:fs';

const files = new Set<string>();

function removeAll(): void {
  for (const file of files) {
    try {
      unlinkSync(file);
    } catch {
      // The process is ending, and the file is gone already or cannot be removed at all.
    }
  }
}

export function trackTemporaryFile(path: string): void {
  if (files.size === 0) process.on('exit', removeAll);
  files.add(path);
}

export function forgetTemporaryFile(path: string): void {
  files.delete(path);
  if (files.size === 0) process.off('exit', removeAll);
}
