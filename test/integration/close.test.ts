/**
 * Closing machines and dumpers: work that is under way ends first, every later call gets one clear
 * error, the memory is given back, and closing a second time does nothing.
 */
import { once } from 'node:events';
import { Writable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import {
  type AddressSpace,
  attach,
  createDumper,
  createMachine,
  type Dumper,
  type Machine,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
  readPageStruct,
  readPte,
  streamSink,
  writePageStruct,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { collectGarbage } from '../../src/shared/collect-garbage.ts';
import { isSettled } from '../support/machine/locks.ts';
import { codeOf, pageOf } from '../support/machine/machine.ts';

const ANON = { prot: 'rw', flags: ['private', 'anonymous'] } as const;
const CLOSED = { code: 'MACHINE_CLOSED' };

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

interface Scene {
  readonly machine: Machine;
  readonly space: AddressSpace;
  readonly at: number;
}

function scene(bytes = 4 * MiB): Scene {
  const machine = createMachine({ memory: bytes + 16 * MiB, maxAddressSpaces: 8 });
  const space = machine.createAddressSpace();
  const at = space.mmap({ ...ANON, length: bytes });
  space.fill(at, bytes, 7);
  return { machine, space, at };
}

/** A stream that takes nothing until it is told to. */
function slowStream(): { readonly stream: Writable; readonly go: () => void } {
  let waiting: (() => void) | undefined;
  let goes = false;
  const stream = new Writable({
    write(_chunk, _encoding, done) {
      if (goes) done();
      else waiting = done;
    },
  });
  const go = (): void => {
    goes = true;
    waiting?.();
  };
  return { stream, go };
}

describe('a machine that was closed', () => {
  it('fails every operation with MACHINE_CLOSED, of its spaces, files and jobs, too', async () => {
    const { machine, space, at } = scene();
    const file = machine.createFile({ path: '/f', content: pageOf(1) });
    const deleted = machine.createFile({ path: '/d', content: pageOf(1), deleted: true });
    const { handle } = machine;
    const sink = memorySink();
    await dumper.dump(space, { to: sink });
    await machine.close();
    const calls: readonly (() => unknown)[] = [
      () => machine.createAddressSpace(),
      () => machine.createFile({ path: '/g', content: pageOf(1) }),
      () => machine.hostFile(process.execPath),
      () => machine.lookupFile('/f'),
      () => machine.addressSpaces(),
      () => machine.destroyAddressSpace(space),
      () => machine.mergePages(),
      () => machine.reclaim(1),
      () => machine.registerThread(),
      () => machine.memory,
      () => machine.swap,
      () => machine.handle,
      () => space.mmap({ ...ANON, length: PAGE_SIZE }),
      () => space.munmap(at, PAGE_SIZE),
      () => space.read(at, new Uint8Array(1)),
      () => space.write(at, pageOf(1)),
      () => space.fork(),
      () => space.exit(),
      () => space.vmas(),
      () => space.readLdt(),
      () => space.setAuxv(pageOf(1)),
      () => file.path,
      () => file.size,
      () => file.isDeleted,
      () => file.unlink(),
      () => attach(handle),
      () => readPte(space, at),
      () => readPageStruct(machine, 1),
      () => writePageStruct(machine, 1, {}),
    ];
    for (const call of calls) expect(codeOf(call), call.toString()).toBe('MACHINE_CLOSED');
    const image = await openImage(sink.image);
    const other = scene();
    const jobs: readonly (() => Promise<unknown>)[] = [
      () => machine.freeze(),
      () => space.readAsync(at, new Uint8Array(1)),
      () => space.forkAsync(),
      () => dumper.dump(space, { to: memorySink() }),
      () => dumper.dump(space, { to: memorySink(), freeze: false }),
      () => dumper.estimate(space),
      () => dumper.compare(space, other.space),
      () => dumper.compare(other.space, space),
      () => dumper.restore(image, machine),
    ];
    for (const job of jobs) await expect(job(), job.toString()).rejects.toMatchObject(CLOSED);
    deleted.close();
    machine.detach();
    // The failed job must leave nothing behind in the machine that is still open.
    expect((await dumper.compare(other.space, other.space)).equal).toBe(true);
    expect((await dumper.verify(sink.image)).ok).toBe(true);
    await other.machine.close();
  });

  it('is closed once: closing it again, at the same time or later, is nothing', async () => {
    const { machine, space, at } = scene();
    const first = machine.close();
    expect(codeOf(() => space.read(at, new Uint8Array(1)))).toBe('MACHINE_CLOSED');
    await Promise.all([first, machine.close(), machine[Symbol.asyncDispose]()]);
    machine[Symbol.dispose]();
    await machine.close();
  });

  it('ends what waits for the gate, and freezes: nobody waits for them', async () => {
    const { machine, space, at } = scene();
    const freeze = await machine.freeze();
    const writing = space.writeAsync(at, pageOf(1));
    const closed = machine.close();
    await expect(writing).rejects.toMatchObject(CLOSED);
    await closed;
    freeze.thaw();
    freeze.thaw();
  });

  it.each([true, false])('lets a dump under way finish (freeze: %s)', async (freeze) => {
    const { machine, space } = scene();
    const { stream, go } = slowStream();
    const dump = dumper.dump(space, { to: streamSink(stream), freeze });
    while (stream.writableLength === 0) await nextTurn();
    const closed = machine.close();
    expect(await isSettled(closed)).toBe(false);
    go();
    expect((await dump).mms).toHaveLength(1);
    await closed;
  });

  it('ends a restore that has to enter it once more', async () => {
    const { machine, space } = scene(32 * MiB);
    const sink = memorySink();
    await dumper.dump(space, { to: sink });
    await machine.close();
    const target = createMachine({ memory: 64 * MiB });
    let closed: Promise<void> | undefined;
    const restoring = dumper.restore(await openImage(sink.image), target, {
      onProgress: () => {
        closed ??= target.close();
      },
    });
    const [outcome] = await Promise.allSettled([restoring]);
    expect(outcome.status === 'rejected' ? outcome.reason : CLOSED).toMatchObject(CLOSED);
    await closed;
    expect(codeOf(() => target.memory)).toBe('MACHINE_CLOSED');
  });

  it('is closed for other threads: they are told at their next operation', async () => {
    const { machine, space, at } = scene();
    const script = `
      const { parentPort, workerData } = require('node:worker_threads');
      import('mmdump').then(({ attach }) => {
        const space = attach(workerData.handle);
        parentPort.on('message', () => {
          try {
            space.read(workerData.at, new Uint8Array(1));
            parentPort.postMessage('read');
          } catch (error) {
            parentPort.postMessage(error.code);
          }
        });
        parentPort.postMessage('ready');
      });`;
    const workerData = { handle: space.handle, at };
    const worker = new Worker(script, { eval: true, workerData });
    const ask = async (): Promise<unknown> => {
      const answer = once(worker, 'message');
      worker.postMessage('read');
      return (await answer)[0];
    };
    try {
      await once(worker, 'message');
      expect(await ask()).toBe('read');
      await machine.close();
      expect(await ask()).toBe('MACHINE_CLOSED');
      expect(await ask()).toBe('MACHINE_CLOSED');
    } finally {
      await worker.terminate();
    }
  });

  it('can be closed when it is poisoned', async () => {
    const { machine, space, at } = scene();
    const writer = machine.parts.threads.register();
    machine.parts.gate.tryEnter(writer);
    space.mm.lock.lock(writer, 'write');
    machine.parts.threads.poison(2, writer); // the writer locked up, and keeps its locks
    expect(codeOf(() => space.read(at, new Uint8Array(1)))).toBe('MACHINE_POISONED');
    await machine.close();
    expect(codeOf(() => space.read(at, new Uint8Array(1)))).toBe('MACHINE_CLOSED');
  });

  it('gives its memory back at once, though its objects are still there', async () => {
    const bytes = 192 * MiB;
    const { machine, space, at } = scene(bytes);
    const half = machine.createAddressSpace(); // a thread has walked its tables, too
    half.mmap({ ...ANON, length: PAGE_SIZE });
    expect((await dumper.compare(space, space)).equal).toBe(true);
    const before = process.memoryUsage.rss();
    await machine.close();
    expect(before - process.memoryUsage.rss()).toBeGreaterThan(bytes / 2);
    expect(codeOf(() => space.read(at, new Uint8Array(1)))).toBe('MACHINE_CLOSED');
    expect(codeOf(() => half.vmas())).toBe('MACHINE_CLOSED');
  });

  it('or was dropped: it is given back once it is found, by the threads of the dumper, too', async () => {
    const bytes = 192 * MiB;
    const drop = async (): Promise<void> => {
      const { space } = scene(bytes);
      expect((await dumper.compare(space, space)).equal).toBe(true);
    };
    await drop();
    const before = process.memoryUsage.rss();
    while (before - process.memoryUsage.rss() < bytes / 2) {
      await collectGarbage();
      await nextTurn();
    }
  });
});

describe('a dumper that was closed', () => {
  it('does what was queued before, and nothing later; closing it twice is nothing', async () => {
    const { machine, space } = scene();
    const own = await createDumper({ workers: 1 });
    const sinks = [memorySink(), memorySink()];
    const dumps = sinks.map((to) => own.dump(space, { to }));
    const closed = [own.close(), own.close(), own[Symbol.asyncDispose]()];
    const late = own.dump(space, { to: memorySink() });
    await expect(late).rejects.toMatchObject({ code: 'DUMPER_CLOSED' });
    await Promise.all(closed);
    expect(await isSettled(Promise.all(dumps))).toBe(true); // all calls wait for the same end
    for (const sink of sinks) expect((await dumper.verify(sink.image)).ok).toBe(true);
    await own.close();
    await machine.close();
  });

  it('does not hinder machines from being closed later', async () => {
    const { machine, space } = scene();
    const own = await createDumper({ workers: 1 });
    await own.dump(space, { to: memorySink() });
    await own.close();
    await machine.close();
  });
});
