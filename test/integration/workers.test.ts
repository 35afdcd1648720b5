/**
 * The number of workers: what the report says about it; that threads start when a job is worth them
 * and not before; and that a lost thread is replaced. The image is the same in any case.
 *
 * Node counts the threads: it reports each one that is created.
 */
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type DumperOptions,
  MiB,
  type MmdumpError,
  memorySink,
  streamSink,
} from 'mmdump';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { armFaults, type FaultPlan } from '../../src/shared/faults.ts';
import { bytesOf, imageOf } from '../support/images/images.ts';
import { CLI, CliFolder } from '../support/programs/cli.ts';

const CORES = availableParallelism();

const dumpers: Dumper[] = [];
async function dumperOf(options: DumperOptions = {}): Promise<Dumper> {
  const dumper = await createDumper(options);
  dumpers.push(dumper);
  return dumper;
}

let started = 0;
const count = (): void => {
  started++;
};
beforeAll(() => {
  process.on('worker', count);
});
afterEach(async () => {
  for (const dumper of dumpers.splice(0)) await dumper.close();
  await new Promise(setImmediate); // Node reports a thread a moment after its creation
  started = 0;
});
afterAll(() => {
  process.off('worker', count);
});

async function threadsStarted(): Promise<number> {
  await new Promise(setImmediate);
  return started;
}

/** An address space with `bytes` of pages that are not zero. */
function spaceOf(bytes: number): AddressSpace {
  const space = createMachine({ memory: bytes + 16 * MiB }).createAddressSpace();
  const at = space.mmap({ length: bytes, prot: 'rw', flags: ['private', 'anonymous'] });
  space.fill(at, bytes, 7);
  return space;
}

describe('a dumper that chooses', () => {
  it('starts no thread for a small dump, whose image is that of two threads', async () => {
    const space = spaceOf(MiB / 2);
    const dumper = await dumperOf({ expectedBytes: MiB });
    const sink = memorySink();
    const report = await dumper.dump(space, { to: sink });
    expect(report).toMatchObject({ workers: 1, workersReason: '1: the dump is small (528 KiB)' });
    expect(report.perWorker.map(({ phase, worker }) => [phase, worker])).toEqual([['copy', 0]]);
    expect((await dumper.verify(sink.image)).ok).toBe(true);
    expect(await dumper.compare(space, space)).toMatchObject({ equal: true });
    expect(await threadsStarted()).toBe(0);
    const image = bytesOf(sink.image);
    expect((await imageOf(await dumperOf({ workers: 2 }), space)).equals(image)).toBe(true);
  });

  it('starts a thread before it is used where it was told what comes', async () => {
    await dumperOf();
    expect(await threadsStarted()).toBe(0);
    await dumperOf({ expectedBytes: 20 * MiB });
    expect(await threadsStarted()).toBe(1);
  });

  it('can be closed while its threads start', async () => {
    for (let round = 0; round < 5; round++) {
      const dumper = await createDumper({ workers: 3 });
      await dumper.close();
      await expect(dumper.verify('none')).rejects.toMatchObject({ code: 'DUMPER_CLOSED' });
    }
  });

  it.skipIf(CORES === 1)('starts more for a large dump, and writes while they start', async () => {
    const space = spaceOf(140 * MiB);
    const dumper = await dumperOf();
    let bytes = 0;
    const into = new Writable({
      write(chunk: Buffer, _, done) {
        bytes += chunk.length;
        done();
      },
    });
    const report = await dumper.dump(space, { to: streamSink(into) });
    expect(bytes).toBe(report.image.bytes);
    expect(report.workers).toBe(2);
    expect(report.workersReason).toMatch(/^2: /);
    expect(report.perWorker.filter(({ phase }) => phase === 'copy')).toHaveLength(2);
    expect(await threadsStarted()).toBe(2);
  });

  it.skipIf(CORES === 1)('uses more for many dumps than for one of the same size', async () => {
    const space = spaceOf(20 * MiB);
    const dumper = await dumperOf();
    const sink = memorySink();
    const first = await dumper.dump(space, { to: sink });
    expect(first.workers).toBe(1);
    expect(first.workersReason).toMatch(
      /^1: starting more threads would take longer than it saves \(20\.\d MiB\)/,
    );
    expect(await threadsStarted()).toBe(1);
    // The threads start during the next dump, and a later dump finds them ready.
    let last = await dumper.dump(space, { to: sink });
    while (last.workers === 1) last = await dumper.dump(space, { to: sink });
    expect(last.perWorker.filter(({ phase }) => phase === 'copy')).toHaveLength(last.workers);
  });

  it('has a successor for a thread that is lost', async () => {
    const space = spaceOf(MiB);
    const fault = { point: 'unit', phase: 'copy', nth: 1, action: { kind: 'exit' } } as const;
    const plan: FaultPlan = { armed: armFaults([fault]) };
    const dumper = await dumperOf({ faults: plan });
    const failed = await dumper.dump(space, { to: memorySink() }).catch((error: unknown) => error);
    expect((failed as MmdumpError).code).toBe('WORKER_LOST');
    const expected = await imageOf(await dumperOf({ workers: 1 }), space);
    expect((await imageOf(dumper, space)).equals(expected)).toBe(true);
  });
});

it('a dumper that was asked for workers has them, and says how many had work', async () => {
  const dumper = await dumperOf({ workers: 3 });
  expect(await threadsStarted()).toBe(3);
  const report = await dumper.dump(spaceOf(MiB), { to: memorySink() });
  expect(report).toMatchObject({
    workers: 3,
    workersReason: '3 as asked, of which 1 had work',
  });
});

describe('the command line', () => {
  const folder = new CliFolder();
  afterAll(() => folder.remove());

  /** Runs a command, and returns what it prints and how many threads it has started. */
  function mmdump(...args: string[]): {
    readonly json: { [key: string]: unknown };
    threads: number;
  } {
    const script =
      'let n = 0; process.on("worker", () => n++); ' +
      'process.on("exit", () => process._rawDebug("threads: " + n));';
    const hook = `--import=data:text/javascript,${encodeURIComponent(script)}`;
    const result = folder.run([hook, CLI, ...args, '--json']);
    expect(result.status).toBe(0);
    return {
      json: JSON.parse(result.stdout),
      threads: Number(/threads: (\d+)/.exec(result.stderr)?.[1]),
    };
  }

  it('starts no thread for a small dump, nor to verify it, and says so', () => {
    const small = mmdump('dump', '--workload', 'dense:2M', '-o', 'small.cpt');
    expect(small.json).toMatchObject({
      workers: 1,
      workersReason: '1: the dump is small (2.02 MiB)',
    });
    expect(small.threads).toBe(0);
    const asked = mmdump('dump', '--workload', 'dense:2M', '-o', 'asked.cpt', '--workers', '2');
    expect(asked.json).toMatchObject({ workers: 2 });
    expect(asked.json.workersReason).toMatch(/^2 as asked/);
    expect(asked.threads).toBe(2);
    const [one, two] = ['small.cpt', 'asked.cpt'].map((name) => join(folder.path, name));
    expect(existsSync(one!) && readFileSync(one!).equals(readFileSync(two!))).toBe(true);
    expect(mmdump('verify', 'small.cpt').threads).toBe(0);
  });
});
