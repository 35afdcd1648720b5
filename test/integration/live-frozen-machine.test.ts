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
import { Lab } from '../support/live/capture.ts';
import { failure, freshMachine } from '../support/live/failures.ts';
import { threadStates, until } from '../support/live/proc.ts';
import type { Target } from '../support/live/target.ts';

const lab = new Lab();
beforeAll(() => lab.start());
afterAll(() => lab.close());

/** More tries than a machine has address spaces. */
const TRIES = 70;

/** Starts a small process that needs no compiler. */
async function startSmall(): Promise<Target> {
  return await lab.workshop.startReady(['sh', '-c', 'echo ready; read line']);
}

describe('fault 2: an import into a frozen machine', () => {
  it('waits until the machine is thawed, and then succeeds', async () => {
    const target = await startSmall();
    const machine = createMachine({ memory: 64 * MiB });
    const freeze = await machine.freeze();
    const importing = importProcess(machine, target.pid, { dumper: lab.dumper });
    await until('the import has stopped it', () => /^T+$/.test(threadStates(target.pid)));
    freeze.thaw();
    const { mms } = await importing;
    expect(mms[0]!.vmas().length).toBeGreaterThan(5);
    await target.kill();
  });

  it('takes turns with dumps of the same machine', async () => {
    const target = await startSmall();
    const machine = createMachine({ memory: 64 * MiB });
    const { mms } = await importProcess(machine, target.pid, { dumper: lab.dumper });
    const other = await createDumper({ workers: 1 });
    for (let round = 0; round < 10; round++) {
      const dumping = other.dump(mms[0]!, { to: memorySink() });
      const again = await importProcess(machine, target.pid, { dumper: lab.dumper });
      await machine.destroyAddressSpaceAsync(again.mms[0]!);
      expect((await dumping).mms).toHaveLength(1);
    }
    await other.close();
    await target.kill();
  });

  /** Aborts an import while the machine is frozen, and thaws it once the process goes on. */
  async function abortWhileFrozen(machine: Machine, { pid }: Target): Promise<unknown> {
    const controller = new AbortController();
    const { signal } = controller;
    let freezing: Promise<Freeze> | undefined;
    const onProgress = (): void => {
      freezing ??= machine.freeze();
      controller.abort();
    };
    const options = { dumper: lab.dumper, signal, onProgress };
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
    const target = await startSmall();
    const { machine, expectUntouched } = freshMachine(64 * MiB);
    for (let tried = 0; tried < TRIES; tried++) {
      const error = await abortWhileFrozen(machine, target);
      expect(error).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR' });
    }
    expectUntouched();
    const { mms } = await importProcess(machine, target.pid, { dumper: lab.dumper });
    expect(mms).toHaveLength(1);
    await target.kill();
  });

  it('lets the process go on and takes nothing when it is aborted before it began to load', async () => {
    const target = await startSmall();
    const { machine, expectUntouched } = freshMachine(64 * MiB);
    const freeze = await machine.freeze();
    const controller = new AbortController();
    const { signal } = controller;
    const failed = failure(importProcess(machine, target.pid, { dumper: lab.dumper, signal }));
    await until('the import has stopped it', () => /^T+$/.test(threadStates(target.pid)));
    controller.abort();
    expect(await failed).toMatchObject({ name: 'AbortError' }); // although the machine is frozen
    expect(threadStates(target.pid)).toMatch(/^[RSD]+$/);
    freeze.thaw();
    expectUntouched();
    await target.kill();
  });
});
