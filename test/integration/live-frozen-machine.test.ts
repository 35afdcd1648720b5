/** Imports into a machine that is frozen: they wait, and leave nothing behind when they fail. */
import {
  createDumper,
  createMachine,
  type Freeze,
  importProcess,
  type Machine,
  MiB,
  memorySink,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LiveFixture } from '../support/live/capture.ts';
import { failure, freshMachine } from '../support/live/failures.ts';
import type { LiveProcess } from '../support/live/live-process.ts';
import { threadStates, until } from '../support/live/proc.ts';

const fixture = new LiveFixture();
beforeAll(() => fixture.start());
afterAll(() => fixture.close());

/** More tries than a machine has address spaces. */
const TRIES = 70;

/** Starts a small process that needs no compiler. */
async function startSmall(): Promise<LiveProcess> {
  return await fixture.workshop.startReady(['sh', '-c', 'echo ready; read line']);
}

describe('fault 2: an import into a frozen machine', () => {
  it('waits until the machine is thawed, and then succeeds', async () => {
    const live = await startSmall();
    const machine = createMachine({ memory: 64 * MiB });
    const freeze = await machine.freeze();
    const importing = importProcess(machine, live.pid, { dumper: fixture.dumper });
    await until('the import has stopped it', () => /^T+$/.test(threadStates(live.pid)));
    freeze.thaw();
    const { mms } = await importing;
    expect(mms[0]!.vmas().length).toBeGreaterThan(5);
    await live.kill();
  });

  it('takes turns with dumps of the same machine', async () => {
    const live = await startSmall();
    const machine = createMachine({ memory: 64 * MiB });
    const { mms } = await importProcess(machine, live.pid, { dumper: fixture.dumper });
    const other = await createDumper({ workers: 1 });
    for (let round = 0; round < 10; round++) {
      const dumping = other.dump(mms[0]!, { to: memorySink() });
      const again = await importProcess(machine, live.pid, { dumper: fixture.dumper });
      await machine.destroyAddressSpaceAsync(again.mms[0]!);
      expect((await dumping).mms).toHaveLength(1);
    }
    await other.close();
    await live.kill();
  });

  /** Aborts an import while the machine is frozen, and thaws it once the process goes on. */
  async function abortWhileFrozen(machine: Machine, { pid }: LiveProcess): Promise<unknown> {
    const controller = new AbortController();
    const { signal } = controller;
    let freezing: Promise<Freeze> | undefined;
    const onProgress = (): void => {
      freezing ??= machine.freeze();
      controller.abort();
    };
    const options = { dumper: fixture.dumper, signal, onProgress };
    const failed = failure(importProcess(machine, pid, options));
    await until('it is aborted', () => signal.aborted);
    const freeze = await freezing!;
    await until('the process goes on', () => /^[RSD]+$/.test(threadStates(pid)));
    // it cannot be given back while the machine is frozen
    expect(machine.addressSpaces()).toHaveLength(1);
    freeze.thaw();
    return await failed;
  }

  it(`gives everything back ${TRIES} times when it is aborted while the machine is frozen`, async () => {
    const live = await startSmall();
    const { machine, expectUntouched } = freshMachine(64 * MiB);
    for (let tried = 0; tried < TRIES; tried++) {
      const error = await abortWhileFrozen(machine, live);
      expect(error).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR' });
    }
    expectUntouched();
    const { mms } = await importProcess(machine, live.pid, { dumper: fixture.dumper });
    expect(mms).toHaveLength(1);
    await live.kill();
  });

  it('lets the process go on and takes nothing when it is aborted before it began to load', async () => {
    const live = await startSmall();
    const { machine, expectUntouched } = freshMachine(64 * MiB);
    const freeze = await machine.freeze();
    const controller = new AbortController();
    const { signal } = controller;
    const failed = failure(importProcess(machine, live.pid, { dumper: fixture.dumper, signal }));
    await until('the import has stopped it', () => /^T+$/.test(threadStates(live.pid)));
    controller.abort();
    expect(await failed).toMatchObject({ name: 'AbortError' }); // although the machine is frozen
    expect(threadStates(live.pid)).toMatch(/^[RSD]+$/);
    freeze.thaw();
    expectUntouched();
    await live.kill();
  });
});
