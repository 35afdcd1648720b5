/** Targets with mounts of their own, and what the system must provide for them. */
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync } from 'node:fs';
import type { TestContext } from 'vitest';
import type { Workshop } from './live-process.ts';

/** Creates a file with an empty ext4. Skips the test if it cannot be created. */
export function ext4Image(context: TestContext, { directory }: Workshop, name: string): string {
  const path = `${directory}/${name}.img`;
  const fd = openSync(path, 'w');
  ftruncateSync(fd, 4 * 2 ** 20);
  closeSync(fd);
  try {
    execFileSync('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', path], { stdio: 'pipe' });
  } catch (error) {
    context.skip(`no ext4 can be made here: ${firstLine(error)}`);
  }
  return path;
}

/** Skips the test unless a shell in new namespaces can run this. */
export function needNamespace(
  context: TestContext,
  namespaces: string,
  command: string,
  options: { readonly uid?: number; readonly gid?: number } = {},
): void {
  try {
    execFileSync('unshare', [namespaces, 'sh', '-ec', command], { ...options, stdio: 'pipe' });
  } catch (error) {
    context.skip(`'unshare ${namespaces}' and '${command}' do not work here: ${firstLine(error)}`);
  }
}

function firstLine(error: unknown): string {
  return String(error).split('\n').slice(0, 2).join(' ');
}
