/**
 * Signals in the middle of an import. One to the process that is read means that the image is of no
 * single instant; one to the program that reads must not leave the process stopped.
 */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createDumper, createMachine, importProcess, MiB, MmdumpError } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from '../support/live/capture.ts';
import { failure, freshMachine, startLarge } from '../support/live/failures.ts';
import { threadStates, untilNow } from '../support/live/proc.ts';

const lab = new Lab();
beforeAll(() => lab.start());
afterAll(() => lab.close());

describe('a process that somebody lets go on while it is read', () => {
  it.for([
    ['goes on', false],
    ['was stopped again', true],
  ] as const)('and that %s: PROCESS_RESUMED', async ([, isStoppedAgain]) => {
    const target = await lab.workshop.startReady(lab.workshop.nodeCommand());
    const { pid } = target;
    const { machine, expectUntouched } = freshMachine(256 * MiB);
    const onProgress = (): void => {
      process.kill(pid, 'SIGCONT');
      untilNow('it runs', () => !/T/.test(threadStates(pid)));
      if (!isStoppedAgain) return;
      process.kill(pid, 'SIGSTOP');
      untilNow('it stands', () => /^T+$/.test(threadStates(pid)));
    };
    const { dumper } = lab;
    const error = await failure(importProcess(machine, pid, { dumper, onProgress }));
    expect(error).toBeInstanceOf(MmdumpError);
    expect(error).toMatchObject({ code: 'PROCESS_RESUMED', fields: { pid } });
    expectUntouched();
    expect(await target.request('ping on')).toMatch(/^pong on /);
    await target.kill();
  });

  it('two imports of one process at the same time: no image of two instants', async () => {
    const target = await startLarge(lab, 128);
    const other = await createDumper({ workers: 1 });
    try {
      const outcomes = await Promise.allSettled(
        [lab.dumper, other].map((dumper) =>
          importProcess((memory) => createMachine({ memory }), target.pid, { dumper }),
        ),
      );
      const failures = outcomes.filter(({ status }) => status === 'rejected');
      expect(failures.length).toBeLessThan(2);
      for (const outcome of failures) {
        expect(outcome).toMatchObject({ reason: { code: 'PROCESS_RESUMED' } });
      }
      expect(await target.request('ping two')).toMatch(/^pong two /);
    } finally {
      await other.close();
      await target.kill();
    }
  });
});

describe('a program without handlers that a signal ends in the middle', () => {
  const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
  const isLong = process.env.MMDUMP_LONG === '1';

  it.for(isLong ? SIGNALS : SIGNALS.slice(0, 2))(
    '%s: the process that it had stopped goes on',
    async (signal, context) => {
      const target = await startLarge(lab, 64);
      const program = await lab.workshop.start(
        lab.workshop.signalCommand(signal, String(target.pid)),
      );
      const answer = await program.line().catch(() => 'it has ended');
      if (answer === 'PROCESS_DENIED') context.skip('only its parent may read a process here');
      expect(answer).toBe('it has ended');
      expect(await program.ended()).toBe(signal);
      expect(await target.request('ping signal')).toMatch(/^pong signal /);
      expect(threadStates(target.pid)).toMatch(/^[RSD]+$/);
      await target.kill();
    },
  );

  it.for(isLong ? SIGNALS : SIGNALS.slice(2))(
    '%s: its temporary file goes with it',
    async (signal) => {
      const directory = lab.workshop.newDirectory();
      const command = lab.workshop.signalCommand(signal, join(directory, 'image.cpt'));
      const program = await lab.workshop.start(command);
      await expect(program.line()).rejects.toThrow('ended');
      expect(await program.ended()).toBe(signal);
      expect(readdirSync(directory)).toEqual([]);
    },
  );
});
