/**
 * A sink in the hands of one dump, and between two dumps.
 *
 * Invariants checked: a sink serves one dump at a time, whatever its kind and its author; a second
 * dump is refused, and the first is not disturbed · a sink is free again when its dump is over,
 * however that ended · nothing that happens after the commit takes an image back.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import {
  createDumper,
  createWorkload,
  type Dumper,
  fileSink,
  MiB,
  memorySink,
  type Sink,
  splitSink,
  streamSink,
  type Workload,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let folder: string;
let workload: Workload;
let dumpers: readonly [Dumper, Dumper];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-one-dump-'));
  workload = await createWorkload('mixed', { size: MiB });
  dumpers = [await createDumper({ workers: 1 }), await createDumper({ workers: 1 })];
});
afterAll(async () => {
  for (const dumper of dumpers) await dumper.close();
  rmSync(folder, { recursive: true });
});

const taking = (): Writable => new Writable({ write: (_chunk, _encoding, done) => done() });

/** A sink from outside the package: it takes the image and keeps nothing of its own. */
function foreignSink(): Sink {
  const inner = memorySink();
  return {
    kind: 'memory',
    path: null,
    open: () => inner.open(),
    reserve: (extent) => inner.reserve(extent),
    commit: (image) => inner.commit(image),
    abort: () => inner.abort(),
  };
}

const KINDS: readonly (readonly [string, () => Sink])[] = [
  ['memory', () => memorySink()],
  ['file', () => fileSink(join(folder, 'file.cpt'), { force: true })],
  ['split', () => splitSink(join(folder, 'split.cpt'), { parts: 2, force: true })],
  ['stream', () => streamSink(taking(), { end: false })],
  ['foreign', foreignSink],
];

describe('fault 4: a sink is refused to a second dump while one has it', () => {
  it.each(KINDS)('%s', async (_name, make) => {
    const to = make();
    const first = dumpers[0].dump(workload.space, { to });
    const second = dumpers[1].dump(workload.space, { to });
    const message = /is being written by another dump$/;
    await expect(second).rejects.toMatchObject({ code: 'OUTPUT_FAILED', message });
    const { image } = await first;
    const again = await dumpers[1].dump(workload.space, { to });
    expect(again.image).toMatchObject({ bytes: image.bytes, id: image.id });
  });

  it('two sinks of one stream', async () => {
    const stream = taking();
    const sinks = [streamSink(stream, { end: false }), streamSink(stream, { end: false })] as const;
    const first = dumpers[0].dump(workload.space, { to: sinks[0] });
    const second = dumpers[1].dump(workload.space, { to: sinks[1] });
    await expect(second).rejects.toMatchObject({ code: 'OUTPUT_FAILED' });
    await first;
    await dumpers[1].dump(workload.space, { to: sinks[1] });
  });

  it.each([
    ['the open fails', { open: () => Promise.reject(new Error('no')) }],
    ['the commit fails', { commit: () => Promise.reject(new Error('no')) }],
    [
      'it throws instead of rejecting',
      {
        open: () => {
          throw new Error('no');
        },
      },
    ],
  ])('but is free again after a dump of which %s', async (_what, broken) => {
    const sink = foreignSink();
    const original = { ...sink };
    Object.assign(sink, broken);
    await expect(dumpers[0].dump(workload.space, { to: sink })).rejects.toThrow('no');
    Object.assign(sink, original);
    await dumpers[1].dump(workload.space, { to: sink });
  });

  it('estimates have no output, so many can be made at once', async () => {
    const [left, right] = await Promise.all(dumpers.map((each) => each.estimate(workload.space)));
    expect(left!.image.bytes).toBe(right!.image.bytes);
  });
});

describe('fault 11: what fails after the commit leaves the image', () => {
  it('a sink that cannot say what it has written', async () => {
    const path = join(folder, 'whole.cpt');
    const inner = fileSink(path);
    let isCommitted = false;
    let aborts = 0;
    const to: Sink = {
      kind: 'file',
      path,
      get parts(): number {
        if (isCommitted) throw new Error('the report fails');
        return 1;
      },
      open: () => inner.open(),
      reserve: (extent) => inner.reserve(extent),
      async commit(image) {
        await inner.commit(image);
        isCommitted = true;
      },
      async abort() {
        aborts++;
        await inner.abort();
      },
    };
    await expect(dumpers[0].dump(workload.space, { to })).rejects.toThrow('the report fails');
    expect(aborts).toBe(0);
    expect(existsSync(path)).toBe(true);
    expect(await dumpers[0].verify(path)).toMatchObject({ ok: true });
    expect(readFileSync(path).length).toBeGreaterThan(0);
  });
});

describe('trial 15: the report of a dump says how long the machine stood still', () => {
  it('and that is no time at all if it went on', async () => {
    const { ms } = await dumpers[0].dump(workload.space, { to: memorySink(), freeze: false });
    expect(ms.pause).toBe(0);
    expect(ms.locked).toBeGreaterThan(0);
    expect(ms.locked).toBeLessThanOrEqual(ms.total);
  });

  it('else as long as the locks were held', async () => {
    const { ms } = await dumpers[0].dump(workload.space, { to: memorySink() });
    expect(ms.pause).toBeGreaterThan(0);
    expect(ms.pause).toBe(ms.locked);
  });
});
