/**
 * Signals in the middle of an import. One to the process that is read means that the image is of no
 * single instant; one to the program that reads must not leave the process stopped.
 */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createDumper, createMachine, importProcess, MiB, MmdumpError } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LiveFixture } from '../support/live/capture.ts';
import { failure, freshMachine, startLarge } from '../support/live/failures.ts';
import { threadStates, untilNow } from '../support/live/proc.ts';

const fixture = new LiveFixture();
beforeAll(() => fixture.start());
afterAll(() => fixture.close());

describe('a process that somebody lets go on while it is read', () => {
  it.for([
    ['goes on', false],
    ['was stopped again', true],
  ] as const)('and that %s: PROCESS_RESUMED', async ([, isStoppedAgain]) => {
    const live = await fixture.workshop.startReady(fixture.workshop.nodeCommand());
    const { pid } = live;
    const { machine, expectUntouched } = freshMachine(256 * MiB);
    const onProgress = (): void => {
      process.kill(pid, 'SIGCONT');
      untilNow('it runs', () => !/T/.test(threadStates(pid)));
      if (!isStoppedAgain) return;
      process.kill(pid, 'SIGSTOP');
      untilNow('it stands', () => /^T+$/.test(threadStates(pid)));
    };
    const { dumper } = fixture;
    const error = await failure(importProcess(machine, pid, { dumper, onProgress }));
    expect(error).toBeInstanceOf(MmdumpError);
    expect(error).toMatchObject({ code: 'PROCESS_RESUMED', fields: { pid } });
    expectUntouched();
    expect(await live.request('ping on')).toMatch(/^pong on /);
    await live.kill();
  });

  it('two imports of one process at the same time: no image of two instants', async () => {
    const live = await startLarge(fixture, 128);
    const other = await createDumper({ workers: 1 });
    try {
      const outcomes = await Promise.allSettled(
        [fixture.dumper, other].map((dumper) =>
          importProcess((memory) => createMachine({ memory }), live.pid, { dumper }),
        ),
      );
      const failures = outcomes.filter(({ status }) => status === 'rejected');
      expect(failures.length).toBeLessThan(2);
      for (const outcome of failures) {
        expect(outcome).toMatchObject({ reason: { code: 'PROCESS_RESUMED' } });
      }
      expect(await live.request('ping two')).toMatch(/^pong two /);
    } finally {
      await other.close();
      await live.kill();
    }
  });
});

describe('a program without handlers that a signal ends in the middle', () => {
  const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
  const isLong = process.env.MMDUMP_LONG === '1';

  it.for(isLong ? SIGNALS : SIGNALS.slice(0, 2))(
    '%s: the process that it had stopped goes on',
    async (signal, context) => {
      const live = await startLarge(fixture, 64);
      const program = await fixture.workshop.start(
        fixture.workshop.signalCommand(signal, String(live.pid)),
      );
      const answer = await program.line().catch(() => 'it has ended');
      if (answer === 'PROCESS_DENIED') context.skip('only its parent may read a process here');
      expect(answer).toBe('it has ended');
      expect(await program.ended()).toBe(signal);
      expect(await live.request('ping signal')).toMatch(/^pong signal /);
      expect(threadStates(live.pid)).toMatch(/^[RSD]+$/);
      await live.kill();
    },
  );

  it.for(isLong ? SIGNALS : SIGNALS.slice(2))(
    '%s: its temporary file goes with it',
    async (signal) => {
      const directory = fixture.workshop.newDirectory();
      const command = fixture.workshop.signalCommand(signal, join(directory, 'image.cpt'));
      const program = await fixture.workshop.start(command);
      await expect(program.line()).rejects.toThrow('ended');
      expect(await program.ended()).toBe(signal);
      expect(readdirSync(directory)).toEqual([]);
    },
  );
});
