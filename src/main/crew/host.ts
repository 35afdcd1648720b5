/** The part of the computer that this process may use: cores, CPU quota, memory. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

export interface Host {
  /** Cores that the process may run on: all, or those of its cpuset. */
  readonly cores: number;
  /** CPU time that its control groups allow, in cores; Infinity without a limit. */
  readonly quota: number;
  /** Bytes of memory that are available, of the computer or of the control group. */
  readonly memory: number;
}

/** Reads a small file; undefined where it cannot be read. */
export type ReadText = (path: string) => string | undefined;

/** Cores and quota seldom change, so they are read once. */
let known: { readonly cores: number; readonly quota: number } | undefined;

/** To read the free memory takes 50 µs, which a small dump would notice. It bounds threads only. */
const MEMORY_MS = 1000;
let memory = 0;
let memoryReadAt = Number.NEGATIVE_INFINITY;

/** Reads the host. Its free memory may be as old as a second. */
export function readHost(): Host {
  known ??= { cores: availableParallelism(), quota: cpuQuota(readText) };
  const now = performance.now();
  if (now - memoryReadAt > MEMORY_MS) {
    memory = process.availableMemory();
    memoryReadAt = now;
  }
  return { ...known, memory };
}

/**
 * The tightest CPU limit of the control groups that this process is in, in cores; Infinity without
 * one. Node's own count of cores heeds cpusets, but quotas only since Node 22. The limit of a group
 * binds all groups below it, so every group up to the root is read. Inside a container the path in
 * /proc may lie outside of the mounted hierarchy; then the root of the mount is the group of the
 * container.
 */
export function cpuQuota(read: ReadText): number {
  let quota = Number.POSITIVE_INFINITY;
  for (const line of (read('/proc/self/cgroup') ?? '').split('\n')) {
    const [id, controllers, ...rest] = line.split(':');
    const isUnified = id === '0' && controllers === '';
    if (!isUnified && controllers?.split(',').includes('cpu') !== true) continue;
    const root = isUnified ? '/sys/fs/cgroup' : '/sys/fs/cgroup/cpu';
    for (const group of groupsUpFrom(rest.join(':'))) {
      const limit = isUnified ? limitV2(read, root + group) : limitV1(read, root + group);
      quota = Math.min(quota, limit);
    }
  }
  return quota;
}

/** The path of a group and those of all groups above it: '/a/b' → '/a/b', '/a', ''. */
function groupsUpFrom(path: string): string[] {
  const names = path.split('/').filter((name) => name !== '');
  return Array.from({ length: names.length + 1 }, (_, cut) =>
    names.slice(0, names.length - cut).reduce((all, name) => `${all}/${name}`, ''),
  );
}

/** Version 2: `max 100000` or `150000 100000`, CPU time per period and the period, microseconds. */
function limitV2(read: ReadText, group: string): number {
  const [time, period] = (read(`${group}/cpu.max`) ?? '').trim().split(' ');
  return coresOf(time, period);
}

/** Version 1 has the same two numbers in two files. */
function limitV1(read: ReadText, group: string): number {
  const time = read(`${group}/cpu.cfs_quota_us`);
  return coresOf(time?.trim(), read(`${group}/cpu.cfs_period_us`)?.trim());
}

/** There is no limit if the time is -1, 'max' or no number. */
function coresOf(time: string | undefined, period: string | undefined): number {
  const cores = Number(time || Number.NaN) / Number(period || Number.NaN);
  return cores > 0 ? cores : Number.POSITIVE_INFINITY;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // another system, or another mount
  }
}
