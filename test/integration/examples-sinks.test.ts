/**
 * Invariants checked: the sink of examples/http-sink does what every sink has to do, also with a
 * server that is busy · a server that stays busy, or is gone, fails the dump with OUTPUT_FAILED · the
 * example prints that what has arrived is whole
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { createDumper, createWorkload, type Dumper, MiB, type Workload } from 'mmdump';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { sinkConformance } from '../support/sinks/conformance.ts';

const rootUrl = new URL('../../', import.meta.url);
/** A module of the example, which is JavaScript without types. */
const moduleOf = (name: string) => import(new URL(`examples/http-sink/${name}.mjs`, rootUrl).href);
const { HttpSink } = await moduleOf('http-sink');
const { PartServer } = await moduleOf('part-server');

let workload: Workload;
let dumper: Dumper;
beforeAll(async () => {
  workload = await createWorkload('mixed', { size: MiB });
  dumper = await createDumper({ workers: 2 });
});
afterAll(async () => {
  await dumper.close();
  await workload.machine.close();
});

for (const busyEvery of [0, 3]) {
  const name = busyEvery === 0 ? 'the upload' : 'the upload to a server that is busy';
  sinkConformance(name, async () => {
    const server = new PartServer(busyEvery);
    const sink = new HttpSink(await server.listen());
    return {
      sink,
      image: async () => [...server.images.values()].at(-1),
      remains: async () => [...server.uploads.keys()],
      close: () => server.close(),
    };
  });
}

it('a part that is refused again and again fails the dump, and nothing is left', async () => {
  const server = new PartServer(1);
  try {
    const to = new HttpSink(await server.listen(), { attempts: 3 });
    await expect(dumper.dump(workload.space, { to })).rejects.toMatchObject({
      code: 'OUTPUT_FAILED',
      message: expect.stringMatching(/^PUT http.*: 503 busy, attempt 3$/),
    });
    expect([server.images.size, server.uploads.size]).toEqual([0, 0]);
  } finally {
    await server.close();
  }
});

it('a server that is not there fails the dump before it begins', async () => {
  const server = new PartServer();
  const url = await server.listen();
  await server.close();
  const to = new HttpSink(url, { attempts: 2, pauseMs: 1 });
  await expect(dumper.dump(workload.space, { to })).rejects.toMatchObject({
    code: 'OUTPUT_FAILED',
    message: expect.stringMatching(/^POST http/),
  });
});

it('http-sink: the example uploads an image, and what arrives is whole', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['examples/http-sink/run.mjs'], {
    cwd: fileURLToPath(rootUrl),
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const [uploaded, refused, verified] = stdout.trim().split('\n');
  const [, bytes, arrived] = /^uploaded: (\d+) bytes, of which (\d+) have arrived$/.exec(
    uploaded!,
  )!;
  expect(arrived).toBe(bytes);
  const [, parts, again] = /refused: (\d+), and sent again: (\d+)$/.exec(refused!)!;
  expect(Number(parts)).toBeGreaterThan(0);
  expect(again).toBe(parts);
  expect(verified).toBe('verified: whole and undamaged');
});
