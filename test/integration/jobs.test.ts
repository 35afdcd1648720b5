/**
 * What all jobs of a dumper have in common: a signal and a time-out.
 *
 * Invariants checked, for dump, estimate, restore, verify, compare and import: a job that waits for
 * another, or for a frozen machine, stops at once · it rejects with AbortError, or with TIMEOUT and
 * its phase · the job before it is not disturbed, and the next one works · nothing is left.
 */
import { setImmediate as turn } from 'node:timers/promises';
import {
  compareAddressSpaces,
  createDumper,
  createMachine,
  createWorkload,
  type Dumper,
  type Image,
  importProcess,
  type JobOptions,
  type Machine,
  type MemoryImage,
  MiB,
  memorySink,
  openImage,
  type Sink,
  verifyImage,
  type Workload,
} from 'mmdump';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { started } from '../support/programs/cli.ts';

const TIMEOUT_MS = 5000;

let dumper: Dumper;
let workload: Workload;
let image: Image;
let memory: MemoryImage;
let pid = 0;
let endChild = (): void => {};
beforeAll(async () => {
  dumper = await createDumper({ workers: 1 });
  workload = await createWorkload('mixed', { size: MiB });
  const sink = memorySink();
  await dumper.dump(workload.space, { to: sink });
  memory = sink.image;
  image = await openImage(memory);
  const child = await started("console.log('up'); process.stdin.resume()");
  pid = child.pid!;
  endChild = () => void child.kill('SIGKILL');
});
afterAll(async () => {
  endChild();
  await dumper.close();
});
// The clock of time-outs stands still until a test moves it.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
});
afterEach(() => {
  vi.useRealTimers();
});

type Job = (on: Dumper, options: JobOptions) => Promise<unknown>;

const target = (): Machine => createMachine({ memory: 16 * MiB });
const JOBS: readonly (readonly [string, Job])[] = [
  ['dump', (on, options) => on.dump(workload.space, { ...options, to: memorySink() })],
  ['estimate', (on, options) => on.estimate(workload.space, options)],
  ['restore', (on, options) => on.restore(image, target(), options)],
  ['verify', (on, options) => on.verify(memory, options)],
  ['compare', (on, options) => on.compare(workload.space, workload.space, options)],
  [
    'import',
    (on, options) => on.importProcess((bytes) => createMachine({ memory: bytes }), pid, options),
  ],
];

/** A sink that does not commit until it is told to. */
function held(): { readonly to: Sink; readonly reached: Promise<void>; readonly go: () => void } {
  const inner = memorySink();
  let tell = (): void => {};
  let go = (): void => {};
  const reached = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const released = new Promise<void>((resolve) => {
    go = resolve;
  });
  const to: Sink = {
    kind: 'memory',
    path: null,
    open: () => inner.open(),
    reserve: (extent) => inner.reserve(extent),
    async commit(image) {
      tell();
      await released;
      await inner.commit(image);
    },
    abort: () => inner.abort(),
  };
  return { to, reached, go: () => go() };
}

/** The ways to stop a job, and the error that it rejects with. */
function ways(phase: string) {
  const controller = new AbortController();
  return [
    {
      options: { signal: controller.signal },
      stop: () => controller.abort(),
      error: { name: 'AbortError', code: 'ABORT_ERR' },
    },
    {
      options: { timeoutMs: TIMEOUT_MS },
      stop: () => vi.advanceTimersByTime(TIMEOUT_MS),
      error: { code: 'TIMEOUT', fields: { phase, ms: TIMEOUT_MS } },
    },
  ] as const;
}

describe.each(JOBS)('fault 9: %s', (_name, job) => {
  it('stops by its signal and by its time-out while another job has the dumper', async () => {
    const { to, reached, go } = held();
    const first = dumper.dump(workload.space, { to });
    await reached;
    for (const { options, stop, error } of ways('queue')) {
      const stopped = expect(job(dumper, options)).rejects.toMatchObject(error);
      await turn();
      stop();
      await stopped;
    }
    go();
    await first;
    expect(vi.getTimerCount()).toBe(0);
  });

  it('does not begin under a signal that has fired', async () => {
    await expect(job(dumper, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ABORT_ERR',
    });
  });

  it('refuses a time-out that is none, and takes undefined for none', async () => {
    for (const timeoutMs of [0, -1, Number.NaN, 2 ** 31]) {
      await expect(job(dumper, { timeoutMs })).rejects.toMatchObject({ code: 'OPTION_INVALID' });
    }
    vi.useRealTimers(); // the import waits for a real process
    await job(dumper, { timeoutMs: undefined, signal: undefined });
  });
});

describe('fault 9: a job stops while it works', () => {
  it('restore, into a machine that is frozen', async () => {
    const machine = target();
    const frozen = await machine.freeze();
    for (const { options, stop, error } of ways('restore')) {
      const stopped = expect(dumper.restore(image, machine, options)).rejects.toMatchObject(error);
      await turn();
      stop();
      await stopped;
    }
    frozen.thaw();
    expect(machine.addressSpaces()).toEqual([]);
  });

  it('compare, while somebody is inside the gate', async () => {
    const { gate, threads } = workload.machine.parts;
    const { space } = workload;
    const thread = threads.register();
    gate.tryEnter(thread);
    for (const { options, stop, error } of ways('compare')) {
      const stopped = expect(dumper.compare(space, space, options)).rejects.toMatchObject(error);
      while (!gate.isClosed) await turn();
      stop();
      await stopped;
      expect(gate.isClosed).toBe(false);
    }
    gate.leave(thread);
    threads.release(thread);
  });

  it('verify, by what its listener does, with the phase in the error', async () => {
    for (const { options, stop, error } of ways('verify')) {
      const verifying = dumper.verify(memory, { ...options, onProgress: stop });
      await expect(verifying).rejects.toMatchObject(error);
    }
  });

  it('compare tells how many pages it has looked at', async () => {
    let told = 0;
    const onProgress = ({ pages }: { readonly pages: number }): void => {
      told = pages;
    };
    const { equal, pages } = await dumper.compare(workload.space, workload.space, { onProgress });
    expect({ equal, told }).toEqual({ equal: true, told: pages });
  });
});

describe('fault 9: single jobs', () => {
  it('take the same options, with a dumper of their own', async () => {
    const stopped = { signal: AbortSignal.abort() };
    const error = { code: 'ABORT_ERR' };
    const { space } = workload;
    await expect(verifyImage(memory, stopped)).rejects.toMatchObject(error);
    await expect(compareAddressSpaces(space, space, stopped)).rejects.toMatchObject(error);
    const machineFor = (bytes: number) => createMachine({ memory: bytes });
    await expect(importProcess(machineFor, pid, stopped)).rejects.toMatchObject(error);
  });
});
