/**
 * Dumps while other threads write. Invariants checked:
 *  - frozen: no thread makes progress while the dump holds the machine, and the image shows one
 *    instant: no half of a store, no store without the one that came before it
 *  - not frozen: all threads make progress in the middle of the dump; every checksum is that of the
 *    bytes in the image; the mappings are those of the address space; it can be restored
 *  - afterwards every frame and swap slot has exactly the references that tables and caches explain
 *  - a lost onlooker leaves no lock behind, and the machine is trusted as before
 */
import { once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type DumpReport,
  type Machine,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
  type Sink,
} from 'mmdump';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { armFaults, createGate, GATE } from '../../src/shared/faults.ts';
import { openGate } from '../reliability/lab.ts';
import { assertTablesTrue } from '../support/machine/invariants.ts';
import { ZERO_PAGE } from '../support/machine/zero-page.ts';

const SCRIPT = new URL('../support/programs/running-writer.mjs', import.meta.url);
const BORDER = 2 * MiB;
const START = 0x4000_0000;
const LINKS = START + 8 * MiB;
const CHURN = START + 16 * MiB;
const HUGE = CHURN + 8 * MiB;
const SHARED = START + 48 * MiB;
const PRIVATE = SHARED + 8 * MiB;
/** No thread writes here. The pages are swapped out and fetched again in the middle of dumps. */
const KEPT = PRIVATE + 8 * MiB;
const KEPT_BYTES = 3 * MiB;
const ANON = { prot: 'rw', flags: ['private', 'anonymous', 'fixed'] } as const;
const DUMPS = process.env.MMDUMP_LONG === '1' ? 400 : 2;

/** The invariants read the words of a machine, so they take a machine of either build. */
function assertTrue(machine: Machine): void {
  assertTablesTrue(machine as never);
}

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

/** 32-bit words that count up, so that every page is different. */
function kept(): Uint8Array {
  return new Uint8Array(Uint32Array.from({ length: KEPT_BYTES / 4 }, (_, word) => word + 1).buffer);
}

/** A machine, an address space, and the threads that change it. */
class Scene {
  readonly machine: Machine = createMachine({
    memory: 96 * MiB,
    swap: 64 * MiB,
    zeroPage: ZERO_PAGE,
    maxAddressSpaces: 4,
    checks: true,
  });
  readonly space: AddressSpace = this.machine.createAddressSpace();
  readonly board = new Int32Array(new SharedArrayBuffer(64));
  readonly #writers: { readonly worker: Worker; readonly thread: number; end: Promise<string> }[] =
    [];

  constructor() {
    const { space } = this;
    space.mmap({ ...ANON, address: START, length: 2 * BORDER });
    space.mmap({ ...ANON, address: LINKS, length: 2 * BORDER });
    space.mmap({ ...ANON, address: CHURN, length: 8 * MiB });
    space.mmap({ ...ANON, address: HUGE, length: 8 * MiB });
    space.madvise(HUGE, 8 * MiB, 'hugepage');
    space.mmap({ ...ANON, address: KEPT, length: KEPT_BYTES });
    space.write(KEPT, kept());
    const file = this.machine.createFile({ path: '/memfd:m', memoryBacked: { size: 4 * MiB } });
    const mapped = { prot: 'rw', length: 4 * MiB, file: file.id } as const;
    space.mmap({ ...mapped, address: SHARED, flags: ['shared', 'fixed'] });
    space.mmap({ ...mapped, address: PRIVATE, flags: ['private', 'fixed'] });
    for (const each of [START, LINKS]) space.mlock(each, 2 * BORDER);
  }

  start(action: 'pairs' | 'links' | 'churn', at: number, bytes = 0): void {
    const thread = this.machine.registerThread();
    const ordinal = this.#writers.length;
    const { board } = this;
    const isAnonymous = at === CHURN;
    const place = { at, bytes, isAnonymous };
    const workerData = { handle: this.space.handle, thread, action, ...place, board, ordinal };
    const worker = new Worker(SCRIPT, { workerData });
    const end = once(worker, 'message').then(([text]: string[]) => text!);
    this.#writers.push({ worker, thread, end });
  }

  /** For each writer, the number of operations that it has done. */
  done(): number[] {
    return this.#writers.map((_, ordinal) => Atomics.load(this.board, 1 + ordinal));
  }

  /** Resolves once every writer has done `more` operations. */
  async advance(more: number): Promise<void> {
    const goal = this.done().map((count) => count + more);
    while (this.done().some((count, ordinal) => count < goal[ordinal]!)) {
      expect(Atomics.load(this.board, 0)).toBe(0); // otherwise a writer has failed
      await nextTurn();
    }
  }

  async stop(): Promise<void> {
    Atomics.store(this.board, 0, 1);
    for (const { worker, thread, end } of this.#writers.splice(0)) {
      expect(await end).toBe('done');
      await worker.terminate();
      this.machine.threadGone(thread);
    }
  }
}

const scenes: Scene[] = [];
afterEach(async () => {
  for (const scene of scenes.splice(0)) await scene.stop();
});

async function writing(): Promise<Scene> {
  const scene = new Scene();
  scenes.push(scene);
  scene.start('pairs', START);
  scene.start('links', LINKS);
  scene.start('churn', CHURN, 16 * MiB);
  scene.start('churn', SHARED, 4 * MiB);
  scene.start('churn', PRIVATE, 4 * MiB);
  await scene.advance(20);
  return scene;
}

/** A memory sink that runs a function before the first byte is written. */
function between(
  meanwhile: () => Promise<void>,
): Sink & { readonly inner: ReturnType<typeof memorySink> } {
  const inner = memorySink();
  return {
    kind: inner.kind,
    path: null,
    inner,
    open: () => inner.open(),
    async reserve(extent) {
      await meanwhile();
      return inner.reserve(extent);
    },
    commit: (image) => inner.commit(image),
    abort: () => inner.abort(),
  };
}

function numberIn(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getFloat64(at);
}

describe('a frozen dump', () => {
  it('shows one instant, while nobody gets on', async () => {
    const scene = await writing();
    for (let round = 0; round < DUMPS; round++) {
      let before: number[] = [];
      const sink = between(async () => {
        before = scene.done();
        for (let turn = 0; turn < 50; turn++) await nextTurn();
        // A writer that has just left the gate may still have to count what it did inside.
        scene.done().forEach((count, writer) => {
          expect(count - before[writer]!).toBeLessThanOrEqual(1);
        });
      });
      const report: DumpReport = await dumper.dump(scene.space, { to: sink });
      expect(report.frozen).toBe(true);
      const image = await openImage(sink.inner.image);
      const pair = new Uint8Array(16);
      await image.read(START + BORDER - 8, pair);
      expect(numberIn(pair, 0)).toBe(numberIn(pair, 8));
      expect(numberIn(pair, 0)).toBeGreaterThan(0);
      const [left, right] = [new Uint8Array(8), new Uint8Array(8)];
      await image.read(LINKS, left);
      await image.read(LINKS + BORDER, right);
      expect([0, 1]).toContain(numberIn(left, 0) - numberIn(right, 0));
      await scene.advance(1);
    }
  });
});

describe('a dump that is not frozen', () => {
  it('lets everybody get on, and is whole', async () => {
    const scene = await writing();
    const maps = (await scene.space.vmasAsync()).map(({ start, end }) => `${start}-${end}`);
    for (let round = 0; round < DUMPS; round++) {
      const blocks = round % 2 === 0 ? 'run' : 'page';
      const advice = (['pageout', 'populate_write', 'cold'] as const)[round % 3]!;
      const sink = between(async () => {
        await scene.space.madviseAsync(KEPT, KEPT_BYTES, advice);
        await scene.advance(5);
      });
      const report = await dumper.dump(scene.space, { to: sink, freeze: false, blocks });
      expect(report.frozen).toBe(false);
      expect(await dumper.verify(sink.inner.image)).toMatchObject({ ok: true, problems: [] });
      const image = await openImage(sink.inner.image);
      expect(image.head.frozen).toBe(false);
      expect(image.vmas().map(({ start, end }) => `${start}-${end}`)).toEqual(maps);
      const found = new Uint8Array(KEPT_BYTES);
      await image.read(KEPT, found);
      expect(Buffer.compare(found, kept())).toBe(0);
      const machine = createMachine({ memory: 128 * MiB, maxAddressSpaces: 2, checks: true });
      const { mms } = await dumper.restore(image, machine);
      expect(mms).toHaveLength(1);
      assertTrue(machine);
    }
    await scene.stop();
    assertTrue(scene.machine);
  });

  it('gives every reference back when it fails, and when it is aborted', async () => {
    const scene = await writing();
    const failing = between(async () => {
      await scene.advance(3);
      throw new Error('no room');
    });
    await expect(dumper.dump(scene.space, { to: failing, freeze: false })).rejects.toThrow(
      'no room',
    );
    const abort = new AbortController();
    const aborting = between(async () => abort.abort());
    const options = { to: aborting, freeze: false, signal: abort.signal };
    await expect(dumper.dump(scene.space, options)).rejects.toMatchObject({ code: 'ABORT_ERR' });
    await scene.stop();
    assertTrue(scene.machine);
    expect((await dumper.dump(scene.space, { to: memorySink(), freeze: false })).frozen).toBe(
      false,
    );
  });

  it('keeps a page that goes away before it is copied', async () => {
    const scene = new Scene();
    const { space } = scene;
    space.write(CHURN, new Uint8Array(PAGE_SIZE).fill(7));
    space.write(SHARED, new Uint8Array(PAGE_SIZE).fill(8));
    const sink = between(async () => {
      await space.madviseAsync(CHURN, PAGE_SIZE, 'dontneed');
      await space.writeAsync(CHURN + PAGE_SIZE, new Uint8Array([9])); // may get the freed frame
    });
    // With a limit the pages are counted first, and pinned until they are copied.
    await dumper.dump(space, { to: sink, freeze: false, sizeLimit: 2 ** 40 });
    const image = await openImage(sink.inner.image);
    const byte = new Uint8Array(1);
    await image.read(CHURN, byte);
    expect(byte[0]).toBe(7);
    await image.read(SHARED, byte);
    expect(byte[0]).toBe(8);
    assertTrue(scene.machine);
  });

  it('keeps a page that goes away after its unit was classified, and lets it go with the unit', async () => {
    const machine = createMachine({ memory: 32 * MiB, maxAddressSpaces: 1, checks: true });
    const space = machine.createAddressSpace();
    space.mmap({ ...ANON, address: CHURN, length: MiB });
    space.write(CHURN, new Uint8Array(PAGE_SIZE).fill(7));
    const gate = createGate();
    const hold = { point: 'placed', nth: 1, action: { kind: 'hold', gate } } as const;
    const holding = await createDumper({ workers: 1, faults: { armed: armFaults([hold]) } });
    try {
      const sink = memorySink();
      const dump = holding.dump(space, { to: sink, freeze: false });
      const arrived = Atomics.waitAsync(new Int32Array(gate), GATE.ARRIVED, 0);
      if (arrived.async) await arrived.value;
      await space.madviseAsync(CHURN, PAGE_SIZE, 'dontneed');
      await space.writeAsync(CHURN + PAGE_SIZE, new Uint8Array([9])); // may get the freed frame
      openGate(gate);
      await dump;
      const byte = new Uint8Array(1);
      await (await openImage(sink.image)).read(CHURN, byte);
      expect(byte[0]).toBe(7);
      assertTrue(machine);
    } finally {
      await holding.close();
    }
  });
});
