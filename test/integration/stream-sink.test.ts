/**
 * The stream sink.
 *
 * Invariants checked:
 *  - the bytes are those of any other sink, for any number of workers, however slow the stream is
 *  - no more of the image is in memory than the slots hold
 *  - a stream that fails or closes fails the dump with one error, and a dump whose stream stalls
 *    can be aborted; the mm is let go, and the dumper works again
 */
import { once } from 'node:events';
import { PassThrough, Writable } from 'node:stream';
import { createGunzip, createGzip } from 'node:zlib';
import {
  createDumper,
  createWorkload,
  type Dumper,
  MiB,
  memorySink,
  streamSink,
  type Workload,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bytesOf } from '../support/images/images.ts';

let workload: Workload;
let dumpers: readonly Dumper[] = [];
let expected: Buffer;

beforeAll(async () => {
  workload = await createWorkload('mixed', { size: 12 * MiB });
  dumpers = await Promise.all([1, 2, 3].map((workers) => createDumper({ workers })));
  const sink = memorySink();
  await dumpers[0]!.dump(workload.space, { to: sink });
  expected = bytesOf(sink.image);
});

afterAll(() => Promise.all(dumpers.map((dumper) => dumper.close())));

/**
 * Keeps what it gets. It takes one turn of the event loop per write, and buffers hardly anything.
 */
class Slow extends Writable {
  readonly chunks: Buffer[] = [];

  constructor() {
    super({ highWaterMark: 1 });
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.chunks.push(chunk);
    setImmediate(done);
  }
}

/** Takes `limit` bytes and then never calls back again. */
class Stalled extends Writable {
  taken = 0;
  readonly #limit: number;
  readonly stalled: Promise<void>;
  #tell: () => void = () => {};

  constructor(limit: number) {
    super({ highWaterMark: 1 });
    this.#limit = limit;
    this.stalled = new Promise((resolve) => {
      this.#tell = resolve;
    });
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.taken += chunk.length;
    if (this.taken < this.#limit) done();
    else this.#tell();
  }
}

async function assertUsable(): Promise<void> {
  const holders = workload.space.mm.lock.holders();
  expect(holders).toEqual({ readers: 0, writers: 0 });
  for (const dumper of dumpers) {
    const sink = memorySink();
    const report = await dumper.dump(workload.space, { to: sink });
    expect(report.image.bytes).toBe(expected.length);
  }
}

describe('the stream sink', () => {
  it('writes the bytes of the other sinks, however many workers there are', async () => {
    for (const dumper of dumpers) {
      const stream = new Slow();
      const report = await dumper.dump(workload.space, { to: streamSink(stream) });
      expect(Buffer.concat(stream.chunks).equals(expected)).toBe(true);
      expect(report.image).toMatchObject({ path: null, bytes: expected.length });
      expect(stream.writableFinished).toBe(true);
    }
  });

  it('goes through a compressor', async () => {
    const gunzip = createGunzip();
    const gzip = createGzip({ level: 1 });
    gzip.pipe(gunzip);
    const parts: Buffer[] = [];
    gunzip.on('data', (part: Buffer) => parts.push(part));
    const ended = once(gunzip, 'end');
    await dumpers[1]!.dump(workload.space, { to: streamSink(gzip) });
    await ended;
    expect(Buffer.concat(parts).equals(expected)).toBe(true);
  });

  it('leaves the stream open if asked, for the next image', async () => {
    const stream = new Slow();
    const sink = streamSink(stream, { end: false });
    await dumpers[1]!.dump(workload.space, { to: sink });
    await dumpers[2]!.dump(workload.space, { to: sink });
    expect(stream.writableEnded).toBe(false);
    expect(Buffer.concat(stream.chunks).equals(Buffer.concat([expected, expected]))).toBe(true);
    expect(stream.listenerCount('error')).toBe(0);
  });

  it('keeps no more than its slots while the stream stalls, and can be aborted then', async () => {
    const stream = new Stalled(3 * MiB);
    const controller = new AbortController();
    const { signal } = controller;
    let done = 0;
    const onProgress = ({ bytes }: { bytes: number }) => {
      done = bytes;
    };
    const dump = dumpers[1]!.dump(workload.space, { to: streamSink(stream), signal, onProgress });
    const failed = expect(dump).rejects.toMatchObject({ code: 'ABORT_ERR' });
    await stream.stalled;
    controller.abort();
    await failed;
    // Two workers have four slots of at most 2 MiB; the rest is what the stream has taken.
    expect(done).toBeLessThanOrEqual(stream.taken + 8 * MiB);
    expect(stream.destroyed).toBe(true);
    await assertUsable();
  });

  it.each([
    ['fails', (stream: Writable) => stream.destroy(new Error('no space left'))],
    ['is closed', (stream: Writable) => stream.destroy()],
  ])('a stream that %s fails the dump with one error', async (_what, end) => {
    for (const dumper of dumpers) {
      let taken = 0;
      const stream = new Writable({
        write(chunk: Buffer, _encoding, done) {
          taken += chunk.length;
          if (taken > 2 * MiB) end(this);
          else done();
        },
      });
      stream.on('error', () => {}); // its creator may listen, too
      await expect(
        dumper.dump(workload.space, { to: streamSink(stream, { name: 'the pipe' }) }),
      ).rejects.toMatchObject({ code: 'OUTPUT_FAILED', message: /^the pipe cannot be written/ });
    }
    await assertUsable();
  });

  it('refuses a stream that has ended, and a second dump at the same time', async () => {
    const ended = new PassThrough();
    ended.end();
    await expect(dumpers[0]!.dump(workload.space, { to: streamSink(ended) })).rejects.toMatchObject(
      { code: 'OUTPUT_FAILED' },
    );
    const sink = streamSink(new Slow());
    const first = dumpers[0]!.dump(workload.space, { to: sink });
    await expect(dumpers[1]!.dump(workload.space, { to: sink })).rejects.toMatchObject({
      code: 'OUTPUT_FAILED',
    });
    await first;
  });
});
