/**
 * Dumps of a running machine while other threads keep taking the locks of its files.
 *
 * Invariants checked: planning waits for one file after the other and keeps what it has planned, so
 * it ends although one of the locks is held at every moment · it can be stopped while it waits.
 */
import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { createDumper, createMachine, type Dumper, MiB, memorySink } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const FILES = 4;

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 1 });
});
afterAll(() => dumper.close());

function scene() {
  const machine = createMachine({ memory: 8 * MiB, checks: true });
  const space = machine.createAddressSpace();
  const files = Array.from({ length: FILES }, (_, index) => {
    const file = machine.createFile({ path: `/memfd:${index}`, memoryBacked: { size: 8192 } });
    const at = space.mmap({ length: 8192, prot: 'rw', flags: ['shared'], file: file.id });
    space.write(at, Uint8Array.of(index + 1));
    return file.id;
  });
  return { machine, space, files };
}

describe('fault 11: planning a machine that runs ends', () => {
  it('though all but one of the locks are taken at every moment', async () => {
    const { machine, space, files } = scene();
    const { threads, files: table } = machine.parts;
    const holders = files.map((file) => ({ lock: table.lock(file), thread: threads.register() }));
    for (const { lock, thread } of holders) expect(lock.tryLock(thread)).toBe(true);
    let isOver = false;
    const handing = (async () => {
      for (let at = 0; !isOver; at = (at + 1) % FILES) {
        const { lock, thread } = holders[at]!;
        lock.unlock(thread);
        await turn();
        await lock.lockAsync(thread); // a worker may hold it for a moment
      }
    })();
    const sink = memorySink();
    const dump = dumper.dump(space, { to: sink, freeze: false }).finally(() => {
      isOver = true;
    });
    const [report] = await Promise.all([dump, handing]);
    expect(report.mms[0]!.pages.copy).toBe(FILES);
    expect(await dumper.verify(sink.image)).toMatchObject({ ok: true });
    for (const { lock, thread } of holders) {
      lock.unlock(thread);
      threads.release(thread);
    }
  });

  it('though another thread takes them all the time', async () => {
    const { machine, space, files } = scene();
    const thread = machine.registerThread();
    const board = new Int32Array(new SharedArrayBuffer(8));
    const script = new URL('../support/programs/file-lock-taker.mjs', import.meta.url);
    const workerData = { handle: space.handle, thread, files, board };
    const worker = new Worker(script, { workerData });
    while (Atomics.load(board, 1) === 0) await turn();
    for (let round = 0; round < 5; round++) {
      const report = await dumper.dump(space, { to: memorySink(), freeze: false });
      expect(report.mms[0]!.pages.copy).toBe(FILES);
    }
    Atomics.store(board, 0, 1);
    await once(worker, 'exit');
    machine.threadGone(thread);
  });

  it('or is stopped while it waits', async () => {
    const { machine, space, files } = scene();
    const { threads, files: table } = machine.parts;
    const thread = threads.register();
    table.lock(files[FILES - 1]!).tryLock(thread);
    const controller = new AbortController();
    const { signal } = controller;
    const dump = dumper.dump(space, { to: memorySink(), freeze: false, signal });
    const stopped = expect(dump).rejects.toMatchObject({ code: 'ABORT_ERR' });
    while (space.mm.lock.holders().readers === 0) await turn();
    controller.abort();
    await stopped;
    table.lock(files[FILES - 1]!).unlock(thread);
    threads.release(thread);
    await dumper.dump(space, { to: memorySink(), freeze: false });
  });
});
