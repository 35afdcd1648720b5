/**
 * Invariants checked: the image of pages in memory that is not shared is, byte for byte, that of the
 * same pages in shared memory and in frames of the machine, for every number of workers and every
 * sink, frozen and running · the event loop of the owner runs meanwhile · a dump follows memory that
 * grows · whatever ends a job early, it ends with one error and the next one works · other threads
 * are refused
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type DumpOptions,
  fileSink,
  type Machine,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
  splitSink,
  streamSink,
  verifyImage,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { armFaults, type FaultPlan } from '../../src/shared/faults.ts';
import { partPath } from '../../src/shared/formats/parts.ts';
import { bytesOf } from '../support/images/images.ts';
import { privateMemory } from '../support/machine/adopted.ts';
import { codeOf } from '../support/machine/machine.ts';

const AT = 0x7000_0000;
const LENGTH = 10 * MiB;
const PAGES = LENGTH / PAGE_SIZE;

/** Long runs, short runs, single pages, pages of zeros, and zeros with a last byte. */
function fill(bytes: Uint8Array): void {
  for (let page = 0; page < PAGES; page++) {
    const at = page * PAGE_SIZE;
    if (page % 7 === 3 && page % 5 !== 0) continue;
    if (page % 11 === 6) bytes[at + PAGE_SIZE - 1] = page & 0xff || 1;
    else if (page < PAGES / 2 || page % 3 !== 0) bytes.fill((page % 255) + 1, at, at + PAGE_SIZE);
  }
}

type Bank = SharedArrayBuffer | ArrayBuffer | { readonly buffer: ArrayBufferLike };

interface Guest {
  readonly machine: Machine;
  readonly space: AddressSpace;
  readonly ram: () => Uint8Array;
}

/** Half of the pages in order, then pages in another order, and an ordinary mapping behind. */
function guestOf(bank: Bank): Guest {
  const ram = (): Uint8Array => new Uint8Array('buffer' in bank ? bank.buffer : bank, 0, LENGTH);
  fill(ram());
  const machine = createMachine({ memory: 8 * MiB, banks: [new SharedArrayBuffer(MiB), bank] });
  const space = machine.createAddressSpace();
  const half = LENGTH / 2;
  space.mapFrames({ bank: 1, length: half, prot: 'rw', address: AT });
  for (let page = 0; page < 512; page++) {
    const offset = half + ((page * 37) % 512) * PAGE_SIZE;
    const address = AT + half + page * PAGE_SIZE;
    space.mapFrames({ bank: 1, offset, length: PAGE_SIZE, prot: 'rw', address, flags: ['fixed'] });
  }
  const rest = { offset: half + 2 * MiB, length: half - 2 * MiB, address: AT + half + 2 * MiB };
  space.mapFrames({ bank: 1, ...rest, prot: 'rw' });
  space.mapFrames({ bank: 0, length: MiB, prot: 'rw', address: AT + LENGTH });
  const own = AT + LENGTH + MiB;
  space.mmap({ length: MiB, prot: 'rw', address: own, flags: ['private', 'anonymous', 'fixed'] });
  space.fill(own + 5 * PAGE_SIZE, 9 * PAGE_SIZE, 3);
  return { machine, space, ram };
}

/** An ordinary machine with the same content. */
function twinOf({ space }: Guest): AddressSpace {
  const twin = createMachine({ memory: 32 * MiB }).createAddressSpace();
  const flags = ['private', 'anonymous', 'fixed'] as const;
  const bytes = new Uint8Array(LENGTH + MiB);
  space.read(AT, bytes);
  twin.mmap({ length: LENGTH + 2 * MiB, prot: 'rw', address: AT, flags });
  twin.write(AT, bytes);
  twin.fill(AT + LENGTH + MiB + 5 * PAGE_SIZE, 9 * PAGE_SIZE, 3);
  return twin;
}

const UNSHARED = [
  ['a WebAssembly.Memory', [1, 2, 4], () => privateMemory(LENGTH / 0x10000)],
  ['an ArrayBuffer', [2], () => new ArrayBuffer(LENGTH)],
] as const;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-unshared-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** The bytes that a dump sends to each kind of sink, as one digest. */
const SINKS = {
  async memory(dumper: Dumper, space: AddressSpace, options: Partial<DumpOptions>) {
    const to = memorySink();
    await dumper.dump(space, { ...options, to });
    return digest([bytesOf(to.image)]);
  },
  async file(dumper: Dumper, space: AddressSpace, options: Partial<DumpOptions>) {
    const path = join(folder, 'a.cpt');
    await dumper.dump(space, { ...options, to: fileSink(path, { force: true }) });
    return digest([readFileSync(path)]);
  },
  async split(dumper: Dumper, space: AddressSpace, options: Partial<DumpOptions>) {
    const path = join(folder, 'parts.cpt');
    const to = splitSink(path, { partBytes: 5 * MiB, force: true });
    const { image } = await dumper.dump(space, { ...options, to });
    const parts = Array.from({ length: image.parts! }, (_, part) => partPath(path, part));
    return digest(parts.map((part) => readFileSync(part)));
  },
  async stream(dumper: Dumper, space: AddressSpace, options: Partial<DumpOptions>) {
    const hash = createHash('sha256');
    const stream = new Writable({
      write(chunk: Buffer, _encoding, done) {
        hash.update(chunk);
        done();
      },
    });
    await dumper.dump(space, { ...options, to: streamSink(stream) });
    return hash.digest('hex');
  },
};

/** Digests of what every sink gets, and of what other options make of it. */
async function imagesOf(dumper: Dumper, space: AddressSpace, freeze: boolean): Promise<unknown> {
  const found: unknown[] = [];
  for (const sink of Object.values(SINKS)) found.push(await sink(dumper, space, { freeze }));
  for (const options of [
    { zeroPages: 'copy' },
    { checksum: 'crc32', blocks: 'page' },
    { checksum: 'none', zeroPages: 'copy', blocks: 'page' },
  ] as const) {
    found.push(await SINKS.memory(dumper, space, { freeze, ...options }));
  }
  const { image, mms } = await dumper.estimate(space, { freeze });
  return [...found, image.bytes, mms[0]!.pages];
}

function digest(chunks: readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest('hex');
}

describe.each(UNSHARED)('a dump of unshared memory: %s', (_name, crews, bankOf) => {
  let guest: Guest;
  let twin: AddressSpace;
  const expected = new Map<string, unknown>();
  beforeAll(async () => {
    guest = guestOf(bankOf());
    twin = twinOf(guest);
    const shared = guestOf(new SharedArrayBuffer(LENGTH));
    const dumper = await createDumper({ workers: 2 });
    for (const freeze of [true, false]) {
      const images = await imagesOf(dumper, shared.space, freeze);
      expect(await imagesOf(dumper, twin, freeze)).toEqual(images);
      expected.set(String(freeze), images);
    }
    await dumper.close();
  });

  for (const workers of crews) {
    for (const freeze of [true, false]) {
      it(`makes the same image: ${freeze ? 'frozen' : 'running'}, ${workers} workers`, async () => {
        const dumper = await createDumper({ workers });
        const before = digest([guest.ram()]);
        try {
          const found = await imagesOf(dumper, guest.space, freeze);
          expect(found).toEqual(expected.get(String(freeze)));
          expect((await dumper.compare(guest.space, twin)).equal).toBe(true);
        } finally {
          await dumper.close();
        }
        expect(digest([guest.ram()])).toBe(before);
      });
    }
  }
});

describe('unshared memory', () => {
  let dumper: Dumper;
  beforeAll(async () => {
    dumper = await createDumper({ workers: 2 });
  });
  afterAll(() => dumper.close());

  it('is compared, both sides, and the first difference is found', async () => {
    const left = guestOf(privateMemory(LENGTH / 0x10000));
    const right = guestOf(new ArrayBuffer(LENGTH));
    expect((await dumper.compare(left.space, right.space)).equal).toBe(true);
    right.ram()[LENGTH - 9] = 1;
    right.ram()[5 * PAGE_SIZE + 9] = 201;
    for (const [a, b] of [
      [left, right],
      [right, left],
    ] as const) {
      const { equal, difference } = await dumper.compare(a.space, b.space);
      expect([equal, difference?.address]).toEqual([false, AT + 5 * PAGE_SIZE + 9]);
    }
  });

  it('is restored in place by any number of workers', async () => {
    const guest = guestOf(privateMemory(LENGTH / 0x10000));
    const before = Uint8Array.from(guest.ram());
    const sink = memorySink();
    await dumper.dump(guest.space, { to: sink });
    const image = await openImage(sink.image);
    for (const workers of [1, 2, 4]) {
      const other = await createDumper({ workers });
      guest.ram().fill(workers);
      guest.space.dirty.start();
      await other.restore(image, guest.machine, { into: guest.space });
      expect(Buffer.compare(guest.ram(), before)).toBe(0);
      expect(guest.space.dirty.take()).toContainEqual({ start: AT, end: AT + LENGTH + MiB });
      await other.close();
    }
    await image.close();
  });

  it('is stored once for all address spaces that show it at one address', async () => {
    const guest = guestOf(new ArrayBuffer(LENGTH));
    const other = guest.machine.createAddressSpace();
    other.mapFrames({ bank: 1, length: LENGTH / 2, prot: 'r', address: AT });
    const shared = guestOf(new SharedArrayBuffer(LENGTH));
    const second = shared.machine.createAddressSpace();
    second.mapFrames({ bank: 1, length: LENGTH / 2, prot: 'r', address: AT });
    const [a, b] = [memorySink(), memorySink()];
    const report = await dumper.dump([guest.space, other], { to: a });
    await dumper.dump([shared.space, second], { to: b });
    expect(report.mms[1]!.pages.clone).toBeGreaterThan(0);
    expect(Buffer.compare(bytesOf(a.image), bytesOf(b.image))).toBe(0);
    expect((await verifyImage(a.image)).problems).toEqual([]);
  });

  it('leaves the event loop of its owner running, which may store and grow it', async () => {
    const memory = privateMemory(LENGTH / 0x10000);
    const guest = guestOf(memory);
    for (const freeze of [true, false]) {
      const sink = memorySink();
      let isOver = false;
      let turns = 0;
      const turn = (): void => {
        turns++;
        if (turns % 8 === 1 && turns < 64) memory.grow(1);
        guest.ram()[(turns * 4099) % LENGTH] = turns;
        if (!isOver) setImmediate(turn);
      };
      turn();
      await dumper.dump(guest.space, { to: sink, freeze });
      isOver = true;
      expect(turns).toBeGreaterThan(1);
      expect((await verifyImage(sink.image)).problems).toEqual([]);
      const image = await openImage(sink.image);
      isOver = false;
      turns = 0;
      turn();
      await dumper.restore(image, guest.machine, { into: guest.space });
      isOver = true;
      expect(turns).toBeGreaterThan(1);
      await image.close();
    }
  });
});

describe('a job on unshared memory that ends early', () => {
  /** The next jobs on the same machine are right. */
  async function recovers(guest: Guest, dumper: Dumper): Promise<void> {
    const sink = memorySink();
    await dumper.dump(guest.space, { to: sink });
    expect((await verifyImage(sink.image)).problems).toEqual([]);
    expect((await dumper.compare(guest.space, twinOf(guest))).equal).toBe(true);
  }

  it('is stopped by its signal and by its time limit', async () => {
    const guest = guestOf(new ArrayBuffer(LENGTH));
    const dumper = await createDumper({ workers: 2 });
    const sink = memorySink();
    for (const job of [
      (signal: AbortSignal) => dumper.dump(guest.space, { to: sink, signal }),
      (signal: AbortSignal) => dumper.compare(guest.space, guest.space, { signal }),
    ]) {
      const stop = new AbortController();
      setImmediate(() => stop.abort());
      await expect(job(stop.signal)).rejects.toMatchObject({ code: 'ABORT_ERR' });
    }
    const timed = dumper.dump(guest.space, { to: sink, timeoutMs: 0.01 });
    await expect(timed).rejects.toMatchObject({ code: 'TIMEOUT' });
    await recovers(guest, dumper);
    const aborting = new AbortController();
    const progress = dumper.dump(guest.space, {
      to: memorySink(),
      signal: aborting.signal,
      onProgress: () => aborting.abort(),
    });
    await expect(progress).rejects.toMatchObject({ code: 'ABORT_ERR' });
    await recovers(guest, dumper);
    await dumper.close();
  });

  it('ends when the memory goes away, with the reason and without an image', async () => {
    const buffer = new ArrayBuffer(LENGTH);
    const guest = guestOf(buffer);
    const dumper = await createDumper({ workers: 2 });
    const path = join(folder, 'gone.cpt');
    let isGone = false;
    const drop = (): void => {
      if (!isGone) structuredClone(buffer, { transfer: [buffer] });
      isGone = true;
    };
    const job = dumper.dump(guest.space, { to: fileSink(path), onCaptured: () => {} });
    drop();
    await expect(job).rejects.toMatchObject({ code: 'BANK_UNREACHABLE' });
    await expect(job).rejects.toThrow(/bank 1 of the machine: its memory has 0 bytes left/);
    expect(() => readFileSync(path)).toThrow(/ENOENT/);
    const again = dumper.dump(guest.space, { to: fileSink(path) });
    await expect(again).rejects.toMatchObject({ code: 'BANK_UNREACHABLE' });
    await dumper.close();
  });

  it('lets the machine close when it is over', async () => {
    const guest = guestOf(new ArrayBuffer(LENGTH));
    const dumper = await createDumper({ workers: 1 });
    const sink = memorySink();
    const job = dumper.dump(guest.space, { to: sink });
    let isOver = false;
    void job.finally(() => {
      isOver = true;
    });
    const isFrozen = (): boolean => {
      return codeOf(() => guest.space.fill(AT + LENGTH + MiB, 1, 0)) === 'EAGAIN';
    };
    while (!isOver && !isFrozen()) await nextTurn();
    await Promise.all([job, guest.machine.close()]);
    expect((await verifyImage(sink.image)).problems).toEqual([]);
    await dumper.close();
  });

  it.each([
    ['unit', 2],
    ['sized', 1],
    ['placed', 1],
  ] as const)('goes on with a new thread: a worker ends at %s, %i', async (point, workers) => {
    const guest = guestOf(privateMemory(LENGTH / 0x10000));
    const faults: FaultPlan = { armed: undefined };
    const dumper = await createDumper({ workers, faults } as object);
    faults.armed = armFaults([{ point, nth: 2, action: { kind: 'exit' } }]);
    const job = dumper.dump(guest.space, { to: memorySink() });
    await expect(job).rejects.toMatchObject({ code: 'WORKER_LOST' });
    faults.armed = undefined;
    await recovers(guest, dumper);
    faults.armed = armFaults([{ point: 'unit', phase: 'load', nth: 2, action: { kind: 'exit' } }]);
    const sink = memorySink();
    const before = Uint8Array.from(guest.ram());
    await dumper.dump(guest.space, { to: sink });
    const image = await openImage(sink.image);
    guest.ram().fill(1);
    const restore = (): Promise<unknown> => {
      return dumper.restore(image, guest.machine, { into: guest.space });
    };
    await expect(restore()).rejects.toMatchObject({ code: 'WORKER_LOST' });
    await restore();
    expect(Buffer.compare(guest.ram(), before)).toBe(0);
    await image.close();
    await dumper.close();
  });
});

describe('other threads', () => {
  it('cannot dump, compare or restore, and are told so', async () => {
    const guest = guestOf(new ArrayBuffer(LENGTH));
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads');
       (async () => {
         const { attach, createDumper, memorySink } = await import(workerData.mmdump);
         const space = attach(workerData.handle);
         const dumper = await createDumper({ workers: 1 });
         const told = [];
         for (const job of [
           () => dumper.dump(space, { to: memorySink() }),
           () => dumper.dump(space, { to: memorySink(), freeze: false }),
           () => dumper.estimate(space),
           () => dumper.compare(space, space),
         ]) {
           await job().then(() => told.push('nothing'), ({ code, message }) => {
             told.push(code + ' ' + message);
           });
         }
         await dumper.close();
         parentPort.postMessage(told);
       })();`,
      {
        eval: true,
        workerData: { handle: guest.space.handle, mmdump: import.meta.resolve('mmdump') },
      },
    );
    const told = await new Promise<string[]>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    await worker.terminate();
    expect(told).toHaveLength(4);
    for (const line of told) {
      expect(line).toMatch(/^BANK_UNREACHABLE bank 1 of the machine is memory that is not shared/);
    }
  });
});
