/** The system calls of sinks that write files. Each has the name of its fault point. */
import type { Stats } from 'node:fs';
import { type FileHandle, link, lstat, open, readdir, rename, unlink } from 'node:fs/promises';
import type { FaultPlan } from '../../shared/faults.ts';
import { failCallAt } from '../job/faults.ts';

const OWNER_ONLY = 0o600;

export interface FileCalls {
  look(path: string): Promise<Stats>;
  list(directory: string): Promise<string[]>;
  directory(path: string): Promise<FileHandle>;
  /** Fails with EEXIST if the name is taken. */
  create(path: string): Promise<FileHandle>;
  reserve(file: FileHandle, bytes: number): Promise<void>;
  sync(file: FileHandle): Promise<void>;
  link(from: string, to: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  syncDirectory(directory: FileHandle): Promise<void>;
}

const FILE_CALLS: FileCalls = {
  look: (path) => lstat(path),
  list: (directory) => readdir(directory),
  directory: (path) => open(path, 'r'),
  create: (path) => open(path, 'wx', OWNER_ONLY),
  reserve: (file, bytes) => file.truncate(bytes),
  sync: (file) => file.sync(),
  link: (from, to) => link(from, to),
  rename: (from, to) => rename(from, to),
  remove: (path) => unlink(path),
  syncDirectory: (directory) => directory.sync(),
};

/**
 * Returns the calls. With a plan they fail where it says so. Unless `sync`, those that wait for the
 * disk do nothing, and their fault points are not passed.
 */
export function fileCalls(plan: FaultPlan | undefined, sync: boolean): FileCalls {
  const calls = plan === undefined ? FILE_CALLS : callsThatFail(plan);
  return sync ? calls : { ...calls, sync: async () => {}, syncDirectory: async () => {} };
}

function callsThatFail(plan: FaultPlan): FileCalls {
  const before = async (point: keyof FileCalls): Promise<FileCalls> => {
    failCallAt(point, plan);
    return FILE_CALLS;
  };
  return {
    look: async (path) => (await before('look')).look(path),
    list: async (directory) => (await before('list')).list(directory),
    directory: async (path) => (await before('directory')).directory(path),
    create: async (path) => (await before('create')).create(path),
    reserve: async (file, bytes) => (await before('reserve')).reserve(file, bytes),
    sync: async (file) => (await before('sync')).sync(file),
    link: async (from, to) => (await before('link')).link(from, to),
    rename: async (from, to) => (await before('rename')).rename(from, to),
    remove: async (path) => (await before('remove')).remove(path),
    syncDirectory: async (directory) => (await before('syncDirectory')).syncDirectory(directory),
  };
}
