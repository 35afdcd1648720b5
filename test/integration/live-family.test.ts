/**
 * Families of live processes: all are stopped at one instant, imported into one machine and dumped
 * as one image. They are compared with /proc, read by other code (test/support/live-*.ts).
 *
 * Invariants checked: every mm has the bytes of its process · what the kernel says is shared is
 * stored once, and nothing else · all processes go on, whatever fails.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import {
  type AddressSpace,
  createMachine,
  type FamilyUsage,
  type Image,
  type ImportResult,
  importProcess,
  type Machine,
  type MemoryImage,
  MiB,
  memorySink,
  readPte,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { LiveFixture } from '../support/live/capture.ts';
import { failure, freshMachine, startLarge } from '../support/live/failures.ts';
import {
  clonesIn,
  familyOf,
  type LiveFamily,
  sharedPages,
  startFamily,
} from '../support/live/family.ts';
import { isInstalled, LiveProcess, stopProcess } from '../support/live/live-process.ts';
import { PAGE, threadStates } from '../support/live/proc.ts';
import { type Reference, readReference } from '../support/live/reference.ts';
import { assertTablesTrue, leaves } from '../support/machine/invariants.ts';
import { CLI, CliFolder, expectFailure } from '../support/programs/cli.ts';

const fixture = new LiveFixture();
const cli = new CliFolder();
beforeAll(() => fixture.start());
afterAll(async () => {
  await fixture.close();
  cli.remove();
});

async function needFamily(context: TestContext, mode: string): Promise<LiveFamily> {
  const family = await startFamily(fixture, mode);
  if (family === undefined) context.skip('there is no C compiler');
  return family!;
}

function states(pids: readonly number[]): string {
  return pids.map(threadStates).join('');
}

interface Subject extends LiveFamily {
  readonly references: readonly Reference[];
  /** For each process, the donor of each shared address. Undefined without privilege. */
  readonly shared: readonly ReadonlyMap<number, number>[] | undefined;
  readonly machine: Machine;
  readonly result: ImportResult;
  readonly sink: MemoryImage;
  readonly image: Image;
}

/** Fills 4 MiB and forks. The child changes a quarter of them, then both processes wait. */
const PYTHON_PAIR = `
import os, signal
pages = bytearray(os.urandom(1 << 22))
ready, done = os.pipe()
if os.fork() == 0:
    pages[:1 << 20] = os.urandom(1 << 20)
    os.write(done, b'x')
    signal.pause()
os.read(ready, 1)
print('ready', flush=True)
signal.pause()
`;

describe('a python3 that has forked', () => {
  it('stores once what the kernel says is shared', async (context) => {
    const live = await LiveProcess.start(['python3', '-c', PYTHON_PAIR]);
    try {
      await live.ready();
      const pids = familyOf(live.pid);
      expect(pids).toHaveLength(2);
      for (const pid of pids) await stopProcess(pid);
      const shared = sharedPages(pids);
      if (shared === undefined) context.skip('no privilege: frames are not shown here');
      const reference = readReference(pids[1]!);
      const { dumper } = fixture;
      const machine = createMachine({ memory: 128 * MiB });
      const { mms } = await importProcess(machine, pids, { dumper });
      const sink = memorySink();
      await dumper.dump(mms, { to: sink });
      const image = await fixture.open(sink.image);
      const expected = [...shared![1]!].filter(
        ([address]) => reference.stored.get(address)?.kind === 'copy',
      );
      expect(expected.length).toBeGreaterThan(768); // at least 3 MiB of the block
      expect(clonesIn(image, 1)).toEqual(new Map(expected));
      const page = Buffer.alloc(PAGE);
      for (const [address, { bytes }] of reference.stored) {
        if (bytes === null) continue;
        await image.read(address, page, { mm: 1 });
        expect(page.equals(bytes), `page ${address.toString(16)}`).toBe(true);
      }
    } finally {
      for (const pid of familyOf(live.pid).reverse()) process.kill(pid, 'SIGKILL');
      await live.kill();
    }
  });
});

describe('a parent, its child and its grandchild', () => {
  let subject: Subject | undefined;

  beforeAll(async () => {
    const family = await startFamily(fixture, 'family');
    if (family === undefined) return;
    const { pids } = family;
    for (const pid of pids) await stopProcess(pid);
    const references = pids.map((pid) => readReference(pid));
    const shared = sharedPages(pids);
    const machine = createMachine({ memory: 128 * MiB });
    const { dumper } = fixture;
    const result = await importProcess(machine, pids[0]!, { dumper, children: true });
    const sink = memorySink();
    await dumper.dump(result.mms, { to: sink });
    const image = await fixture.open(sink.image);
    subject = { ...family, references, shared, machine, result, sink: sink.image, image };
  });

  function need(context: TestContext): Subject {
    if (subject === undefined) context.skip('there is no C compiler');
    return subject!;
  }

  function needShared(context: TestContext): NonNullable<Subject['shared']> {
    const { shared } = need(context);
    if (shared === undefined) context.skip('no privilege: frames are not shown here');
    return shared!;
  }

  it('are the mms in this order, each with the bytes of its process', async (context) => {
    const { pids, result, references, image } = need(context);
    expect(result.processes.map(({ pid }) => pid)).toEqual(pids);
    expect(result.mms.length).toBe(3);
    const page = Buffer.alloc(PAGE);
    for (const [mm, { stored }] of references.entries()) {
      expect(stored.size).toBeGreaterThan(2000);
      for (const [address, { bytes }] of stored) {
        if (bytes === null) continue;
        await image.read(address, page, { mm });
        expect(page.equals(bytes), `mm ${mm}, page ${address.toString(16)}`).toBe(true);
      }
    }
  });

  it('store once what the kernel says is shared, and nothing else', (context) => {
    const shared = needShared(context);
    const { image, references, result } = need(context);
    expect(result.processes.map(({ sharedPages: count }) => count)).toEqual(
      shared.map(({ size }) => size),
    );
    for (const [mm, donors] of shared.entries()) {
      const isStored = (address: number): boolean =>
        references[mm]!.stored.get(address)?.kind === 'copy';
      const expected = [...donors].filter(([address]) => isStored(address));
      expect(clonesIn(image, mm)).toEqual(new Map(expected));
      expect(expected.length).toBeGreaterThan(mm === 0 ? -1 : 1500);
    }
    // For some page, which the child has changed, the grandchild's donor is the child itself.
    expect(new Set(shared[2]!.values())).toEqual(new Set([0, 1]));
  });

  it('show the same frames of the machine, and true counts', (context) => {
    const shared = needShared(context);
    const { machine, result } = need(context);
    const frames = result.mms.map((space) => {
      const all = leaves(machine as never, space as never);
      return new Map(all.map(({ vpn, pfn }) => [vpn * PAGE, pfn]));
    });
    for (const [mm, donors] of shared.entries()) {
      for (const [address, donor] of donors) {
        expect(frames[mm]!.get(address)).toBe(frames[donor]!.get(address));
      }
    }
    assertTablesTrue(machine as never);
  });

  it('keep a 2 MiB leaf that none of them changed', (context) => {
    needShared(context);
    const { result, regions, references } = need(context);
    const { start } = regions.find(({ name }) => name === 'huge')!;
    const untouched = start + 3 * 2 * MiB;
    const isHuge = references[0]!.vmas.some(
      (vma) => vma.start <= untouched && untouched < vma.end && vma.kb.get('AnonHugePages') !== 0,
    );
    if (!isHuge) context.skip('the kernel gave no huge pages');
    const entries = result.mms.map((space) => readPte(space, untouched));
    expect(entries.map(({ level }) => level)).toEqual([2, 2, 2]);
    expect(new Set(entries.map(({ pfn }) => pfn)).size).toBe(1);
  });

  it('have one file where they map one, each at its own address', (context) => {
    const { result, image } = need(context);
    const mappings = image.mms().map(({ vmas }) => {
      return vmas.filter(({ file }) => file?.path.includes('mmdump family'));
    });
    expect(new Set(mappings.flat().map(({ file }) => file!.id)).size).toBe(1);
    expect(new Set(mappings.flat().map(({ start }) => start)).size).toBe(3);
    for (const [mm, space] of result.mms.entries()) {
      expect(mappings[mm]!.length).toBeGreaterThan(0);
      for (const { start } of mappings[mm]!) {
        const bytes = [0, 1, 2].map((page) => firstByte(space, start + page * PAGE));
        expect(bytes).toEqual([230, 231, 232]);
      }
    }
  });

  it('restore, verify, and are copied on write from then on', async (context) => {
    const { image, sink, result, regions } = need(context);
    expect((await fixture.dumper.verify(sink)).problems).toEqual([]);
    const machine = createMachine({ memory: 128 * MiB });
    const { mms } = await fixture.dumper.restore(image, machine);
    for (const [mm, space] of mms.entries()) {
      const comparison = await fixture.dumper.compare(result.mms[mm]!, space);
      expect(comparison).toMatchObject({ equal: true, difference: null });
    }
    const { start } = regions.find(({ name }) => name === 'private')!;
    const at = start + 3 * PAGE; // a page that neither process has changed
    const before = firstByte(result.mms[1]!, at);
    result.mms[0]!.fill(at, PAGE, 99);
    expect(firstByte(result.mms[1]!, at)).toBe(before);
    expect(firstByte(result.mms[2]!, at)).toBe(before);
    const shared = regions.find(({ name }) => name === 'shared')!.start + 5 * PAGE;
    result.mms[0]!.fill(shared, PAGE, 77);
    expect(firstByte(result.mms[2]!, shared)).toBe(77);
    assertTablesTrue(need(context).machine as never);
  });

  it('were left stopped as they were', (context) => {
    const { pids } = need(context);
    expect(states(pids)).toMatch(/^T+$/);
    for (const pid of pids) process.kill(pid, 'SIGCONT');
  });
});

function firstByte(space: AddressSpace, address: number): number {
  const byte = new Uint8Array(1);
  space.read(address, byte);
  return byte[0]!;
}

describe('processes named one by one', () => {
  it('come in the order given, and go on afterwards', async (context) => {
    const { live, pids } = await needFamily(context, 'family');
    const order = [pids[2]!, pids[0]!];
    const machine = createMachine({ memory: 128 * MiB });
    const { mms, processes } = await importProcess(machine, order, { dumper: fixture.dumper });
    expect(processes.map(({ pid }) => pid)).toEqual(order);
    expect(mms.length).toBe(2);
    assertTablesTrue(machine as never);
    expect(states(pids)).toMatch(/^[RSD]+$/);
    expect(await live.request('ping order')).toBe('pong order 100');
    await live.kill();
  });

  it('may be no process twice: OPTION_INVALID, and nobody was touched', async () => {
    const live = await fixture.workshop.startReady(fixture.workshop.nodeCommand());
    const { pid } = live;
    const thread = readdirSync(`/proc/${pid}/task`)
      .map(Number)
      .find((id) => id !== pid)!;
    const { machine, expectUntouched } = freshMachine(64 * MiB);
    for (const pids of [[pid, pid], [pid, thread], []]) {
      const error = await failure(importProcess(machine, pids, { dumper: fixture.dumper }));
      expect(error).toMatchObject({ code: 'OPTION_INVALID' });
    }
    expectUntouched();
    expect(threadStates(pid)).toMatch(/^[RSD]+$/);
    await live.kill();
  });

  it('may not have one address space: OPTION_INVALID', async (context) => {
    const { live, pids } = await needFamily(context, 'same');
    if (!readReference(pids[0]!).privileged) context.skip('no privilege: frames are not shown');
    const { machine, expectUntouched } = freshMachine(64 * MiB);
    const { dumper } = fixture;
    const error = await failure(importProcess(machine, pids[0]!, { dumper, children: true }));
    expect(error).toMatchObject({ code: 'OPTION_INVALID', fields: { pid: pids[1] } });
    expectUntouched();
    expect(states(pids)).toMatch(/^[RSD]+$/);
    await live.kill();
  });
});

describe('a family', () => {
  it('that forks all the time stands still as a whole', async (context) => {
    const { live } = await needFamily(context, 'forking');
    for (let round = 0; round < 5; round++) {
      let found: readonly number[] = [];
      const machineFor = (memory: number, maxAddressSpaces: number): Machine => {
        found = familyOf(live.pid);
        expect(states(found)).toMatch(/^[Tt]+$/);
        expect(maxAddressSpaces).toBe(found.length);
        return createMachine({ memory, maxAddressSpaces });
      };
      const { dumper } = fixture;
      const { processes } = await importProcess(machineFor, live.pid, { dumper, children: true });
      expect(processes.map(({ pid }) => pid)).toEqual(found);
    }
    expect(threadStates(live.pid)).toMatch(/^[RSD]+$/);
    await live.kill();
  });

  it('is found by any thread of its parent', async () => {
    const script =
      "const { pid } = require('node:child_process').spawn('sleep', ['600']);" +
      "console.log('child ' + pid); console.log('ready');";
    const live = await fixture.workshop.start([process.execPath, '-e', script]);
    const child = Number((await live.ready())[0]!.slice('child '.length));
    fixture.workshop.adopt(child);
    const tasks = readdirSync(`/proc/${live.pid}/task`).map(Number);
    const thread = tasks.find((id) => id !== live.pid)!;
    const machine = createMachine({ memory: 256 * MiB });
    const { dumper } = fixture;
    const { processes } = await importProcess(machine, thread, { dumper, children: true });
    expect(processes.map(({ pid }) => pid)).toEqual([thread, child]);
    expect(states([live.pid, child])).toMatch(/^[RSD]+$/);
    await live.kill();
  });

  it('goes on when the import fails, as a whole', async (context) => {
    const { live, pids } = await needFamily(context, 'family');
    const { machine, expectUntouched } = freshMachine(8 * MiB);
    const { dumper } = fixture;
    const error = await failure(importProcess(machine, pids[0]!, { dumper, children: true }));
    expect(error).toMatchObject({ code: 'ENOMEM' });
    expectUntouched();
    expect(states(pids)).toMatch(/^[RSD]+$/);
    const gone = await failure(importProcess(machine, [pids[0]!, 4_194_305], { dumper }));
    expect(gone).toMatchObject({ code: 'PROCESS_NOT_FOUND' });
    expect(states(pids)).toMatch(/^[RSD]+$/);
    expect(await live.request('ping fails')).toBe('pong fails 100');
    await live.kill();
  });

  const signals = ['SIGTERM', 'SIGINT'] as const;
  it.for(process.env.MMDUMP_LONG === '1' ? signals : signals.slice(0, 1))(
    'goes on when %s ends the importer',
    async (signal, context) => {
      const processes = [await startLarge(fixture, 64), await startLarge(fixture, 64)];
      const pids = processes.map(({ pid }) => pid);
      const program = await fixture.workshop.start(
        fixture.workshop.signalCommand(signal, pids.join()),
      );
      const answer = await program.line().catch(() => 'it has ended');
      if (answer === 'PROCESS_DENIED') context.skip('only its parent may read a process here');
      expect(answer).toBe('it has ended');
      expect(await program.ended()).toBe(signal);
      for (const live of processes) {
        expect(await live.request('ping on')).toMatch(/^pong on /);
        expect(threadStates(live.pid)).toMatch(/^[RSD]+$/);
        await live.kill();
      }
    },
  );

  it('of which one is told to go on is no instant, unless it is traced', async (context) => {
    const { live, pids } = await needFamily(context, 'family');
    const machineFor = (memory: number, maxAddressSpaces: number): Machine => {
      process.kill(pids[1]!, 'SIGCONT');
      return createMachine({ memory, maxAddressSpaces });
    };
    const { dumper } = fixture;
    const outcome = await importProcess(machineFor, pids[0]!, { dumper, children: true }).catch(
      (error: unknown) => error,
    );
    if (outcome instanceof Error) {
      expect(outcome).toMatchObject({ code: 'PROCESS_RESUMED', fields: { pid: pids[1] } });
    } else {
      expect(outcome).toMatchObject({ processes: [{}, { stoppedBy: 'ptrace' }, {}] });
    }
    expect(states(pids)).toMatch(/^[RSD]+$/);
    await live.kill();
  });
});

describe('mmdump dump', () => {
  it('--children, and --pid several times', async (context) => {
    const { live, pids } = await needFamily(context, 'family');
    const [parent, child, grandchild] = pids.map(String) as [string, string, string];
    const whole = cli.mmdump('dump', '--pid', parent, '--children', '-o', 'whole.cpt', '--json');
    expect(whole.stderr).toBe('');
    const report = JSON.parse(whole.stdout);
    expect(report.mms.map(({ source }: { source: string }) => source)).toEqual(
      pids.map((pid) => `pid ${pid}`),
    );
    expect(report.import.map(({ pid }: { pid: number }) => pid)).toEqual(pids);
    const usage = ({ savedBytes, mms }: FamilyUsage): FamilyUsage => {
      return { savedBytes, mms: mms.map(({ rss, pss, unique }) => ({ rss, pss, unique })) };
    };
    const inspected = JSON.parse((await cli.inside('inspect', 'whole.cpt', '--json')).stdout);
    expect(usage(inspected)).toEqual(usage(report));
    expect(report.savedBytes).toBeGreaterThan(0);
    expect((await cli.inside('inspect', 'whole.cpt')).stdout).toMatch(/ saved by sharing\n/);
    const two = await cli.inside('dump', '--pid', grandchild, '--pid', child, '-o', 'two.cpt');
    expect(two).toMatchObject({ status: 0, stderr: '' });
    expect(two.stdout).toContain(`pid ${grandchild}: `);
    expect((await cli.inside('verify', 'two.cpt')).status).toBe(0);
    expect((await cli.inside('restore', 'whole.cpt', '--check')).status).toBe(0);
    expect(states(pids)).toMatch(/^[RSD]+$/);
    await live.kill();
  });

  it('wants every process once, and children of a process', async () => {
    const live = await fixture.workshop.startReady(fixture.workshop.nodeCommand());
    const pid = String(live.pid);
    expectFailure(
      await cli.inside('dump', '--pid', pid, '--pid', pid, '-o', 'no.cpt'),
      2,
      'named twice',
    );
    const { status, stderr } = await cli.inside('dump', '--workload', 'mixed', '--children');
    expect(status).toBe(2);
    expect(stderr).toContain('--children');
    await live.kill();
  });

  it('without privilege: each for itself, and the report says so', async (context) => {
    if (process.getuid!() !== 0 || !isInstalled('setpriv')) context.skip('needs root and setpriv');
    const { live, pids } = await needFamily(context, 'family');
    const dropped = '-sys_admin,-checkpoint_restore';
    const words = [`--bounding-set=${dropped}`, `--inh-caps=${dropped}`, process.execPath, CLI];
    const args = ['dump', '--pid', String(pids[0]), '--children', '-o', 'blind.cpt', '--json'];
    const stdout = execFileSync('setpriv', [...words, ...args], { cwd: cli.path });
    const report = JSON.parse(stdout.toString());
    for (const { sharingKnown, sharedPages: count } of report.import) {
      expect({ sharingKnown, count }).toEqual({ sharingKnown: false, count: 0 });
    }
    expect(report.mms.map(({ pages }: { pages: { clone: number } }) => pages.clone)).toEqual([
      0, 0, 0,
    ]);
    expect((await cli.inside('restore', 'blind.cpt', '--check')).status).toBe(0);
    await live.kill();
  });
});
