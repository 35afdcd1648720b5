/**
 * Imports that are impossible, or fail in the middle: there is one error with a code, the process
 * goes on, and nothing is left.
 */

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createMachine, fileSink, importProcess, MiB, MmdumpError } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LiveFixture } from '../support/live/capture.ts';
import { failure, freshMachine, startLarge } from '../support/live/failures.ts';
import { mmdumpUrl } from '../support/live/live-process.ts';
import { isReadable, statField, threadStates, until, untilNow } from '../support/live/proc.ts';

const fixture = new LiveFixture();
beforeAll(() => fixture.start());
afterAll(() => fixture.close());

describe('what cannot be imported', () => {
  async function expectRefusal(pid: number, ...codes: readonly string[]): Promise<void> {
    const { machine, expectUntouched } = freshMachine(64 * MiB);
    const error = await failure(importProcess(machine, pid, { dumper: fixture.dumper }));
    expect(error).toBeInstanceOf(MmdumpError);
    const { code, message } = error as MmdumpError;
    expect(codes, message).toContain(code);
    expect(message).toContain(String(pid));
    expectUntouched();
  }

  it('a pid that no process has', async () => {
    await expectRefusal(4_194_305, 'PROCESS_NOT_FOUND'); // larger than any pid of Linux
  });

  it.for([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])('the pid %s', async (pid) => {
    await expectRefusal(pid, 'OPTION_INVALID');
  });

  it('this very process', async () => {
    await expectRefusal(process.pid, 'OPTION_INVALID');
  });

  it('a zombie', async (context) => {
    const program = fixture.workshop.cProgram();
    if (program === undefined) context.skip('there is no C compiler');
    const live = await fixture.workshop.start([program!, 'zombie']);
    const [line] = await live.ready();
    const pid = Number(line!.split(' ')[1]);
    expect(statField(pid, 3)).toBe('Z');
    await expectRefusal(pid, 'PROCESS_GONE');
    await live.kill();
  });

  it('a thread of the kernel', async (context) => {
    const isKernel = isReadable('/proc/2/comm') && readFileSync('/proc/2/comm', 'latin1');
    if (isKernel !== 'kthreadd\n') context.skip('no thread of the kernel is to be seen');
    await expectRefusal(2, 'PROCESS_GONE', 'PROCESS_DENIED');
  });

  it('a process of somebody else, without privilege', async (context) => {
    if (process.getuid!() === 0) context.skip('root may read every process');
    if (statSync('/proc/1').uid === process.getuid!()) context.skip('process 1 is ours here');
    await expectRefusal(1, 'PROCESS_DENIED');
  });
});

describe('an import that fails in the middle', () => {
  const workingDirectory = fixture.workshop.newDirectory();

  /** Asserts that the fixture's dumper still works, and writes only what it is asked to. */
  async function expectUsable(): Promise<void> {
    const live = await fixture.workshop.startReady(['sh', '-c', 'echo ready; read line']);
    const machine = createMachine({ memory: 64 * MiB });
    const { mms } = await importProcess(machine, live.pid, { dumper: fixture.dumper });
    const path = join(workingDirectory, 'after.cpt');
    await fixture.dumper.dump(mms[0]!, { to: fileSink(path, { force: true }) });
    expect(readdirSync(workingDirectory)).toEqual(['after.cpt']);
    await live.kill();
  }

  it('a machine that is too small: ENOMEM, and the process goes on', async () => {
    const live = await fixture.workshop.startReady(fixture.workshop.nodeCommand());
    const { machine, expectUntouched } = freshMachine(8 * MiB);
    const error = await failure(importProcess(machine, live.pid, { dumper: fixture.dumper }));
    expect(error).toBeInstanceOf(MmdumpError);
    expect(error).toMatchObject({ code: 'ENOMEM', fields: { pid: live.pid } });
    expectUntouched();
    expect(await live.request('ping small')).toMatch(/^pong small /);
    expect(threadStates(live.pid)).toMatch(/^[RSD]+$/);
    await expectUsable();
    await live.kill();
  });

  it('aborted before it began', async () => {
    const live = await fixture.workshop.startReady(fixture.workshop.nodeCommand());
    const { machine, expectUntouched } = freshMachine(256 * MiB);
    const signal = AbortSignal.abort();
    const error = await failure(
      importProcess(machine, live.pid, { dumper: fixture.dumper, signal }),
    );
    expect(error).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR' });
    expectUntouched();
    expect(await live.request('ping early')).toMatch(/^pong early /);
    await live.kill();
  });

  it('aborted as soon as the process stands still', async () => {
    const live = await startLarge(fixture, 256);
    const { machine, expectUntouched } = freshMachine(512 * MiB);
    const controller = new AbortController();
    const { signal } = controller;
    const failed = failure(importProcess(machine, live.pid, { dumper: fixture.dumper, signal }));
    await until('the import has stopped it', () => /^T+$/.test(threadStates(live.pid)));
    controller.abort();
    expect(await failed).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR' });
    expectUntouched();
    expect(await live.request('ping abort')).toMatch(/^pong abort /);
    await expectUsable();
    await live.kill();
  });

  /** Aborts while pages are loaded. Returns false if the process was too small for that. */
  async function abortWhileLoading(mib: number): Promise<boolean> {
    const live = await startLarge(fixture, mib);
    const { machine, expectUntouched } = freshMachine((mib + 256) * MiB);
    const controller = new AbortController();
    let wasEarly = false;
    const onProgress = (progress: { pages: number; totalPages: number }): void => {
      wasEarly ||= progress.pages < progress.totalPages;
      if (wasEarly) controller.abort();
    };
    const { signal } = controller;
    const imported = importProcess(machine, live.pid, {
      dumper: fixture.dumper,
      signal,
      onProgress,
    });
    const error = await imported.catch((reason: unknown) => reason);
    if (wasEarly) {
      expect(error).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR' });
      expectUntouched();
    }
    expect(await live.request('ping load')).toMatch(/^pong load /);
    await live.kill();
    return wasEarly;
  }

  it('aborted while pages are loaded', async (context) => {
    for (const mib of [256, 512, 1024]) if (await abortWhileLoading(mib)) return;
    context.skip('1 GiB is loaded here before any progress is told');
  });

  it('the process is killed while its pages are loaded: PROCESS_GONE', async () => {
    const live = await startLarge(fixture, 320);
    const { pid } = live;
    const { machine, expectUntouched } = freshMachine(512 * MiB);
    let isAlive = true;
    const onProgress = (): void => {
      if (!isAlive) return;
      isAlive = false;
      process.kill(pid, 'SIGKILL');
      // The process stays a zombie, and is seen as one: this thread runs no turns and so cannot
      // reap it.
      untilNow('it is dead', () => /^Z*$/.test(threadStates(pid)));
    };
    const error = await failure(
      importProcess(machine, pid, { dumper: fixture.dumper, onProgress }),
    );
    expect(error).toBeInstanceOf(MmdumpError);
    expect(error).toMatchObject({ code: 'PROCESS_GONE', fields: { pid } });
    await live.ended();
    expectUntouched();
    await expectUsable();
  });

  it('the process is killed as soon as it stands still: PROCESS_GONE', async () => {
    const live = await startLarge(fixture, 256);
    const { pid } = live;
    const { machine, expectUntouched } = freshMachine(512 * MiB);
    const failed = failure(importProcess(machine, pid, { dumper: fixture.dumper }));
    await until('the import has stopped it', () => /^T+$/.test(threadStates(pid)));
    process.kill(pid, 'SIGKILL');
    const error = await failed;
    expect(error).toBeInstanceOf(MmdumpError);
    expect(error).toMatchObject({ code: 'PROCESS_GONE', fields: { pid } });
    await live.ended();
    expectUntouched();
    await expectUsable();
  });

  it('the importing process exits in the middle: the process goes on', async (context) => {
    const live = await startLarge(fixture, 256);
    const words = fixture.workshop.importerCommand(mmdumpUrl, '', ['--pid', String(live.pid)]);
    const importer = await fixture.workshop.start(words);
    expect(JSON.parse(await importer.line())).toEqual({ pid: live.pid });
    const answer = await importer.request('go').catch(() => 'it has exited');
    if (answer.includes('PROCESS_DENIED')) context.skip('only its parent may read a process here');
    expect(answer).toBe('it has exited');
    await importer.ended();
    expect(await live.request('ping alone')).toMatch(/^pong alone /);
    await live.kill();
  });
});
