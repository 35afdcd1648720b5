/**
 * Stopping a dump by its signal and by its time-out, in every phase.
 *
 * Invariants checked: there is one error, AbortError or TIMEOUT with the phase · it comes even if
 * what the phase waits for never happens · no file, temporary or not, no lock and no closed gate is
 * left · dumper and sink work again.
 */
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import {
  createDumper,
  createMachine,
  createWorkload,
  type Dumper,
  type DumpOptions,
  fileSink,
  importProcess,
  MiB,
  MmdumpError,
  memorySink,
  type Sink,
  streamSink,
  type Workload,
} from 'mmdump';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { started, stateOf } from '../support/programs/cli.ts';

const TIMEOUT_MS = 5000;

let folder: string;
let path: string;
let dumper: Dumper;
let workload: Workload;
let machine: Workload['machine'];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-stop-'));
  path = join(folder, 'image.cpt');
  dumper = await createDumper({ workers: 2 });
  workload = await createWorkload('mixed', { size: 4 * MiB });
  ({ machine } = workload);
});
afterAll(async () => {
  await dumper.close();
  rmSync(folder, { recursive: true });
});
// The clock of time-outs stands still until a test moves it.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** A way to stop a dump, and the error that it rejects with. */
interface Way {
  readonly options: { readonly signal?: AbortSignal; readonly timeoutMs?: number };
  readonly stop: () => void;
  readonly error: (phase: string) => object;
}

function way(kind: 'signal' | 'time-out'): Way {
  if (kind === 'signal') {
    const controller = new AbortController();
    const { signal } = controller;
    const error = { name: 'AbortError', code: 'ABORT_ERR' };
    return { options: { signal }, stop: () => controller.abort(), error: () => error };
  }
  return {
    options: { timeoutMs: TIMEOUT_MS },
    stop: () => vi.advanceTimersByTime(TIMEOUT_MS),
    error: (phase) => ({ code: 'TIMEOUT', fields: { phase, ms: TIMEOUT_MS } }),
  };
}

type Step = 'open' | 'reserve' | 'commit';

/** A sink with a step that never ends; `reached` resolves when the step begins. */
function stuck(sink: Sink, step: Step): { readonly to: Sink; readonly reached: Promise<void> } {
  let tell = (): void => {};
  const reached = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const never = (): Promise<never> => {
    tell();
    return new Promise(() => {});
  };
  const to: Sink = {
    kind: sink.kind,
    path: sink.path,
    open: () => (step === 'open' ? never() : sink.open()),
    reserve: (extent) => (step === 'reserve' ? never() : sink.reserve(extent)),
    commit: (image) => (step === 'commit' ? never() : sink.commit(image)),
    abort: () => sink.abort(),
  };
  return { to, reached };
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await turn();
}

/** Asserts that nothing is held, nothing is left, and everything works. */
async function assertClean(): Promise<void> {
  expect(readdirSync(folder)).toEqual([]);
  expect(machine.parts.gate.isClosed).toBe(false);
  expect(workload.space.mm.lock.holders()).toEqual({ readers: 0, writers: 0 });
  expect(workload.space.mm.ldtLock.owner).toBe(-1);
  await dumper.dump(workload.space, { to: fileSink(path) });
  expect((await dumper.verify(path)).ok).toBe(true);
  rmSync(path);
}

const KINDS = ['signal', 'time-out'] as const;

describe.each(KINDS)('a dump that is stopped by its %s', (kind) => {
  /** Starts a dump, stops it once `reached` resolves, and checks the outcome. */
  async function expectStopped(
    phase: string,
    options: Partial<DumpOptions>,
    reached: (to: Sink) => Promise<void>,
  ): Promise<void> {
    const { options: limits, stop, error } = way(kind);
    const to = options.to ?? fileSink(path);
    const dump = dumper.dump(workload.space, { ...options, to, ...limits });
    const stopped = expect(dump, phase).rejects.toMatchObject(error(phase));
    await reached(to);
    stop();
    await stopped;
    expect(vi.getTimerCount()).toBe(0);
  }

  it('while another job has the dumper', async () => {
    const { to, reached } = stuck(memorySink(), 'commit');
    const controller = new AbortController();
    const first = dumper.dump(workload.space, { to, signal: controller.signal });
    const failed = expect(first).rejects.toMatchObject({ code: 'ABORT_ERR' });
    await reached;
    await expectStopped('queue', {}, () => turn());
    controller.abort();
    await failed;
    await assertClean();
  });

  it.each([
    ['open', 'open'],
    ['reserve', 'copy'],
    ['commit', 'commit'],
  ] as const)('while the sink does not %s', async (step, phase) => {
    const { to, reached } = stuck(fileSink(path), step);
    await expectStopped(phase, { to }, () => reached);
    await assertClean();
  });

  it('while it waits for somebody inside the gate', async () => {
    const { gate, threads } = machine.parts;
    const thread = threads.register();
    expect(gate.tryEnter(thread)).toBe(true);
    await expectStopped('lock', {}, () => until(() => gate.isClosed));
    gate.leave(thread);
    threads.release(thread);
    await assertClean();
  });

  it('while it plans, and somebody has the LDT', async () => {
    const { threads } = machine.parts;
    const { mm } = workload.space;
    const thread = threads.register();
    expect(mm.ldtLock.tryLock(thread)).toBe(true);
    await expectStopped('plan', {}, () => until(() => mm.lock.holders().readers === 1));
    mm.ldtLock.unlock(thread);
    threads.release(thread);
    await assertClean();
  });

  it.each([
    ['copy', 'count'], // the last call of one pass comes before the next pass
    ['commit', 'copy'],
  ] as const)('at the beginning of %s', async (phase, before) => {
    const { options, stop, error } = way(kind);
    const onProgress: DumpOptions['onProgress'] = ({ phase: at, units, totalUnits }) => {
      if (at === before && units === totalUnits) stop();
    };
    const sizeLimit = 2 ** 40; // makes the dump count its pages first
    const to = fileSink(path);
    const dump = dumper.dump(workload.space, { to, sizeLimit, onProgress, ...options });
    await expect(dump).rejects.toMatchObject(error(phase));
    await assertClean();
  });

  it('while a stream takes nothing', async () => {
    let tell = (): void => {};
    const reached = new Promise<void>((resolve) => {
      tell = resolve;
    });
    const stream = new Writable({ highWaterMark: 1, write: () => tell() });
    await expectStopped('copy', { to: streamSink(stream) }, () => reached);
    expect(stream.destroyed).toBe(true);
    await assertClean();
  });

  it.each([true, false])('while a stream does not take the last of it, end: %s', async (end) => {
    let tell = (): void => {};
    const reached = new Promise<void>((resolve) => {
      tell = resolve;
    });
    let pending: (() => void)[] = [];
    let isStuck = true;
    const stream = new Writable({
      highWaterMark: 2 ** 30, // it takes everything, and writes nothing
      write: (_chunk, _encoding, done) => {
        if (isStuck) pending.push(done);
        else done();
      },
    });
    const to = streamSink(stream, { end });
    const { commit } = to;
    vi.spyOn(to, 'commit').mockImplementation(() => {
      tell();
      return commit.call(to);
    });
    await expectStopped('commit', { to }, () => reached);
    expect(stream.destroyed).toBe(end);
    if (!end) {
      // The stopped dump must not meddle with the next one, whatever the stream does now.
      const next = dumper.dump(workload.space, { to });
      isStuck = false;
      for (const done of pending) done();
      pending = [];
      await next;
    }
    await assertClean();
  });
});

describe('a file sink whose fsync does not return', () => {
  async function handlePrototype(): Promise<fs.FileHandle> {
    const handle = await fs.open(folder, 'r');
    await handle.close();
    return Object.getPrototypeOf(handle);
  }

  it.each([
    ['the file', 1, false],
    ['the file', 1, true],
    ['the directory', 2, false],
    ['the directory', 2, true],
  ] as const)('of %s, call %i, force %s', async (_what, which, force) => {
    const prototype = await handlePrototype();
    const { sync } = prototype;
    let calls = 0;
    let release = (): void => {};
    let tell = (): void => {};
    const reached = new Promise<void>((resolve) => {
      tell = resolve;
    });
    let stuckAt: fs.FileHandle | undefined;
    vi.spyOn(prototype, 'sync').mockImplementation(async function (this: fs.FileHandle) {
      if (++calls === which) {
        stuckAt = this;
        tell();
        await new Promise<void>((resolve) => {
          release = resolve;
        });
      }
      await sync.call(this);
    });
    const { options, stop } = way('signal');
    const dump = dumper.dump(workload.space, { to: fileSink(path, { force }), ...options });
    const settled = dump.then(
      () => expect.unreachable('it was not stopped'),
      (error) => error,
    );
    await reached;
    stop();
    const error = await settled;
    expect(stuckAt?.fd).toBeGreaterThan(0); // not closed while a call on it has not returned
    if (force && which === 2) {
      // The old image is gone, so the new one stays and the error says so.
      expect(error).toMatchObject({ code: 'OUTPUT_FAILED', message: /is whole/ });
      expect(readdirSync(folder)).toEqual(['image.cpt']);
      rmSync(path);
    } else {
      expect(error).toMatchObject({ code: 'ABORT_ERR' });
      expect(readdirSync(folder)).toEqual([]);
    }
    release();
    await until(() => stuckAt?.fd === -1);
    vi.restoreAllMocks();
    await assertClean();
  });
});

describe('time-outs', () => {
  it.each([0, -1, Number.NaN, 2 ** 31])('of %s ms are refused', async (timeoutMs) => {
    const dump = dumper.dump(workload.space, { to: memorySink(), timeoutMs });
    await expect(dump).rejects.toMatchObject({ code: 'OPTION_INVALID' });
  });

  it('leave a dump alone that is done before', async () => {
    await dumper.dump(workload.space, { to: fileSink(path), timeoutMs: TIMEOUT_MS });
    expect(vi.getTimerCount()).toBe(0);
    rmSync(path);
    await assertClean();
  });

  it('end an import, and the process goes on', async (context) => {
    vi.useRealTimers(); // the test waits for a real process
    const child = await started("console.log('up'); process.stdin.resume()");
    const pid = child.pid!;
    try {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      let stateWhenStopped = '';
      const onProgress = (): void => {
        stateWhenStopped = stateOf(pid);
        vi.advanceTimersByTime(TIMEOUT_MS);
      };
      const machineFor = (memory: number) => createMachine({ memory });
      const error: MmdumpError = await importProcess(machineFor, pid, {
        dumper,
        timeoutMs: TIMEOUT_MS,
        onProgress,
      }).then(
        () => expect.unreachable('it was not stopped'),
        (failure) => failure,
      );
      expect(error).toBeInstanceOf(MmdumpError);
      if (error.code === 'PROCESS_DENIED') context.skip('only its parent may read a process here');
      expect(error).toMatchObject({ code: 'TIMEOUT', fields: { phase: 'import', ms: TIMEOUT_MS } });
      expect(stateWhenStopped).toBe('T');
      await until(() => readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') S'));
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });
});
