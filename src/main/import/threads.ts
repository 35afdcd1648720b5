/** The threads of a process, as /proc lists them. */
import { readdir } from 'node:fs/promises';
import { MmdumpError } from '../../shared/errors.ts';
import { type ProcStat, parseStat, procError, readProc } from './proc.ts';

/** States of a thread that runs no code: stopped, traced, dead. */
const STANDING = new Set(['T', 't', 'Z', 'X', 'x']);
const DEAD = new Set(['Z', 'X', 'x']);

/** The ids of the threads, in ascending order as the kernel lists them. PROCESS_NOT_FOUND. */
export async function listThreads(pid: number): Promise<number[]> {
  const names = await readdir(`/proc/${pid}/task`).catch((error: unknown) => {
    throw procError(pid, 'task', error);
  });
  return names.map(Number);
}

/** /proc/PID/task/TID/stat; undefined if the thread has ended meanwhile. */
async function readThread(pid: number, tid: number): Promise<ProcStat | undefined> {
  try {
    return parseStat((await readProc(pid, `task/${tid}/stat`)).toString('latin1'));
  } catch (error) {
    const isGone = error instanceof MmdumpError && GONE.has(error.code);
    if (isGone) return undefined;
    throw error;
  }
}

const GONE: ReadonlySet<string> = new Set(['PROCESS_NOT_FOUND', 'PROCESS_GONE']);

/** Whether a thread runs no code any more. */
export async function isThreadDead(pid: number, tid: number): Promise<boolean> {
  const stat = await readThread(pid, tid);
  return stat === undefined || DEAD.has(stat.state);
}

/** Whether every thread of the process stands still. */
export async function isStanding(pid: number): Promise<boolean> {
  for (const tid of await listThreads(pid)) {
    const stat = await readThread(pid, tid);
    if (stat !== undefined && !STANDING.has(stat.state)) return false;
  }
  return true;
}

/**
 * The first thread of the process that lives: the leader, unless it has exited. Through it the
 * memory of the process can be read. undefined if none lives.
 */
export async function livingThread(pid: number): Promise<number | undefined> {
  if (!(await isThreadDead(pid, pid))) return pid;
  for (const tid of await listThreads(pid).catch(() => [])) {
    if (!(await isThreadDead(pid, tid))) return tid;
  }
  return undefined;
}

/** The pid of the process that has this thread. */
export async function groupOf(tid: number): Promise<number> {
  const status = (await readProc(tid, 'status')).toString('latin1');
  return Number(/^Tgid:\s+(\d+)$/m.exec(status)?.[1] ?? tid);
}

/** The process that traces this thread; 0 if none does. */
export async function tracerOf(tid: number): Promise<number> {
  const status = (await readProc(tid, 'status')).toString('latin1');
  return Number(/^TracerPid:\s+(\d+)$/m.exec(status)?.[1] ?? 0);
}

/** Counts that change when a thread runs, by thread. While the process stands, none changes. */
export type Counts = ReadonlyMap<number, string>;

export async function countThreads(pid: number): Promise<Counts> {
  const counts = new Map<number, string>();
  for (const tid of await listThreads(pid)) {
    const path = `task/${tid}`;
    // The kernel answers once the thread is off its processor; until then its counts may change.
    await readProc(pid, `${path}/syscall`).catch(() => {});
    const stat = parseStat((await readProc(pid, `${path}/stat`)).toString('latin1'));
    const status = (await readProc(pid, `${path}/status`)).toString('latin1');
    const switches = [...status.matchAll(/^(?:non)?voluntary_ctxt_switches:\s+(\d+)$/gm)];
    const moves = [stat.startTime, stat.field(14), stat.field(15), ...switches.map(([, n]) => n)];
    counts.set(tid, moves.join(' '));
  }
  return counts;
}
