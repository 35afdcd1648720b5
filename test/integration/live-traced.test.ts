/**
 * How live processes are held still. With native calls they are traced; without, and where that is
 * refused, they get SIGSTOP.
 *
 * Invariants checked: the image has exactly the pages of the process that stands still, with their
 * bytes · the process is left as it was: running, stopped, or traced by somebody else · nobody
 * notices a process that is traced · the registers of each thread are those that gdb prints.
 */
import { execFileSync, type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createMachine, fileSink, importProcess, MiB, memorySink } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { processNotes } from '../../src/main/import/process-notes.ts';
import { decodeProcess } from '../../src/shared/formats/elf/notes/decode-process.ts';
import {
  canTrace,
  detach,
  interrupt,
  registerSet,
  seize,
  signalInfo,
  stopOf,
} from '../../src/shared/native/ptrace.ts';
import {
  differences,
  expectedKinds,
  LiveFixture,
  storedIn,
  wrongPages,
} from '../support/live/capture.ts';
import { isInstalled, mmdumpUrl, programPath, stopProcess } from '../support/live/live-process.ts';
import { needNamespace } from '../support/live/mounts.ts';
import { threadStates, until, untilNow } from '../support/live/proc.ts';
import { readReference } from '../support/live/reference.ts';
import {
  belowShell,
  end,
  hold,
  isPaused,
  leaderFirst,
  needPtrace,
  needTraced,
  notesOfGcore,
  registersInGdb,
  startApart,
  statusOf,
} from '../support/live/traced.ts';
import { CLI } from '../support/programs/cli.ts';

const fixture = new LiveFixture();
beforeAll(() => fixture.start());
afterAll(() => fixture.close());

const byCalls = canTrace();
/** Bit of the capability without which yama may forbid to trace (capability.h). */
const CAP_SYS_PTRACE = 1n << 19n;

describe('what others notice of a process that is read', () => {
  it('it is traced where nothing forbids that', async (context) => {
    const program = needTraced(context, fixture);
    const mine = statusOf(process.pid);
    const rights = BigInt(`0x${/^CapEff:\s+(\w+)/m.exec(mine)![1]}`);
    const isFree = (rights & CAP_SYS_PTRACE) !== 0n && /^Seccomp:\s+0$/m.test(mine);
    if (!byCalls || !isFree) context.skip('no native calls, or this process may not trace');
    const { live, pid } = await startApart(fixture, belowShell(program, 'plain'));
    const { imported } = await hold(fixture, pid);
    await imported.release();
    expect(imported.processes[0]).toMatchObject({ stoppedBy: 'ptrace', notTraced: null });
    await end(live, pid);
  });

  it('its parent gets no SIGCHLD if it is traced, and two if it is not', async (context) => {
    const program = needTraced(context, fixture);
    const { live, pid } = await startApart(fixture, [program, 'parent', program, 'waiting']);
    const { imported, wrong } = await hold(fixture, pid);
    const { stoppedBy } = imported.processes[0]!;
    const during = await live.request('children');
    await imported.release();
    await until('it goes on', () => /^[RSD]+$/.test(threadStates(pid)));
    expect(wrong).toEqual([]);
    expect(during).toBe(stoppedBy === 'ptrace' ? 'children 0' : 'children 1');
    expect(await live.request('children')).toBe(
      stoppedBy === 'ptrace' ? 'children 0' : 'children 2',
    );
    await end(live, pid);
  });

  it('a shell does not say that it is stopped, if it is traced', async (context) => {
    const program = needTraced(context, fixture);
    if (!isInstalled('bash')) context.skip('there is no bash');
    const script = 'set -m; "$@" & while read -r line; do jobs; echo end; done';
    const shell = ['bash', '-c', script, 'bash', program, 'waiting'];
    const { live, pid } = await startApart(fixture, shell);
    const jobs = async (): Promise<string> => {
      let text = '';
      for (let line = await live.request('jobs'); line !== 'end'; line = await live.line()) {
        text += `${line}\n`;
      }
      return text;
    };
    expect(await jobs()).toContain('Running');
    const { imported } = await hold(fixture, pid);
    const isTraced = imported.processes[0]!.stoppedBy === 'ptrace';
    expect(await jobs()).toContain(isTraced ? 'Running' : 'Stopped');
    await imported.release();
    // bash hears of a SIGCONT only when it waits for the job.
    if (isTraced) expect(await jobs()).toContain('Running');
    await end(live, pid);
  });

  it('a process that ends while it is held: its parent hears of it in the end', async (context) => {
    const program = needTraced(context, fixture);
    const { live, pid } = await startApart(fixture, belowShell(program, 'plain'));
    const { imported } = await hold(fixture, pid);
    process.kill(pid, 'SIGKILL');
    await until('it is dead', () => /^Z*$/.test(threadStates(pid)));
    const path = join(fixture.workshop.newDirectory(), 'killed.cpt');
    await expect(fixture.dumper.dump(imported.mms, { to: fileSink(path) })).rejects.toMatchObject({
      code: 'PROCESS_GONE',
      fields: { pid },
    });
    expect(existsSync(path)).toBe(false);
    await expect(imported.release()).rejects.toMatchObject({ code: 'PROCESS_GONE' });
    expect(await live.ended()).toBe(128 + 9);
  });

  it('a program that is killed lets a traced process go on', async (context) => {
    const program = needTraced(context, fixture);
    const { live, pid } = await startApart(fixture, belowShell(program, 'plain'));
    const words = [process.execPath, programPath('holder.mjs'), mmdumpUrl, String(pid)];
    const holder = await fixture.workshop.start(words);
    const stoppedBy = await holder.line();
    expect(threadStates(pid)).toMatch(/^[tT]+$/);
    await holder.kill();
    if (stoppedBy !== 'ptrace') process.kill(pid, 'SIGCONT'); // after SIGKILL it stays stopped
    expect(await live.request('ping killed')).toBe('pong killed');
    await end(live, pid);
  });
});

describe('registers', () => {
  it('of all threads are those that gdb prints, before and after', async (context) => {
    const program = needTraced(context, fixture);
    if (!isInstalled('gdb')) context.skip('there is no gdb');
    const { live, pid, threads } = await startApart(fixture, belowShell(program, 'waiting'));
    await until('all threads wait', () => isPaused(pid));
    const before = registersInGdb(pid);
    await until('all threads wait', () => isPaused(pid));
    const held = await hold(fixture, pid);
    await held.imported.release();
    expect(held.wrong).toEqual([]);
    needPtrace(context, held);
    await until('all threads wait', () => isPaused(pid));
    expect(registersInGdb(pid)).toEqual(before);
    const notes = decodeProcess(await held.image.notes());
    expect(notes.process).toMatchObject({ pid, name: 'traced' });
    expect(notes.threads.map(({ status }) => status.tid)).toEqual(leaderFirst(pid));
    for (const { status, floatingPoint, extendedBytes } of notes.threads) {
      const seen = before.get(status.tid)!;
      const named = new Map([...status.registers].map(([name, value]) => [name, hex(value)]));
      const shown = Object.entries(seen).filter(([name]) => named.has(name));
      expect(shown.length).toBe(named.size);
      expect(Object.fromEntries(shown)).toEqual(Object.fromEntries(named));
      expect(named.get('rbx')).toBe(`0x${threads.get(status.tid)}`);
      expect(floatingPoint!.xmm7).toBe(seen.xmm7);
      expect(floatingPoint!.xmm7).toBe(named.get('rbx'));
      expect(extendedBytes).toBeGreaterThanOrEqual(512);
    }
    await end(live, pid);
  });

  it('lie where gdb puts them in a core', async (context) => {
    const program = needTraced(context, fixture);
    if (!isInstalled('gdb')) context.skip('there is no gdb');
    const { live, pid } = await startApart(fixture, belowShell(program, 'waiting'));
    await until('all threads wait', () => isPaused(pid));
    const held = await hold(fixture, pid);
    await held.imported.release();
    needPtrace(context, held);
    await until('all threads wait', () => isPaused(pid));
    const byTid = (bytes: Uint8Array): Map<number, unknown> => {
      return new Map(
        decodeProcess(bytes).threads.map(({ status, floatingPoint }) => {
          const { tid, signal, registers } = status;
          return [tid, { signal, registers, floatingPoint }];
        }),
      );
    };
    const path = join(fixture.workshop.newDirectory(), 'core');
    expect(byTid(await held.image.notes())).toEqual(byTid(notesOfGcore(pid, path)));
    await end(live, pid);
  });

  it('of threads that begin and end all the time: of all that stand still', async (context) => {
    const program = needTraced(context, fixture);
    const { live, pid } = await startApart(fixture, belowShell(program, 'churn'));
    for (let round = 0; round < 20; round++) {
      const { imported, wrong, image } = await hold(fixture, pid);
      const standing = leaderFirst(pid);
      await imported.release();
      expect(wrong).toEqual([]);
      if (imported.processes[0]!.stoppedBy !== 'ptrace') continue;
      const { threads } = decodeProcess(await image.notes());
      expect(threads.map(({ status }) => status.tid)).toEqual(standing);
      expect(imported.processes[0]!.registers).toBe(standing.length);
      expect(await live.request(`ping ${round}`)).toBe(`pong ${round}`);
    }
    await end(live, pid);
  });

  it('of a thread that is about to get a signal: which one, and it gets it', async (context) => {
    const program = needTraced(context, fixture);
    if (!byCalls) context.skip('there are no native calls');
    const { live, pid } = await startApart(fixture, belowShell(program, 'plain'));
    if (seize(pid) !== 0) context.skip('tracing is forbidden here');
    process.kill(pid, 'SIGUSR1');
    let stop = stopOf(pid);
    untilNow('it is about to get it', () => {
      stop = stopOf(pid);
      return stop.kind === 'stopped';
    });
    expect(stop).toEqual({ kind: 'stopped', signal: 10 });
    expect(interrupt(pid)).toBe(0);
    const { bytes } = await processNotes(pid, [
      {
        tid: pid,
        signal: 10,
        registers: (type) => registerSet(pid, type),
        signalInfo: () => signalInfo(pid),
      },
    ]);
    expect(decodeProcess(bytes).threads).toMatchObject([
      { status: { tid: pid, signal: 10 }, signal: { signal: 10, code: 0, address: null } },
    ]);
    expect(detach(pid, 10)).toBe(0);
    expect(await live.request('signals')).toBe('signals 1');
    await end(live, pid);
  });
});

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

describe('processes in another state', () => {
  it('one that gdb traces is read as gdb has stopped it', async (context) => {
    const program = needTraced(context, fixture);
    if (!isInstalled('gdb')) context.skip('there is no gdb');
    const { live, pid } = await startApart(fixture, belowShell(program, 'plain'));
    const gdb = await fixture.workshop.start(['gdb', '-nx', '-q', '-p', String(pid)]);
    const tracer = (): string => /^TracerPid:\s+(\d+)$/m.exec(statusOf(pid))![1]!;
    await gdb.request('echo held\\n\n');
    await until('gdb has stopped it', () => /^t+$/.test(threadStates(pid)));
    expect(tracer()).toBe(String(gdb.pid));
    const { imported, wrong } = await hold(fixture, pid);
    expect(wrong).toEqual([]);
    expect(imported.processes[0]!.stoppedBy).toBe('signal');
    if (byCalls) {
      expect(imported.processes[0]!.notTraced).toBe(`process ${gdb.pid} traces it`);
      const { status, stderr } = cli(['dump', '--pid', String(pid), '-o', imageName(), '--quiet']);
      expect(stderr).toContain(`since process ${gdb.pid} traces it`);
      expect({ status, lines: stderr.trim().split('\n').length }).toEqual({ status: 0, lines: 1 });
    }
    await imported.release();
    expect(threadStates(pid)).toMatch(/^t+$/);
    expect(tracer()).toBe(String(gdb.pid));
    await gdb.kill();
    expect(await live.request('ping gdb')).toBe('pong gdb');
    await end(live, pid);
  });

  it('one that was stopped before stays stopped, and its parent hears nothing', async (context) => {
    const program = needTraced(context, fixture);
    const { live, pid } = await startApart(fixture, [program, 'parent', program, 'waiting']);
    await stopProcess(pid);
    expect(await live.request('children')).toBe('children 1');
    const { imported, wrong } = await hold(fixture, pid);
    expect(wrong).toEqual([]);
    const isTraced = imported.processes[0]!.stoppedBy === 'ptrace';
    expect(threadStates(pid)).toMatch(isTraced ? /^t+$/ : /^T+$/);
    await imported.release();
    await until('it is stopped again', () => /^T+$/.test(threadStates(pid)));
    expect(await live.request('children')).toBe('children 1');
    process.kill(pid, 'SIGCONT');
    await until('it goes on', () => /^[RSD]+$/.test(threadStates(pid)));
    await end(live, pid);
  });

  it('SIGCONT takes effect when a traced process is let go', async (context) => {
    const program = needTraced(context, fixture);
    const { live, pid } = await startApart(fixture, belowShell(program, 'plain'));
    await stopProcess(pid);
    const held = await hold(fixture, pid);
    if (held.imported.processes[0]!.stoppedBy === 'ptrace') {
      process.kill(pid, 'SIGCONT');
      expect(threadStates(pid)).toMatch(/^t+$/);
    }
    await held.imported.release();
    needPtrace(context, held);
    expect(await live.request('ping on')).toBe('pong on');
    await end(live, pid);
  });

  it('one whose leader has exited', async (context) => {
    const program = needTraced(context, fixture);
    const { live, pid, threads } = await startApart(fixture, belowShell(program, 'leader-exits'));
    const [tid] = threads.keys();
    await until('the leader has exited', () => /^State:\s+Z/m.test(statusOf(pid)));
    const { imported, image, wrong } = await hold(fixture, pid, tid!);
    const [report] = imported.processes;
    await imported.release();
    expect(wrong).toEqual([]);
    expect(report!.pid).toBe(pid);
    expect(report!.contentPages).toBeGreaterThan(64);
    const notes = decodeProcess(await image.notes());
    expect(notes.process).toMatchObject({ pid, name: 'traced' });
    if (report!.stoppedBy === 'ptrace') {
      expect(notes.threads.map(({ status }) => status.tid)).toEqual([tid]);
    }
    expect(await live.request('ping alone')).toBe('pong alone');
    await end(live, pid);
  });

  it('one whose leader has exited, as the child of another', async (context) => {
    const program = needTraced(context, fixture);
    const { live, pid, threads } = await startApart(fixture, belowShell(program, 'leader-exits'));
    const [tid] = threads.keys();
    await until('the leader has exited', () => /^State:\s+Z/m.test(statusOf(pid)));
    const { dumper } = fixture;
    const machine = createMachine({ memory: 256 * MiB });
    const options = { dumper, children: true, load: 'on-demand' } as const;
    const imported = await importProcess(machine, live.pid, options);
    expect(imported.processes.length).toBe(2);
    expect(imported.processes[1]!.contentPages).toBeGreaterThan(64);
    expect(imported.processes[1]!.smapsDifferences ?? []).toEqual([]);
    const sink = memorySink();
    await dumper.dump(imported.mms[1]!, { to: sink });
    const reference = readReference(tid!);
    await imported.release();
    const image = await fixture.open(sink.image);
    expect(reference.stored.size).toBeGreaterThan(64);
    expect(differences(expectedKinds(reference), storedIn(image))).toEqual([]);
    expect(await wrongPages(image, reference)).toEqual([]);
    expect(await live.request('ping family')).toBe('pong family');
    await end(live, pid);
  });

  it('one in another mount and PID namespace', async (context) => {
    const program = needTraced(context, fixture);
    if (process.getuid!() !== 0) context.skip('the tests run without privilege');
    needNamespace(context, '-pfm', 'true');
    const live = await fixture.workshop.start(['unshare', '-pfm', program, 'plain']);
    expect(await live.ready()).toContain('pid 1');
    const children = `/proc/${live.pid}/task/${live.pid}/children`;
    const pid = Number(execFileSync('cat', [children], { encoding: 'utf8' }));
    fixture.workshop.adopt(pid);
    const { imported, image, wrong } = await hold(fixture, pid);
    await imported.release();
    expect(wrong).toEqual([]);
    if (imported.processes[0]!.stoppedBy === 'ptrace') {
      const { threads } = decodeProcess(await image.notes());
      expect(threads.map(({ status }) => status.tid)).toEqual([pid]);
    }
    expect(await live.request('ping there')).toBe('pong there');
    await end(live, pid);
  });
});

/** Runs the command line below another program, and waits for it. */
function cli(words: readonly string[], prefix: readonly string[] = []): SpawnSyncReturns<string> {
  const [program, ...rest] = [...prefix, process.execPath, CLI, ...words];
  return spawnSync(program!, rest, { encoding: 'utf8' });
}

function imageName(): string {
  return join(fixture.workshop.newDirectory(), 'image.cpt');
}

describe('where tracing is not possible', () => {
  it('a sandbox that forbids it: one line says so, and the image is made', async (context) => {
    const program = needTraced(context, fixture);
    const { live, pid } = await startApart(fixture, belowShell(program, 'plain'));
    const words = ['dump', '--pid', String(pid), '-o', imageName(), '--json'];
    const probe = spawnSync(program, ['no-ptrace', '/bin/true']);
    if (probe.status !== 0) context.skip('seccomp cannot be used here');
    const { status, stdout, stderr } = cli(words, [program, 'no-ptrace']);
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: byCalls
        ? `mmdump: process ${pid} was stopped by SIGSTOP, without its registers, since the ` +
          'system does not permit tracing it\n'
        : '',
    });
    expect(JSON.parse(stdout).import).toMatchObject({ stoppedBy: 'signal', registers: 0 });
    expect(await live.request('ping box')).toBe('pong box');
    await end(live, pid);
  });

  it('a child of this very program gets SIGSTOP', async () => {
    const live = await fixture.workshop.startReady(['sh', '-c', 'echo ready; read line']);
    const { dumper } = fixture;
    const machine = createMachine({ memory: 64 * MiB });
    const { processes } = await importProcess(machine, live.pid, { dumper });
    expect(processes[0]).toMatchObject({
      stoppedBy: 'signal',
      notTraced: byCalls ? 'it is a child of this program' : 'there are no native calls',
      registers: 0,
    });
    await live.kill();
  });
});
