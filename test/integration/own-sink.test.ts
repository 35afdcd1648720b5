/**
 * Sinks that a program has written.
 *
 * Invariants checked: calls come in the order of their offsets, without gaps, in pieces of the length
 * that was asked for, never more than `concurrency` at once · the bytes of a call stay as they are ·
 * the error of a call is that of the dump, and the others are told · a call that never ends stops no
 * stop · targets that a sink cannot have are refused before the first byte, and it is aborted once
 */

import type { CallsTarget, Dumper, ImageExtent, Sink, SinkTarget, Workload } from 'mmdump';
import { createDumper, createWorkload, flattenImage, MiB, memorySink, openImage } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let workload: Workload;
let dumper: Dumper;
let expected: Uint8Array;
beforeAll(async () => {
  workload = await createWorkload('mixed', { size: 6 * MiB });
  dumper = await createDumper({ workers: 2 });
  const sink = memorySink();
  await dumper.dump(workload.space, { to: sink });
  expected = Buffer.concat(sink.image.chunks).subarray(0, sink.image.bytes);
});
afterAll(async () => {
  await dumper.close();
  await workload.machine.close();
});

/** A sink with this target, and the names of the steps that were called. */
function sinkWith(
  target: SinkTarget | ((extent: ImageExtent) => SinkTarget),
  kind: Sink['kind'] = 'stream',
): { readonly to: Sink; readonly steps: string[] } {
  const steps: string[] = [];
  const to: Sink = {
    kind,
    path: null,
    open: async () => void steps.push('open'),
    async reserve(extent) {
      steps.push('reserve');
      return typeof target === 'function' ? target(extent) : target;
    },
    commit: async () => void steps.push('commit'),
    abort: async () => void steps.push('abort'),
  };
  return { to, steps };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('calls', () => {
  it.each([
    [1, 65_536],
    [5, 65_536],
    [3, undefined],
  ])('%i at a time, pieces of %s bytes', async (concurrency, pieceBytes) => {
    const seen: { offset: number; length: number }[] = [];
    const kept: Uint8Array[] = [];
    let running = 0;
    let most = 0;
    let lengthSaid = 0;
    const write = async (bytes: Uint8Array, offset: number): Promise<void> => {
      seen.push({ offset, length: bytes.length });
      kept.push(bytes);
      most = Math.max(most, ++running);
      await turn();
      running--;
    };
    const { to, steps } = sinkWith(({ bytes, isExact }) => {
      lengthSaid = isExact ? bytes : -1;
      return { kind: 'calls', write, concurrency, pieceBytes };
    });
    await dumper.dump(workload.space, { to });
    expect(steps).toEqual(['open', 'reserve', 'commit']);
    expect(lengthSaid).toBe(expected.length);
    let next = 0;
    for (const [index, { offset, length }] of seen.entries()) {
      expect(offset).toBe(next);
      if (pieceBytes !== undefined && index < seen.length - 1) expect(length).toBe(pieceBytes);
      next += length;
    }
    expect(next).toBe(expected.length);
    expect(most).toBeLessThanOrEqual(concurrency);
    expect(Buffer.compare(Buffer.concat(kept), expected)).toBe(0); // looked at after the dump
  });

  it('what a call rejects with, or throws, is what the dump rejects with', async () => {
    const failure = new TypeError('the other side hangs up');
    const told: boolean[] = [];
    const ways: CallsTarget['write'][] = [
      () => Promise.reject(failure),
      () => {
        throw failure;
      },
      async (_bytes, offset, signal) => {
        if (offset > 0) throw failure;
        // The first call is told that another one has failed.
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
        told.push(signal.aborted);
      },
    ];
    for (const write of ways) {
      const { to, steps } = sinkWith({ kind: 'calls', write, concurrency: 2, pieceBytes: 100_000 });
      await expect(dumper.dump(workload.space, { to })).rejects.toBe(failure);
      expect(steps).toEqual(['open', 'reserve', 'abort']);
    }
    await turn();
    expect(told).toEqual([true]);
  });

  it('a failure of the last call counts', async () => {
    const failure = new Error('the last one');
    const write: CallsTarget['write'] = async (bytes, offset) => {
      await turn();
      if (offset + bytes.length === expected.length) throw failure;
    };
    const { to } = sinkWith({ kind: 'calls', write, concurrency: 8 });
    await expect(dumper.dump(workload.space, { to })).rejects.toBe(failure);
  });

  it('a call that never ends does not hold up a dump that is stopped', async () => {
    const controller = new AbortController();
    let signalOfCall: AbortSignal | undefined;
    const write: CallsTarget['write'] = (_bytes, _offset, signal) => {
      signalOfCall = signal;
      controller.abort();
      return new Promise(() => {});
    };
    const { to, steps } = sinkWith({ kind: 'calls', write });
    const dump = dumper.dump(workload.space, { to, signal: controller.signal });
    await expect(dump).rejects.toMatchObject({ code: 'ABORT_ERR' });
    expect(steps).toEqual(['open', 'reserve', 'abort']);
    expect(signalOfCall?.aborted).toBe(true);
    await dumper.dump(workload.space, { to: memorySink() });
  });
});

describe('a path that is only a name', () => {
  it('is no place for the files of a dump', async () => {
    const memory = memorySink();
    const path = 's3://bucket/container';
    const to: Sink = {
      kind: 'memory',
      path,
      open: () => memory.open(),
      reserve: (extent) => memory.reserve(extent),
      commit: (image) => memory.commit(image),
      abort: () => memory.abort(),
    };
    const { image } = await dumper.dump(workload.space, { to, format: 'openvz' });
    expect(image).toMatchObject({ path, format: 'openvz' });
    await (await openImage(memory.image)).close();
  });
});

describe('targets that a sink cannot have', () => {
  const write = async (): Promise<void> => {};
  const buffer = new SharedArrayBuffer(8192);
  const ample = new SharedArrayBuffer(64 * MiB);
  const chunk = { buffer, at: 0, bytes: 8192 };
  it.each<[string, Sink['kind'], unknown, RegExp]>([
    ['none', 'stream', undefined, /undefined: expected a target of kind 'calls'/],
    ['that of another kind', 'file', { kind: 'calls', write }, /expected a target of kind 'file'/],
    ['slots of a stream sink', 'stream', { kind: 'stream' }, /expected a target of kind 'calls'/],
    ['no function', 'stream', { kind: 'calls' }, /write: undefined: expected a function/],
    ['no calls', 'stream', { kind: 'calls', write, concurrency: 0 }, /concurrency: 0: expected/],
    ['empty pieces', 'stream', { kind: 'calls', write, pieceBytes: 0 }, /pieceBytes: 0: expected/],
    [
      'no descriptor',
      'file',
      { kind: 'file', path: 'a', sparse: false },
      /fd: undefined: expected/,
    ],
    [
      'no chunks',
      'memory',
      { kind: 'memory', chunkBytes: 4096 },
      /chunks\[0\]: undefined: expected/,
    ],
    [
      'chunks of no whole pages',
      'memory',
      { kind: 'memory', chunkBytes: 5000, chunks: [chunk] },
      /chunkBytes: 5000: expected a multiple of 4096/,
    ],
    [
      'memory that is too short',
      'memory',
      { kind: 'memory', chunkBytes: 64 * MiB, chunks: [chunk] },
      /chunks\[0\]: bytes: 8192: expected a whole number from/,
    ],
    [
      'memory that is not shared',
      'memory',
      { kind: 'memory', chunkBytes: MiB, chunks: [{ ...chunk, buffer: new ArrayBuffer(MiB) }] },
      /expected an object with a SharedArrayBuffer/,
    ],
    [
      'memory that is not aligned',
      'memory',
      { kind: 'memory', chunkBytes: 64 * MiB, chunks: [{ buffer: ample, at: 2, bytes: 9 }] },
      /at: 2: expected a multiple of 4/,
    ],
  ])('%s', async (_name, kind, target, message) => {
    const { to, steps } = sinkWith(target as SinkTarget, kind);
    await expect(dumper.dump(workload.space, { to })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringMatching(message),
    });
    expect(steps).toEqual(['open', 'reserve', 'abort']);
  });

  it('a kind and a path that no sink has are refused before it is opened', async () => {
    const { to, steps } = sinkWith({ kind: 'calls', write });
    const wrong: [object, RegExp][] = [
      [{ kind: 'sream' }, /kind: 'sream' is not known: did you mean 'stream'/],
      [{ path: undefined }, /path: undefined: expected a string/],
    ];
    for (const [fields, message] of wrong) {
      const dump = dumper.dump(workload.space, { to: { ...to, ...fields } as Sink });
      await expect(dump).rejects.toMatchObject({ code: 'OPTION_INVALID', message });
    }
    expect(steps).toEqual([]);
  });

  it('calls are no place for a flat image, which is not written by workers', async () => {
    const sink = memorySink();
    await dumper.dump(workload.space, { to: sink });
    const image = await openImage(sink.image);
    const { to } = sinkWith({ kind: 'calls', write });
    await expect(flattenImage(image, { to })).rejects.toMatchObject({ code: 'OPTION_INVALID' });
    await image.close();
  });
});
