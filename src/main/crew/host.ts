/** What this process may use of its computer: cores, CPU quota, memory. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

export interface Host {
  /** That the process may run on: all, or those of its cpuset. */
  readonly cores: number;
  /** Cores' worth of CPU time that its control groups give it; Infinity without a limit. */
  readonly quota: number;
  /** Bytes that can be had, of the computer or of the control group. */
  readonly memory: number;
}

/** Reads a small file; undefined where it cannot be read. */
export type ReadText = (path: string) => string | undefined;

/** Neither cores nor quota change often; memory does. */
let known: { readonly cores: number; readonly quota: number } | undefined;

export function readHost(): Host {
  known ??= { cores: availableParallelism(), quota: cpuQuota(readText) };
  return { ...known, memory: process.availableMemory() };
}

/**
 * The tightest CPU limit of the control groups that this process is in, in cores; Infinity without
 * one. Node's own count knows cpusets, and quotas only from Node 22 on. A group's limit binds all
 * groups below it, so each is looked at up to the root; inside a container the path of /proc may lie
 * outside of what is mounted, and the root of the mount is the container's own group.
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

/** '/a/b' → '/a/b', '/a', ''. */
function groupsUpFrom(path: string): string[] {
  const names = path.split('/').filter((name) => name !== '');
  return Array.from({ length: names.length + 1 }, (_, cut) =>
    names.slice(0, names.length - cut).reduce((all, name) => `${all}/${name}`, ''),
  );
}

/** `max 100000` or `150000 100000`: microseconds of CPU time in each period of so many. */
function limitV2(read: ReadText, group: string): number {
  const [time, period] = (read(`${group}/cpu.max`) ?? '').trim().split(' ');
  return coresOf(time, period);
}

function limitV1(read: ReadText, group: string): number {
  const time = read(`${group}/cpu.cfs_quota_us`);
  return coresOf(time?.trim(), read(`${group}/cpu.cfs_period_us`)?.trim());
}

/** -1, 'max' and whatever is no time: no limit. */
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
