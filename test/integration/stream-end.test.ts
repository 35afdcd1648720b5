/**
 * Streams that fail late: after they have taken every byte of an image.
 *
 * Invariants checked: a dump resolves only if the stream has taken the image and, unless it is to
 * stay open, has ended without an error · otherwise there is one OUTPUT_FAILED with the stream's
 * own reason, and no listener of the sink is left on the stream.
 */
import { createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex, Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { createDumper, createWorkload, type Dumper, MiB, streamSink, type Workload } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let workload: Workload;
let dumper: Dumper;
let imageBytes = 0;
beforeAll(async () => {
  workload = await createWorkload('mixed', { size: MiB });
  dumper = await createDumper({ workers: 1 });
  imageBytes = (await dumper.estimate(workload.space)).image.bytes;
});
afterAll(() => dumper.close());

const refused = (): Error => Object.assign(new Error('ENOSPC: refused'), { code: 'ENOSPC' });

async function expectFailure(stream: Writable, end: boolean, message: RegExp): Promise<void> {
  stream.on('error', () => {}); // its owner may listen as well
  const to = streamSink(stream, { name: 'the upload', end });
  const dump = dumper.dump(workload.space, { to });
  await expect(dump).rejects.toMatchObject({ code: 'OUTPUT_FAILED', message });
  expect(stream.listenerCount('finish')).toBe(0);
  expect(workload.space.mm.lock.holders()).toEqual({ readers: 0, writers: 0 });
}

/**
 * Buffers the whole image, takes one turn of the event loop per write, and fails the last write.
 */
function failsLastWrite(fail: (stream: Writable, done: (error: Error) => void) => void): Writable {
  let taken = 0;
  return new Writable({
    highWaterMark: 2 ** 30,
    async write(chunk: Buffer, _encoding, done) {
      await turn();
      taken += chunk.length;
      if (taken < imageBytes) done();
      else fail(this, done);
    },
  });
}

describe('fault 1: a dump fails with OUTPUT_FAILED if its stream fails at the end', () => {
  const ends: readonly (readonly [string, () => Writable])[] = [
    [
      'an async final rejects',
      () =>
        new Writable({
          write: (_chunk, _encoding, done) => done(),
          async final(done) {
            await turn();
            done(refused());
          },
        }),
    ],
    [
      'the last write fails after an await',
      () => failsLastWrite((_stream, done) => done(refused())),
    ],
    [
      'destroy fails, as close(2) of a file may',
      () =>
        new Writable({
          write: (_chunk, _encoding, done) => done(),
          destroy: (_error, done) => setImmediate(done, refused()),
        }),
    ],
    [
      'trial 5: a web stream refuses to close',
      () =>
        Writable.fromWeb(
          new WritableStream({
            close() {
              throw refused();
            },
          }),
        ),
    ],
    [
      'trial 5: a web stream refuses its last chunk late',
      () => {
        let chunks = 0;
        return Writable.fromWeb(
          new WritableStream({
            async write() {
              await turn();
              if (++chunks > 1) throw refused();
            },
          }),
        );
      },
    ],
    [
      'the writable half of a duplex stream fails',
      () =>
        new Duplex({
          read() {},
          write: (_chunk, _encoding, done) => done(),
          final: (done) => setImmediate(done, refused()),
        }),
    ],
  ];
  it.each(ends)('%s', async (_what, make) => {
    await expectFailure(make(), true, /^the upload cannot be written: .*refused/);
  });

  it('somebody destroys the stream while it ends', async () => {
    const stream: Writable = new Writable({
      write: (_chunk, _encoding, done) => done(),
      final: () => void setImmediate(() => stream.destroy()),
    });
    await expectFailure(stream, true, /^the upload cannot be written: it was closed/);
  });

  it.each([
    ['fails', (_stream: Writable, done: (error: Error) => void) => done(refused()), /refused/],
    [
      'never calls back, and the stream is closed',
      (stream: Writable) => void stream.destroy(),
      /it was closed/,
    ],
  ] as const)('a stream that stays open and whose last write %s', async (_what, fail, message) => {
    await expectFailure(failsLastWrite(fail), false, message);
  });

  it('a file that cannot be written to the end, through a stream of Node', async () => {
    await expectFailure(createWriteStream('/dev/full'), true, /ENOSPC/);
  });
});

it('fault 1: a stream that stays open gets the bytes of the image and no empty chunk', async () => {
  const lengths: number[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lengths.push(chunk.length);
      setImmediate(done);
    },
  });
  const report = await dumper.dump(workload.space, { to: streamSink(stream, { end: false }) });
  expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(report.image.bytes);
  expect(lengths).not.toContain(0);
  expect(stream.listenerCount('error')).toBe(0);
});

it('fault 1: a dump resolves only when the file behind the stream is closed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'mmdump-stream-end-'));
  try {
    const stream = createWriteStream(join(folder, 'image.cpt'));
    await dumper.dump(workload.space, { to: streamSink(stream) });
    expect(stream.closed).toBe(true);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
