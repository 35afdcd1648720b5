/**
 * The choice of workers for a phase, which depends on the computer, the threads that are up and the
 * work.
 *
 * Invariants checked: never more workers than units, than requested, than cores, than the quota
 * rounded up, than memory has space for (but always one) · a requested number does not depend on
 * the computer · more bytes never mean fewer workers, as long as the same threads are up · the
 * reason begins with the number · only small work that waits for nothing runs on the caller's
 * thread
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  chooseCrew,
  HERE_BYTES,
  HERE_COLD_BYTES,
  mostWorkers,
  threadsToStart,
} from '../../../src/main/crew/crew.ts';
import { cpuQuota, type Host, readHost } from '../../../src/main/crew/host.ts';
import { GiB, KiB, MiB } from '../../../src/shared/page.ts';

const FREE = { quota: Number.POSITIVE_INFINITY, memory: 64 * GiB } as const;
const TWO: Host = { ...FREE, cores: 2 };
const EIGHT: Host = { ...FREE, cores: 8 };

function crewOf(host: Host, up: number, bytes: number, units = 1000, mayRunHere = true) {
  const { workers, here, reason } = chooseCrew(
    host,
    { asked: undefined, up },
    { units, bytes, mayRunHere },
  );
  return [workers, here, reason];
}

describe('a crew that nobody has asked for', () => {
  it.each([
    [
      'small: the caller, threads or not',
      TWO,
      2,
      212 * KiB,
      1,
      true,
      '1: the dump is small (212 KiB)',
    ],
    [
      'small enough, with no thread up',
      TWO,
      0,
      8 * MiB,
      1,
      true,
      '1: the dump is small (8.00 MiB)',
    ],
    ['one thread is up', TWO, 1, 3 * MiB, 1, false, '1: one for each 2.00 MiB of 3.00 MiB'],
    ['both are up', TWO, 2, 4 * MiB, 2, false, '2: one per available core'],
    ['three of eight', EIGHT, 8, 7 * MiB, 3, false, '3: one for each 2.00 MiB of 7.00 MiB'],
    [
      'not worth starting one',
      TWO,
      1,
      20 * MiB,
      1,
      false,
      '1: starting more threads would take longer than it saves (20.0 MiB)',
    ],
    ['worth starting one', TWO, 1, 128 * MiB, 2, false, '2: one per available core'],
    ['worth starting all', EIGHT, 1, GiB, 8, false, '8: one per available core'],
    ['one core', { ...FREE, cores: 1 }, 1, GiB, 1, false, '1: one core is available'],
    ['a quota', { ...EIGHT, quota: 1.5 }, 8, GiB, 2, false, '2: the CPU quota is 1.5 cores'],
    [
      'little memory',
      { ...EIGHT, memory: 200 * MiB },
      8,
      GiB,
      3,
      false,
      '3: little memory is free (200 MiB)',
    ],
    [
      'next to no memory',
      { ...EIGHT, memory: MiB },
      8,
      GiB,
      1,
      false,
      '1: little memory is free (1.00 MiB)',
    ],
  ])('%s', (_, host, up, bytes, workers, here, reason) => {
    expect(crewOf(host, up, bytes)).toEqual([workers, here, reason]);
  });

  it('is no larger than the units', () => {
    expect(crewOf(EIGHT, 8, GiB, 3)).toEqual([
      3,
      false,
      '3: there is no more work to share (1.00 GiB)',
    ]);
    expect(crewOf(EIGHT, 8, GiB, 0)[0]).toBe(1);
  });

  it('leaves the thread of the caller alone where it would have to wait', () => {
    expect(crewOf(TWO, 0, 4 * KiB, 1, false)).toEqual([
      1,
      false,
      '1: the dump is small (4.00 KiB)',
    ]);
  });
});

it('a crew that was asked for has that number, as far as there are units', () => {
  const one: Host = { cores: 1, quota: 0.5, memory: 0 };
  for (const host of [one, TWO, EIGHT]) {
    const ask = (units: number) =>
      chooseCrew(host, { asked: 4, up: 0 }, { units, bytes: 4 * KiB, mayRunHere: true });
    expect(ask(9)).toMatchObject({ workers: 4, here: false, reason: '4 as asked' });
    expect(ask(2)).toMatchObject({ workers: 2, here: false, reason: '4 as asked' });
  }
});

it('the only worker of a small job runs here, asked for or not, unless it may have to wait', () => {
  const ask = (units: number, bytes: number, mayRunHere: boolean) =>
    chooseCrew(TWO, { asked: 2, up: 2 }, { units, bytes, mayRunHere });
  expect(ask(1, HERE_BYTES, true)).toMatchObject({ workers: 1, here: true });
  expect(ask(1, HERE_BYTES + 1, true)).toMatchObject({ workers: 1, here: false });
  expect(ask(2, HERE_BYTES, true)).toMatchObject({ workers: 2, here: false });
  expect(ask(1, HERE_BYTES, false)).toMatchObject({ workers: 1, here: false });
});

const hosts: fc.Arbitrary<Host> = fc.record({
  cores: fc.integer({ min: 1, max: 300 }),
  quota: fc.oneof(
    fc.constant(Number.POSITIVE_INFINITY),
    fc.double({ min: 0.01, max: 300, noNaN: true }),
  ),
  memory: fc.integer({ min: 0, max: 64 * GiB }),
});
const bytes = fc.oneof(
  fc.integer({ min: 0, max: 32 * MiB }),
  fc.integer({ min: 0, max: 64 * GiB }),
);

it('every crew keeps within all bounds, and its reason says its number', () => {
  const up = fc.integer({ min: 0, max: 128 });
  const units = fc.integer({ min: 0, max: 500 });
  fc.assert(
    fc.property(
      hosts,
      up,
      units,
      bytes,
      bytes,
      fc.boolean(),
      (host, up, units, a, b, mayRunHere) => {
        const [less, more] = [Math.min(a, b), Math.max(a, b)];
        const threads = { asked: undefined, up };
        const crew = chooseCrew(host, threads, { units, bytes: less, mayRunHere });
        const larger = chooseCrew(host, threads, { units, bytes: more, mayRunHere });
        const memory = Math.max(1, Math.floor(host.memory / (64 * MiB)));
        const bound = Math.min(host.cores, Math.ceil(host.quota), memory, Math.max(1, units), 128);
        expect(crew.workers).toBeGreaterThanOrEqual(1);
        expect(crew.workers).toBeLessThanOrEqual(bound);
        expect(crew.reason).toMatch(new RegExp(`^${crew.workers}: `));
        expect(larger.workers).toBeGreaterThanOrEqual(crew.workers);
        if (crew.here) {
          expect(mayRunHere).toBe(true);
          expect(less).toBeLessThanOrEqual(up === 0 ? HERE_COLD_BYTES : HERE_BYTES);
        }
      },
    ),
  );
});

it('threads start for what they are worth: none for little, one for more, all for much', () => {
  expect(threadsToStart(EIGHT, 8 * MiB)).toBe(0);
  expect(threadsToStart(EIGHT, 8 * MiB + 1)).toBe(1);
  expect(threadsToStart(EIGHT, 0)).toBe(0);
  expect(threadsToStart(EIGHT, 300 * MiB)).toBe(3);
  expect(threadsToStart(EIGHT, 64 * GiB)).toBe(8);
  expect(mostWorkers({ ...FREE, cores: 500 })).toEqual({
    workers: 128,
    reason: 'that is the maximum',
  });
});

describe('the CPU quota', () => {
  function quotaOf(files: { readonly [path: string]: string }): number {
    return cpuQuota((path) => files[path]);
  }

  it('is that of the tightest group on the way to the root', () => {
    const files = {
      '/proc/self/cgroup': '0::/a/b\n',
      '/sys/fs/cgroup/cpu.max': 'max 100000\n',
      '/sys/fs/cgroup/a/cpu.max': '150000 100000\n',
      '/sys/fs/cgroup/a/b/cpu.max': '400000 100000\n',
    };
    expect(quotaOf(files)).toBe(1.5);
  });

  it('is found where the old hierarchies are mounted', () => {
    const files = {
      '/proc/self/cgroup': '7:memory:/m\n3:cpu,cpuacct:/a\n2:cpuset:/x\n0::/u\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
      '/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us': '250000\n',
      '/sys/fs/cgroup/cpu/a/cpu.cfs_period_us': '100000\n',
      '/sys/fs/cgroup/cpu/m/cpu.cfs_quota_us': '1\n',
      '/sys/fs/cgroup/cpu/m/cpu.cfs_period_us': '100000\n',
    };
    expect(quotaOf(files)).toBe(2.5);
  });

  it('is found at the root where the path is of another mount, as in a container', () => {
    const files = { '/proc/self/cgroup': '0::/docker/1', '/sys/fs/cgroup/cpu.max': '50000 100000' };
    expect(quotaOf(files)).toBe(0.5);
  });

  it.each([
    ['there are no groups', {}],
    ['it is no number', { '/proc/self/cgroup': '0::/', '/sys/fs/cgroup/cpu.max': 'x y' }],
    ['it is empty', { '/proc/self/cgroup': '0::/', '/sys/fs/cgroup/cpu.max': '' }],
    ['there is none', { '/proc/self/cgroup': '0::/', '/sys/fs/cgroup/cpu.max': 'max 100000' }],
  ])('is without bound where %s', (_, files) => {
    expect(quotaOf(files)).toBe(Number.POSITIVE_INFINITY);
  });
});

it('this computer has a core, and memory', () => {
  const { cores, quota, memory } = readHost();
  expect(cores).toBeGreaterThanOrEqual(1);
  expect(quota).toBeGreaterThan(0);
  expect(memory).toBeGreaterThan(0);
});
