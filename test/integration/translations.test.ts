/**
 * Invariants checked, with threads that store through TLBs and never stop by themselves:
 * - whoever takes translations away gets through, and no store is lost: each writer loads back
 *   what it has stored
 * - a fork is of one instant and does not change: the first word of a writer is that of the second,
 *   or one ahead
 * - while the machine is frozen no byte changes
 * - a writer that is terminated inside holds nobody up
 */
import { once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { type AddressSpace, createMachine, type Machine, MiB, PAGE_SIZE } from 'mmdump';
import { afterEach, expect, it } from 'vitest';

const scriptOf = (name: string): URL => {
  return new URL(`../support/programs/${name}-writer.mjs`, import.meta.url);
};
const OWN = 0x1000_0000;
const ADOPTED = 0x2000_0000;
const TURNS = process.env.MMDUMP_LONG === '1' ? 2_000 : 36;

class Scene {
  readonly ram = new SharedArrayBuffer(MiB);
  readonly machine: Machine = createMachine({ memory: 64 * MiB, swap: MiB, banks: [this.ram] });
  readonly mm: AddressSpace = this.machine.createAddressSpace();
  readonly board = new Int32Array(new SharedArrayBuffer(64));
  readonly writers: { worker: Worker; thread: number; end: Promise<string> }[] = [];

  constructor() {
    this.mm.mmap({
      address: OWN,
      length: MiB,
      prot: 'rw',
      flags: ['private', 'anonymous', 'fixed'],
    });
    this.mm.mapFrames({ address: ADOPTED, length: MiB, prot: 'rw' });
  }

  async start(at: number, by: 'tlb' | 'window' = 'tlb'): Promise<void> {
    const thread = this.machine.registerThread();
    const { board } = this;
    const ordinal = this.writers.length;
    const worker = new Worker(scriptOf(by), {
      workerData: { handle: this.mm.handle, thread, at, second: at + PAGE_SIZE, board, ordinal },
    });
    const end = once(worker, 'message').then(([text]: string[]) => text!);
    this.writers.push({ worker, thread, end });
    await this.advance();
  }

  rounds(): number[] {
    return this.writers.map((_, ordinal) => Atomics.load(this.board, 1 + ordinal));
  }

  /** Resolves once every writer has done some more rounds, or has ended. */
  async advance(): Promise<void> {
    const before = this.rounds();
    let isOver = false;
    for (const { end } of this.writers) {
      void end.then(() => {
        isOver = true;
      });
    }
    while (!isOver && this.rounds().some((count, writer) => count <= before[writer]!)) {
      await nextTurn();
    }
  }

  /** Ends the writers, and returns what they say. */
  async stop(): Promise<string[]> {
    Atomics.store(this.board, 0, 1);
    const said = await Promise.all(this.writers.map(({ end }) => end));
    await this.terminate();
    return said;
  }

  async terminate(): Promise<void> {
    for (const { worker, thread } of this.writers.splice(0)) {
      await worker.terminate();
      this.machine.threadGone(thread);
    }
  }
}

let scene: Scene;
afterEach(async () => {
  await scene.terminate();
  await scene.machine.close();
});

async function wordsAt(mm: AddressSpace, at: number): Promise<[number, number]> {
  const bytes = new Int32Array((2 * PAGE_SIZE) / 4);
  await mm.readAsync(at, bytes);
  return [bytes[0]!, bytes[PAGE_SIZE / 4]!];
}

async function expectOneInstant(parent: AddressSpace, at: number): Promise<void> {
  const child = await parent.forkAsync();
  const [first, second] = await wordsAt(child, at);
  expect([second, second + 1]).toContain(first);
  await scene.advance();
  expect(await wordsAt(child, at)).toEqual([first, second]);
  await child.exitAsync();
}

it('calls that take translations away get through, and no store is lost', async () => {
  scene = new Scene();
  const { mm, machine } = scene;
  await scene.start(OWN);
  await scene.start(OWN + 64, 'window');
  const calls: (() => Promise<unknown>)[] = [
    () => expectOneInstant(mm, OWN),
    () => mm.madviseAsync(OWN, MiB, 'pageout'),
    () => mm.madviseAsync(OWN, MiB, 'free'),
    () => mm.mprotectAsync(OWN, MiB, 'rw'),
    () => machine.reclaimAsync(64),
    () => mm.mmapAsync({ length: PAGE_SIZE, prot: 'r', flags: ['private', 'anonymous'] }),
  ];
  for (let turn = 0; turn < TURNS; turn++) {
    await calls[turn % calls.length]!();
    await scene.advance();
  }
  const said = await scene.stop();
  for (const [writer, text] of said.entries()) {
    expect(text).toMatch(/^done /);
    const last = Number(text.slice(5));
    expect(await wordsAt(mm, OWN + 64 * writer)).toEqual([last, last]);
  }
});

it.each(['tlb', 'window'] as const)(
  'a freeze stops stores by a %s to memory of the caller',
  async (by) => {
    scene = new Scene();
    const words = new Int32Array(scene.ram);
    await scene.start(ADOPTED, by);
    const numbers = (): [number, number] => [
      Atomics.load(words, 0),
      Atomics.load(words, PAGE_SIZE / 4),
    ];
    for (let turn = 0; turn < TURNS; turn++) {
      const freeze = await scene.machine.freeze();
      const before = numbers();
      for (let look = 0; look < 20; look++) await nextTurn();
      expect(numbers()).toEqual(before);
      freeze.thaw();
      await scene.advance();
    }
    expect(await scene.stop()).toEqual([expect.stringMatching(/^done /)]);
  },
);

it('a writer that is terminated inside holds nobody up', async () => {
  scene = new Scene();
  await scene.start(OWN);
  await scene.terminate();
  await scene.mm.munmapAsync(OWN, MiB);
  (await scene.machine.freeze()).thaw();
});

it('a writer whose page goes is told so', async () => {
  scene = new Scene();
  await scene.start(OWN);
  await scene.mm.munmapAsync(OWN, MiB);
  expect(await scene.writers[0]!.end).toMatch(/^SIGSEGV: (write to|read from) page 0x1000[01]000/);
});
