/**
 * Imports live processes into a machine: their mappings, their pages and their mm fields.
 *
 * The order matters, because reading the memory of a process faults its pages in. So all processes
 * are stopped first. Then the mappings and the whole page map of each are read, and only after that
 * memory, where a page has content. The processes go on as if nothing had happened.
 */
import { type FileHandle, open, readlink } from 'node:fs/promises';
import type { Machine } from '../../mmu/machine/machine.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { MmdumpError } from '../../shared/errors.ts';
import type { WorkerPool } from '../crew/pool.ts';
import { undone } from '../load/undo.ts';
import type { CaptureReport } from './capture-report.ts';
import { FamilyImport, type ImportedProcess, type ProcessFiles } from './family-import.ts';
import { type HeldFamily, holdFamily } from './held-family.ts';
import { holdUntilReleased } from './held-source.ts';
import type { ImportOptions, ImportResult, MachineFor } from './import-report.ts';
import { openProc, processGone, readProc, readStat } from './proc.ts';
import { residentBytes } from './resident-bytes.ts';
import { withRunningFamily } from './running-family.ts';
import { descendantsOf, withStoppedFamily } from './stopped-family.ts';
import type { StoppedProcess } from './stopped-process.ts';
import { livingThread } from './threads.ts';

/** Imports processes with the workers of a pool: all at one instant, unless `freeze` is false. */
export async function importWith(
  pool: WorkerPool,
  target: Machine | MachineFor,
  pids: number | readonly number[],
  options: ImportOptions,
): Promise<ImportResult> {
  const given = [pids].flat();
  assertPids(given);
  assertFits(options);
  await assertOwnProc();
  const start = performance.now();
  const opened: FileHandle[] = [];
  const close = async (): Promise<void> => {
    await Promise.allSettled(opened.splice(0).map((file) => file.close()));
  };
  let isHeld = false;
  try {
    // Threads start while mappings are read.
    pool.expect(given.reduce((bytes, pid) => bytes + residentBytes(pid), 0));
    // What is not permitted fails here, before any process is stopped.
    const asked: number[] = [];
    for (const pid of given) asked.push(await readableId(pid));
    const groups = await groupsOf(asked);
    const files = new Map<number, ProcessFiles>();
    for (const pid of asked) files.set(pid, await openFiles(pid, opened));
    const kpageflags = await open('/proc/kpageflags', 'r').catch(() => undefined); // root only
    if (kpageflags !== undefined) opened.push(kpageflags);
    let subject: FamilyImport | undefined;
    const capture: Capture = async (members) => {
      const all: ImportedProcess[] = [];
      for (const member of members) {
        const { pid } = member;
        if (!files.has(pid)) files.set(pid, await openFiles(pid, opened));
        all.push({ ...files.get(pid)!, stopped: 'report' in member ? member : undefined });
      }
      subject?.end();
      subject = new FamilyImport(pool, target, all, kpageflags, options);
      return subject.capture();
    };
    const undo = async (): Promise<void> => await subject?.undo();
    let held: HeldFamily | undefined;
    try {
      const run = captureBy(options);
      const { reports, stoppedMs, family } = await run({ asked, groups }, options, capture, undo);
      held = family;
      await subject!.release();
      const total = performance.now() - start;
      const processes = reports.map((report, at) => {
        const pid = given[at] ?? report.pid;
        return { ...report, pid, ms: { ...report.ms, stopped: stoppedMs[at]!, total } };
      });
      const result = { mms: subject!.spaces, processes };
      if (family === undefined) return withRelease(result, async () => {});
      isHeld = true;
      return withRelease(result, keepStill(family, subject!, close));
    } catch (error) {
      await held?.release().catch(() => {}); // the error says more
      throw await undone(error, undo);
    } finally {
      subject?.end();
    }
  } finally {
    if (!isHeld) await close();
  }
}

/** Pages of a process that goes on would change before they are loaded. */
function assertFits({ load, freeze }: ImportOptions): void {
  if (load !== 'on-demand' || freeze !== false) return;
  throw refusal('load', load, "'now' with freeze: false");
}

/** Adds to the result of an import the ways to release it. */
function withRelease(
  result: Omit<ImportResult, 'release' | typeof Symbol.asyncDispose>,
  release: () => Promise<void>,
): ImportResult {
  return { ...result, release, [Symbol.asyncDispose]: release };
}

/**
 * Keeps the processes still, and the files of `close` open, until the returned function is called or
 * the machine is closed. Dumps of the machine fail if the processes do not stand still.
 */
function keepStill(
  family: HeldFamily,
  subject: FamilyImport,
  close: () => Promise<void>,
): () => Promise<void> {
  const { id } = subject.spaces[0]!.reference.machine;
  const check = (): Promise<void> => family.assertStoodStill();
  return holdUntilReleased(id, check, async () => {
    subject.releaseBackings();
    try {
      await family.release();
    } finally {
      await close();
    }
  });
}

/** Captures these processes, which stand still or go on, in this order. */
type Capture = (
  members: readonly (StoppedProcess | { readonly pid: number })[],
) => Promise<CaptureReport[]>;

interface Asked {
  readonly asked: readonly number[];
  /** The pids of the processes; `asked` may hold ids of their threads. */
  readonly groups: readonly number[];
}

interface Captured {
  readonly reports: readonly CaptureReport[];
  /** Milliseconds for which each process stood still. */
  readonly stoppedMs: readonly number[];
  /** The processes, if they go on standing still. */
  readonly family?: HeldFamily;
}

/** The way to capture processes that the options ask for. */
function captureBy({ freeze, load }: ImportOptions): typeof captureRunning {
  if (load === 'on-demand') return captureHeld;
  return freeze === false ? captureRunning : captureStopped;
}

async function captureHeld(
  { asked, groups }: Asked,
  { children = false, signal }: ImportOptions,
  capture: Capture,
): Promise<Captured> {
  const family = await holdFamily(asked, { children, groups, signal }, capture);
  return { reports: family.reports, stoppedMs: family.stoppedMs(), family };
}

async function captureStopped(
  { asked, groups }: Asked,
  { children = false, signal }: ImportOptions,
  capture: Capture,
): Promise<Captured> {
  let family: readonly StoppedProcess[] = [];
  const reports = await withStoppedFamily(asked, { children, groups, signal }, (stopped) => {
    family = stopped;
    return capture(stopped);
  });
  const now = performance.now();
  return { reports, stoppedMs: family.map(({ standingSince }) => now - standingSince) };
}

async function captureRunning(
  { asked, groups }: Asked,
  { children = false, signal }: ImportOptions,
  capture: Capture,
  undo: () => Promise<void>,
): Promise<Captured> {
  const pids = children ? [...asked, ...(await descendantsOf([...asked, ...groups]))] : asked;
  const reports = await withRunningFamily(
    pids,
    signal,
    () => capture(pids.map((pid) => ({ pid }))),
    undo,
  );
  return { reports, stoppedMs: reports.map(() => 0) };
}

function assertPids(pids: readonly number[]): void {
  if (process.platform !== 'linux') {
    const message = `processes can be imported only on Linux, and this is ${process.platform}`;
    throw new MmdumpError('UNSUPPORTED_PLATFORM', message);
  }
  if (pids.length === 0)
    throw new MmdumpError('OPTION_INVALID', 'pid: expected at least one process');
  for (const pid of pids) {
    if (!Number.isSafeInteger(pid) || pid <= 0) {
      throw new MmdumpError('OPTION_INVALID', `pid: ${pid}: expected a positive number`);
    }
    if (pid === process.pid) {
      const message = `pid: ${pid} is the calling process, which cannot stop itself and read on`;
      throw new MmdumpError('OPTION_INVALID', message, { pid });
    }
  }
}

/**
 * Throws UNSUPPORTED_PLATFORM unless /proc belongs to our PID namespace. In another namespace a pid
 * is another process: a signal would stop one process, and /proc would show the memory of another.
 */
async function assertOwnProc(): Promise<void> {
  const self = await readlink('/proc/self').catch(() => undefined);
  if (self === String(process.pid)) return;
  const message =
    self === undefined
      ? '/proc cannot be read: processes are imported through it'
      : `/proc is that of another PID namespace: it calls this process ${self}, not ${process.pid}`;
  throw new MmdumpError('UNSUPPORTED_PLATFORM', message);
}

/**
 * The id through which /proc shows the memory of a process: its own, or that of a thread that lives
 * if the leader has exited. PROCESS_GONE for a zombie. Opening its files would fail, too, but for
 * other reasons.
 */
async function readableId(pid: number): Promise<number> {
  const { state } = await readStat(pid);
  if (state !== 'Z' && state !== 'X') return pid;
  const living = await livingThread(pid);
  if (living === undefined) throw processGone(pid);
  return living;
}

/** The process of each id, which may be a thread. OPTION_INVALID if two ids are of one process. */
async function groupsOf(pids: readonly number[]): Promise<number[]> {
  const seen = new Map<number, number>();
  for (const pid of pids) {
    const status = (await readProc(pid, 'status')).toString('latin1');
    const group = Number(/^Tgid:\s+(\d+)$/m.exec(status)?.[1] ?? pid);
    const before = seen.get(group);
    if (before !== undefined) {
      const reason = before === pid ? 'was named twice' : `is of the same process as ${before}`;
      throw new MmdumpError('OPTION_INVALID', `pid: ${pid} ${reason}`, { pid });
    }
    seen.set(group, pid);
  }
  return [...seen.keys()];
}

async function openFiles(pid: number, opened: FileHandle[]): Promise<ProcessFiles> {
  const pagemap = await openProc(pid, 'pagemap');
  opened.push(pagemap);
  const mem = await openProc(pid, 'mem');
  opened.push(mem);
  return { pid, pagemap, mem };
}
