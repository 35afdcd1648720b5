/**
 * Real threads that are terminated while they wait for, or hold, the locks of an address space.
 * Once the host has reported this with `threadGone`, the other threads go on, or are told that the
 * machine can no longer be trusted.
 */
import { once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { type AddressSpace, createMachine, type Machine, MiB, PAGE_SIZE } from 'mmdump';
import { afterEach, describe, expect, it } from 'vitest';
import { MM_LOCK_AT } from '../../src/mmu/mm/mm-struct.ts';
import { RW_LOCK } from '../../src/shared/sync/rw-lock-layout.ts';
import { codeOf } from '../support/machine/machine.ts';

const ANON = { prot: 'rw', flags: ['private', 'anonymous'], length: PAGE_SIZE } as const;
const SCRIPT = new URL('../support/programs/lost-thread.mjs', import.meta.url);

type Action = 'read' | 'mmap' | 'stopReading' | 'stopCopying' | 'stopMapping';

interface Lost {
  readonly thread: number;
  readonly worker: Worker;
  /** The outcome of the thread's operation. */
  readonly outcome: Promise<string>;
  /** Resolves once the thread has stopped inside its operation. */
  readonly stopped: Promise<unknown>;
}

const workers: Worker[] = [];
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.terminate();
});

class Scene {
  readonly machine: Machine = createMachine({ memory: 16 * MiB, maxAddressSpaces: 4 });
  readonly space: AddressSpace = this.machine.createAddressSpace();
  readonly address: number = this.space.mmap(ANON);

  constructor() {
    this.space.write(this.address, new Uint8Array([7]));
  }

  start(action: Action, isOnlooker = false): Lost {
    const { machine, space, address } = this;
    const { threads } = machine.parts;
    const thread = isOnlooker ? threads.registerOnlooker() : machine.registerThread();
    const progress = new Int32Array(new SharedArrayBuffer(8));
    const workerData = { handle: space.handle, thread, action, address, progress };
    const worker = new Worker(SCRIPT, { workerData });
    workers.push(worker);
    const wait = Atomics.waitAsync(progress, 0, 0);
    const outcome = once(worker, 'message').then(([what]: string[]) => what!);
    outcome.catch(() => {}); // an error of the worker is reported where its outcome is awaited
    return { thread, worker, outcome, stopped: Promise.resolve(wait.value) };
  }

  /** Resolves once this many threads wait for the mmap lock. */
  async wait(threads: number): Promise<void> {
    // the first mm is that of the space
    const words = new Int32Array(this.space.handle.machine.mms);
    while (Atomics.load(words, MM_LOCK_AT + RW_LOCK.WAITERS) !== threads) await nextTurn();
  }

  async lose({ worker, thread }: Lost): Promise<void> {
    await worker.terminate();
    this.machine.threadGone(thread);
  }
}

describe('a worker that is terminated', () => {
  it('while it waits to write: readers behind it go on', async () => {
    const scene = new Scene();
    const holder = scene.start('stopReading');
    await holder.stopped;
    const waiting = scene.start('mmap');
    await scene.wait(1);
    const behind = scene.start('read');
    await scene.wait(2);
    await scene.lose(waiting);
    expect(await behind.outcome).toBe('done');
    expect(scene.space.mm.lock.holders()).toEqual({ readers: 1, writers: 0 });
  });

  it('while it reads: a writer that waits for it goes on', async () => {
    const scene = new Scene();
    const holder = scene.start('stopReading');
    await holder.stopped;
    expect(scene.space.mm.lock.holders()).toEqual({ readers: 1, writers: 0 });
    const waiting = scene.start('mmap');
    await scene.wait(1);
    await scene.lose(holder);
    expect(await waiting.outcome).toBe('done');
    expect(scene.space.vmas()).not.toHaveLength(0);
    expect(scene.space.mm.lock.holders()).toEqual({ readers: 0, writers: 0 });
  });

  /**
   * Loses a writer while a reader, a writer and an asynchronous reader wait for it. Returns the
   * outcomes of these three.
   */
  async function loseWriter(scene: Scene): Promise<string[]> {
    const holder = scene.start('stopMapping');
    await holder.stopped;
    expect(scene.space.mm.lock.holders()).toEqual({ readers: 0, writers: 1 });
    const reading = scene.space.readAsync(scene.address, new Uint8Array(1)).then(
      () => 'done',
      (error) => error.code,
    );
    const outcomes = [scene.start('read').outcome, scene.start('mmap').outcome, reading];
    await scene.wait(outcomes.length);
    await scene.lose(holder);
    return await Promise.all(outcomes);
  }

  it('while it writes: nobody waits for it any more, and newcomers are told', async () => {
    const scene = new Scene();
    expect(await loseWriter(scene)).toHaveLength(3);
    expect(await scene.start('read').outcome).toBe('MACHINE_POISONED');
    expect(codeOf(() => scene.space.mmap(ANON))).toBe('MACHINE_POISONED');
  });

  it('while it writes: waiters are told', async () => {
    expect(new Set(await loseWriter(new Scene()))).toEqual(new Set(['MACHINE_POISONED']));
  });

  it('while it holds the spin lock of a page table: who spins and newcomers are told', async () => {
    const scene = new Scene();
    const holder = scene.start('stopCopying');
    await holder.stopped;
    expect(scene.space.mm.lock.holders()).toEqual({ readers: 1, writers: 0 });
    const spinning = scene.start('read');
    while (scene.space.mm.lock.holders().readers < 2) await nextTurn();
    await scene.lose(holder);
    expect(await spinning.outcome).toBe('MACHINE_POISONED');
    expect(codeOf(() => scene.space.read(scene.address, new Uint8Array(1)))).toBe(
      'MACHINE_POISONED',
    );
  });

  it('while it only looks behind the spin lock of a page table: the others go on', async () => {
    const scene = new Scene();
    const holder = scene.start('stopCopying', true);
    await holder.stopped;
    const spinning = scene.start('read');
    while (scene.space.mm.lock.holders().readers < 2) await nextTurn();
    await scene.lose(holder);
    expect(await spinning.outcome).toBe('done');
    expect(await scene.start('mmap').outcome).toBe('done');
  });

  it('while it only looks behind the lock of a file: the others go on', async () => {
    const { machine } = new Scene();
    const { files, threads } = machine.parts;
    const file = machine.createFile({ path: '/f', memoryBacked: { size: PAGE_SIZE } });
    const [onlooker, next] = [threads.registerOnlooker(), machine.registerThread()];
    files.lock(file.id).lock(onlooker, false);
    const waiting = files.lock(file.id).lockAsync(next);
    machine.threadGone(onlooker);
    await waiting;
    files.lock(file.id).unlock(next);
    expect(files.lock(file.id).owner).toBe(-1);
  });

  it('and said to be gone twice is buried once', async () => {
    const scene = new Scene();
    const holder = scene.start('stopReading');
    await holder.stopped;
    await scene.lose(holder);
    scene.machine.threadGone(holder.thread);
    expect(codeOf(() => scene.space.munmap(scene.address, PAGE_SIZE))).toBe('nothing');
  });
});
