/** Processes that are not children of the tests, so that they can be traced; and what gdb says. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import {
  createMachine,
  type Image,
  type ImportResult,
  importProcess,
  MiB,
  memorySink,
} from 'mmdump';
import type { TestContext } from 'vitest';
import { differences, expectedKinds, type LiveFixture, storedIn, wrongPages } from './capture.ts';
import type { LiveProcess } from './live-process.ts';
import { readReference } from './reference.ts';

/** A process that another one has started, and the thread lines that it printed. */
export interface Apart {
  readonly live: LiveProcess;
  readonly pid: number;
  readonly threads: ReadonlyMap<number, string>;
}

export function needTraced(context: TestContext, { workshop }: LiveFixture): string {
  if (process.arch !== 'x64') context.skip('only threads of x86-64 are traced');
  const program = compiled(workshop);
  if (program === undefined) context.skip('there is no C compiler');
  return program!;
}

function compiled(workshop: LiveFixture['workshop']): string | undefined {
  return workshop.compiledProgram('traced');
}

/** Starts a command that runs `traced`, and reads what that program announces. */
export async function startApart(
  { workshop }: LiveFixture,
  command: readonly string[],
): Promise<Apart> {
  const live = await workshop.start(command);
  const lines = await live.ready();
  const words = lines.map((line) => line.split(' '));
  const pid = Number(words.find(([what]) => what === 'pid')![1]);
  workshop.adopt(pid);
  const threads = words.filter(([what]) => what === 'thread');
  return { live, pid, threads: new Map(threads.map(([, tid, mark]) => [Number(tid), mark!])) };
}

/** Ends a process and what has started it. */
export async function end(live: LiveProcess, pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  await live.kill();
}

/** A shell that runs a command as its child, and ends with it. The child has its input. */
export function belowShell(...command: readonly string[]): string[] {
  return ['sh', '-c', '"$@"; exit $?', 'sh', ...command];
}

/** What an import on demand has found while the process stood still. */
export interface Held {
  readonly imported: ImportResult;
  readonly image: Image;
  /** Pages that are missing, too many or wrong, and totals that differ from smaps. */
  readonly wrong: readonly string[];
}

/**
 * Imports a process on demand, and compares its image with what `readable`, the id of one of its
 * threads that live, shows meanwhile. It stands still until `release` is called.
 */
export async function hold(
  fixture: LiveFixture,
  pid: number,
  readable: number = pid,
): Promise<Held> {
  const { dumper } = fixture;
  const machine = createMachine({ memory: 256 * MiB });
  const imported = await importProcess(machine, pid, { dumper, load: 'on-demand' });
  const reference = readReference(readable);
  const sink = memorySink();
  await dumper.dump(imported.mms[0]!, { to: sink });
  const image = await fixture.open(sink.image);
  const kinds = differences(expectedKinds(reference), storedIn(image));
  const totals = imported.processes[0]!.smapsDifferences ?? [];
  const pages = await wrongPages(image, reference);
  return { imported, image, wrong: [...kinds, ...totals, ...reference.contradictions, ...pages] };
}

/** Skips a test of tracing where this process may not trace. Returns whether it was traced. */
export function needPtrace(context: TestContext, { imported }: Held): void {
  const { stoppedBy, notTraced } = imported.processes[0]!;
  if (stoppedBy !== 'ptrace') context.skip(`it is not traced here: ${notTraced}`);
}

/** The ids of the threads of a process that live: its leader's, and the others in ascending order. */
export function leaderFirst(pid: number): number[] {
  const rank = (tid: number): number => (tid === pid ? 0 : tid);
  return readdirSync(`/proc/${pid}/task`)
    .map(Number)
    .filter((tid) => !/^State:\s+[ZX]/m.test(statusOf(pid, tid)))
    .sort((a, b) => rank(a) - rank(b));
}

export function statusOf(pid: number, tid: number = pid): string {
  return readFileSync(`/proc/${pid}/task/${tid}/status`, 'latin1');
}

/** Whether every thread waits in pause(2). */
export function isPaused(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).every((tid) => {
    return readFileSync(`/proc/${pid}/task/${tid}/syscall`, 'latin1').startsWith('34 ');
  });
}

/** The note segment of the core that gdb writes of a process. Fields of ELF64 by their offsets. */
export function notesOfGcore(pid: number, path: string): Buffer {
  const words = ['-nx', '-batch', '-p', String(pid), '-ex', `gcore ${path}`];
  execFileSync('gdb', words, { stdio: 'ignore' });
  const core = readFileSync(path);
  const table = Number(core.readBigUInt64LE(32)); // e_phoff
  for (let at = 0; at < core.readUInt16LE(56); at++) {
    const header = core.subarray(table + at * core.readUInt16LE(54)); // e_phentsize
    if (header.readUInt32LE(0) !== 4) continue; // PT_NOTE
    const start = Number(header.readBigUInt64LE(8));
    return core.subarray(start, start + Number(header.readBigUInt64LE(32)));
  }
  throw new Error(`${path} has no notes`);
}

/** The registers of each thread by their names in gdb, as hexadecimal numbers. */
export function registersInGdb(pid: number): Map<number, Record<string, string>> {
  const hidden = 'info registers orig_rax fs_base gs_base';
  const script = ['info registers', hidden, 'print/x $xmm7.uint128'];
  const words = script.flatMap((line) => ['-ex', `thread apply all ${line}`]);
  const text = execFileSync('gdb', ['-nx', '-batch', '-p', String(pid), ...words], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const threads = new Map<number, Record<string, string>>();
  let now: Record<string, string> = {};
  for (const line of text.split('\n')) {
    const tid = /^Thread \d+ \(.*?(?:LWP|process) (\d+)/.exec(line)?.[1];
    if (tid !== undefined) {
      now = threads.get(Number(tid)) ?? {};
      threads.set(Number(tid), now);
    }
    const [, name, value] = /^(\w+)\s+(0x[0-9a-f]+)\s/.exec(line) ?? [];
    if (name !== undefined) now[name] = value!;
    const xmm7 = /^\$\d+ = (0x[0-9a-f]+)$/.exec(line)?.[1];
    if (xmm7 !== undefined) now.xmm7 = xmm7;
  }
  return threads;
}
