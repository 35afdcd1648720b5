/**
 * Imports that leave pages in the process (`load: 'on-demand'`).
 *
 * Invariants checked: an image is byte for byte that of an import that loads everything · the
 * process stands still until it is let go, and goes on then, whatever happens · nothing that does
 * not show one instant becomes an image.
 */
import { existsSync, readSync } from 'node:fs';
import { join } from 'node:path';
import {
  createMachine,
  fileSink,
  type ImportResult,
  importProcess,
  type Machine,
  MiB,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { imageOf } from '../support/images/images.ts';
import { LiveFixture } from '../support/live/capture.ts';
import { failure, freshMachine, startLarge } from '../support/live/failures.ts';
import { startFamily } from '../support/live/family.ts';
import { isInstalled, type LiveProcess } from '../support/live/live-process.ts';
import { threadStates, withFile } from '../support/live/proc.ts';
import { CliFolder } from '../support/programs/cli.ts';

const fixture = new LiveFixture();
const cli = new CliFolder();
beforeAll(() => fixture.start());
afterAll(async () => {
  await fixture.close();
  cli.remove();
});

const MEMORY = 256 * MiB;

async function onDemand(pids: number | number[], machine: Machine): Promise<ImportResult> {
  return importProcess(machine, pids, { dumper: fixture.dumper, load: 'on-demand' });
}

/** Bytes of the process, read in the slow way. */
function memoryOf(pid: number, address: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  withFile(`/proc/${pid}/mem`, (fd) => readSync(fd, bytes, 0, length, address));
  return bytes;
}

describe('an import on demand', () => {
  it('holds the process still until it is released, and takes little memory', async () => {
    const live = await startLarge(fixture, 64);
    const machine = createMachine({ memory: MEMORY });
    const before = machine.memory.free;
    const imported = await onDemand(live.pid, machine);
    expect(threadStates(live.pid)).toMatch(/^T+$/);
    expect(before - machine.memory.free).toBeLessThan(24 * MiB);
    const [space] = imported.mms;
    const buffer = space!.vmas().find(({ start, end, prot }) => {
      return prot.startsWith('rw') && end - start >= 64 * MiB;
    });
    const bytes = new Uint8Array(PAGE_SIZE);
    space!.read(buffer!.start, bytes);
    expect(Buffer.compare(bytes, memoryOf(live.pid, buffer!.start, PAGE_SIZE))).toBe(0);
    await imported.release();
    expect(threadStates(live.pid)).not.toMatch(/T/);
    await imported.release(); // a second time: nothing happens
    await live.kill();
  });

  it('makes the image that an import of everything makes', async () => {
    const live = await startLarge(fixture, 64);
    await live.stop();
    const now = createMachine({ memory: MEMORY });
    const all = await importProcess(now, live.pid, { dumper: fixture.dumper });
    const expected = await imageOf(fixture.dumper, all.mms);
    const machine = createMachine({ memory: MEMORY });
    const imported = await onDemand(live.pid, machine);
    const { free } = machine.memory;
    const found = await imageOf(fixture.dumper, imported.mms);
    expect(machine.memory.free).toBe(free);
    expect(Buffer.compare(found, expected)).toBe(0);
    expect(await fixture.dumper.compare(imported.mms[0]!, all.mms[0]!)).toMatchObject({
      equal: true,
    });
    await imported.release();
    expect(threadStates(live.pid)).toMatch(/^T+$/); // it was stopped before
    await live.kill();
  });

  it('makes the image of a family that an import of everything makes', async (context) => {
    const family = await startFamily(fixture, 'family');
    if (family === undefined) context.skip('there is no C compiler');
    const { pids } = family!;
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    const all = await importProcess(createMachine({ memory: MEMORY }), pids, {
      dumper: fixture.dumper,
    });
    const imported = await onDemand([...pids], createMachine({ memory: MEMORY }));
    const found = await imageOf(fixture.dumper, imported.mms);
    const expected = await imageOf(fixture.dumper, all.mms);
    expect(Buffer.compare(found, expected)).toBe(0);
    await imported.release();
    for (const pid of pids) process.kill(pid, 'SIGCONT');
  });

  it('leaves shared memory there as well, until it is touched', async (context) => {
    if (!isInstalled('python3')) context.skip('there is no python3');
    const { workshop, dumper } = fixture;
    const live = await workshop.startReady(workshop.sharedCommand(64));
    await live.stop();
    const now = createMachine({ memory: MEMORY });
    const all = await importProcess(now, live.pid, { dumper });
    const machine = createMachine({ memory: MEMORY });
    const before = machine.memory.free;
    const imported = await onDemand(live.pid, machine);
    expect(before - machine.memory.free).toBeLessThan(16 * MiB);
    const [space] = imported.mms;
    const { free } = machine.memory;
    const found = await imageOf(dumper, imported.mms);
    expect(Buffer.compare(found, await imageOf(dumper, all.mms))).toBe(0);
    expect(machine.memory.free).toBe(free);
    const shared = space!.vmas().find(({ prot, start, end }) => {
      return prot === 'rw-s' && end - start >= 64 * MiB;
    });
    const bytes = new Uint8Array(64 * MiB);
    space!.read(shared!.start, bytes);
    expect(Buffer.compare(bytes, Buffer.alloc(64 * MiB, 7))).toBe(0);
    expect(free - machine.memory.free).toBeGreaterThanOrEqual(64 * MiB);
    machine.reclaim(MEMORY);
    expect(free - machine.memory.free).toBeLessThan(MiB);
    expect(await dumper.compare(space!, all.mms[0]!)).toMatchObject({ equal: true });
    await imported.release();
    await live.kill();
  });

  it('ends with the machine: the process goes on', async () => {
    const live = await startLarge(fixture, 64);
    const machine = createMachine({ memory: MEMORY });
    await onDemand(live.pid, machine);
    expect(threadStates(live.pid)).toMatch(/^T+$/);
    await machine.close();
    expect(threadStates(live.pid)).not.toMatch(/T/);
    await live.kill();
  });

  it('is refused of a process that goes on', async () => {
    const live = await startLarge(fixture, 64);
    const { machine, expectUntouched } = freshMachine(MEMORY);
    const options = { dumper: fixture.dumper, load: 'on-demand', freeze: false } as const;
    await expect(importProcess(machine, live.pid, options)).rejects.toMatchObject({
      code: 'OPTION_INVALID',
    });
    expectUntouched();
    expect(threadStates(live.pid)).not.toMatch(/T/);
    await live.kill();
  });

  it('that fails lets the process go on and leaves nothing', async () => {
    const live = await startLarge(fixture, 64);
    const { machine, expectUntouched } = freshMachine(MiB);
    const error = await failure(onDemand(live.pid, machine));
    expect(error).toMatchObject({ code: 'ENOMEM' });
    expectUntouched();
    expect(threadStates(live.pid)).not.toMatch(/T/);
    await live.kill();
  });
});

describe('a dump of pages in a process', () => {
  /** Imports a process on demand, lets `happen` happen to it, and expects no image. */
  async function expectNoImage(
    code: string,
    happen: (live: LiveProcess) => Promise<void>,
  ): Promise<void> {
    const live = await startLarge(fixture, 64);
    const imported = await onDemand(live.pid, createMachine({ memory: MEMORY }));
    await happen(live);
    const path = join(cli.path, `${code}.cpt`);
    await expect(fixture.dumper.dump(imported.mms, { to: fileSink(path) })).rejects.toMatchObject({
      code,
      fields: { pid: live.pid },
    });
    expect(existsSync(path)).toBe(false);
    const [mm] = imported.mms;
    await expect(fixture.dumper.compare(mm!, mm!)).rejects.toMatchObject({ code });
    await expect(imported.release()).rejects.toMatchObject({ code });
    await live.kill();
  }

  it('is PROCESS_GONE if the process was killed, and no image', async () => {
    await expectNoImage('PROCESS_GONE', (live) => live.kill());
  });

  it('is PROCESS_RESUMED if it went on, and no image', async () => {
    await expectNoImage('PROCESS_RESUMED', async (live) => {
      live.resume();
      expect(await live.request('hello')).toBeTypeOf('string');
    });
  });

  it('needs the process until onCaptured, and not while the image is brought to the disk', async () => {
    const live = await startLarge(fixture, 64);
    const imported = await onDemand(live.pid, createMachine({ memory: MEMORY }));
    const path = join(cli.path, 'captured.cpt');
    const seen: string[] = [];
    await fixture.dumper.dump(imported.mms, {
      to: fileSink(path),
      async onCaptured() {
        seen.push(`${existsSync(path)} ${/^T+$/.test(threadStates(live.pid))}`);
        await imported.release();
        seen.push(`${/T/.test(threadStates(live.pid))}`);
      },
    });
    expect(seen).toEqual(['false true', 'false']);
    expect(existsSync(path)).toBe(true);
    await live.kill();
  });

  it('is no image if onCaptured fails', async () => {
    const machine = createMachine({ memory: MEMORY });
    const space = machine.createAddressSpace();
    const path = join(cli.path, 'failed.cpt');
    const onCaptured = async (): Promise<void> => Promise.reject(new Error('no'));
    await expect(fixture.dumper.dump(space, { to: fileSink(path), onCaptured })).rejects.toThrow(
      'no',
    );
    expect(existsSync(path)).toBe(false);
  });

  it('is PROCESS_GONE once the process was let go', async () => {
    const live = await startLarge(fixture, 64);
    const imported = await onDemand(live.pid, createMachine({ memory: MEMORY }));
    await imported.release();
    await expect(imageOf(fixture.dumper, imported.mms)).rejects.toMatchObject({
      code: 'PROCESS_GONE',
      message: expect.stringContaining('it was released'),
    });
    await live.kill();
  });

  it('is what the command line makes, and the process goes on', async () => {
    const live = await startLarge(fixture, 64);
    const path = join(cli.path, 'live.cpt');
    const dumped = cli.mmdump('dump', '--pid', `${live.pid}`, '-o', path, '--json');
    expect(dumped).toMatchObject({ status: 0, stderr: '' });
    const json = JSON.parse(dumped.stdout);
    expect(json.import.ms.stopped).toBeGreaterThan(json.ms.copy);
    expect(threadStates(live.pid)).not.toMatch(/T/);
    expect(cli.mmdump('verify', path).status).toBe(0);
    await live.kill();
  });
});
