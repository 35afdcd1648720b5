/**
 * Threads that end without telling anybody: the machine finds out by itself. On systems other than
 * Linux it only learns of threads that end normally, because these say so as they exit.
 */
import { once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { type AddressSpace, attach, createMachine, type Machine, MiB, PAGE_SIZE } from 'mmdump';
import { afterEach, describe, expect, it } from 'vitest';
import { THREADS_MAX } from '../../src/shared/sync/thread-layout.ts';
import { codeOf, pageOf } from '../support/machine/machine.ts';

const ANON = { prot: 'rw', flags: ['private', 'anonymous'], length: 4 * PAGE_SIZE } as const;
const onLinux = describe.runIf(process.platform === 'linux');

/** Attaches `times` times, does what `action` says, and reports that it is ready. */
const SCRIPT = `
  import('mmdump').then(async ({ attach }) => {
    const { parentPort, workerData } = require('node:worker_threads');
    const { handle, action, times, address, thread } = workerData;
    let space;
    for (let time = 0; time < times; time++) space = attach(handle, thread === undefined ? {} : { thread });
    const { mm } = space;
    if (action === 'exit' || action === 'stay') space.write(address, new Uint8Array([1]));
    else mm.machine.gate.tryEnter(mm.thread);
    if (action === 'read') mm.lock.lock(mm.thread, 'read');
    if (action === 'write') mm.lock.lock(mm.thread, 'write');
    if (action === 'queue') {
      mm.machine.gate.leave(mm.thread);
      space.mprotectAsync(address, 4096, 'r');
      await new Promise(setImmediate);
    }
    parentPort.postMessage('ready');
    if (action !== 'exit') setInterval(() => {}, 1000);
  });
`;

const workers: Worker[] = [];
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.terminate();
});

interface Scene {
  readonly machine: Machine;
  readonly space: AddressSpace;
  readonly address: number;
}

function newFixture(): Scene {
  const machine = createMachine({ memory: 16 * MiB, maxAddressSpaces: 4 });
  const space = machine.createAddressSpace();
  return { machine, space, address: space.mmap(ANON) };
}

async function start(
  { space, address }: Scene,
  action: 'exit' | 'stay' | 'read' | 'write' | 'queue',
  options: { readonly times?: number; readonly thread?: number } = {},
): Promise<Worker> {
  const workerData = { handle: space.handle, action, address, times: 1, ...options };
  const worker = new Worker(SCRIPT, { eval: true, workerData });
  workers.push(worker);
  await once(worker, 'message');
  return worker;
}

describe('trial 8: threads that end without detach give their ids back', () => {
  it('a thread that ends in peace says so by itself', async () => {
    const fixture = newFixture();
    const worker = await start(fixture, 'exit', { times: 5 });
    if (worker.threadId !== -1) await once(worker, 'exit');
    expect(fixture.machine.parts.threads.attached).toBe(1);
  });
});

onLinux('trial 8: on Linux a machine finds threads that were terminated', () => {
  it('when all ids are taken: 255 ids of such threads are given to others, again and again', async () => {
    const fixture = newFixture();
    const { threads } = fixture.machine.parts;
    for (let round = 0; round < 3; round++) {
      const worker = await start(fixture, 'stay', { times: THREADS_MAX - 1 });
      expect(threads.attached).toBe(THREADS_MAX);
      // all of them are alive
      expect(codeOf(() => fixture.machine.registerThread())).toBe('TOO_MANY_THREADS');
      await worker.terminate();
      const id = fixture.machine.registerThread();
      expect(threads.attached).toBe(2);
      fixture.machine.threadGone(id);
      expect(threads.attached).toBe(1);
    }
    await start(fixture, 'stay');
    attach(fixture.machine.handle, { mayBlock: false }).detach();
  });

  it('when somebody waits for what one held: readers give it back', async () => {
    const fixture = newFixture();
    const worker = await start(fixture, 'read');
    const waiting = fixture.space.mprotectAsync(fixture.address, PAGE_SIZE, 'r');
    await worker.terminate();
    await waiting;
    expect(fixture.machine.parts.threads.attached).toBe(1);
  });

  it('when somebody waits for what one held: a writer poisons the machine', async () => {
    const fixture = newFixture();
    const worker = await start(fixture, 'write');
    const waiting = fixture.space.writeAsync(fixture.address, pageOf(1));
    await worker.terminate();
    await expect(waiting).rejects.toMatchObject({ code: 'MACHINE_POISONED' });
  });

  it('with what it had begun asynchronously, as soon as its host says that it is gone', async () => {
    const fixture = newFixture();
    const { machine, space, address } = fixture;
    const holder = machine.parts.threads.register();
    space.mm.lock.lock(holder, 'read');
    const thread = machine.registerThread();
    const worker = await start(fixture, 'queue', { thread });
    const reading = space.readAsync(address, new Uint8Array(1)); // waits behind the writer
    await worker.terminate();
    machine.threadGone(thread);
    await reading;
    expect(machine.parts.threads.anyOperation).toBe(false);
    space.mm.lock.unlock(holder);
    expect(codeOf(() => space.munmap(address, PAGE_SIZE))).toBe('nothing');
  });

  it('and leaves those alone that live, however long others wait', async () => {
    const fixture = newFixture();
    const { machine, space, address } = fixture;
    await start(fixture, 'read');
    const abort = new AbortController();
    const waiting = machine.freeze({ signal: abort.signal });
    for (const { threads } = machine.parts; ; await nextTurn()) {
      expect(threads.lookForEnded()).toBe(false);
      if (machine.parts.gate.isClosed) break;
    }
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'ABORT_ERR' });
    expect(codeOf(() => space.munmap(address, PAGE_SIZE))).toBe('EAGAIN');
  });
});
