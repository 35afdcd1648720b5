/**
 * Importing a live process into a machine: its mappings, its pages, its mm fields.
 *
 * Order matters: reading the memory of a process faults its pages in. So the process is stopped,
 * then its mappings and its whole page map are read, and only then memory, and only where a page
 * has content. The process goes on as if nothing had happened.
 */
import { type FileHandle, open } from 'node:fs/promises';
import type { AddressSpace } from '../../mmu/address-space.ts';
import type { Machine } from '../../mmu/machine.ts';
import { SCAN_RUN_KIND } from '../../shared/dump/scan-table.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { MiB, PAGE_SIZE } from '../../shared/page.ts';
import { runLoadPhase } from '../load/load-phase.ts';
import type { PhaseProgress, WorkerPool } from '../pool.ts';
import { openProc, processGone, readExe, readProc, readStat } from './proc.ts';
import { mmAddresses, mmNotes } from './process-fields.ts';
import { createMappings, describeVmas, toScanned } from './process-mappings.ts';
import { listPages, mapMergedPages, type PageList } from './process-pages.ts';
import { runScanPhase, type ScanResult } from './scan-phase.ts';
import { parseSmaps } from './smaps.ts';
import { compareWithSmaps } from './smaps-check.ts';
import { withStoppedProcess } from './stopped-process.ts';

export interface ImportOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called at most ten times a second while memory is read. */
  readonly onProgress?: ((progress: ImportProgress) => void) | undefined;
}

export interface ImportProgress {
  readonly pages: number;
  readonly totalPages: number;
}

export interface ProcessReport {
  readonly pid: number;
  readonly vmas: number;
  /** Pages whose bytes were read. */
  readonly contentPages: number;
  /** Zero pages of the real machine, seen only with privilege. */
  readonly zeroPages: number;
  readonly guardPages: number;
  /**
   * Whether frames of the real machine could be told apart. Without it every page has a frame of
   * its own, and which pages were shared is unknown.
   */
  readonly sharingKnown: boolean;
  /** Totals of smaps that differ from what was found; null without privilege. */
  readonly smapsDifferences: readonly string[] | null;
  readonly ms: {
    readonly scan: number;
    readonly load: number;
    /** Time for which the process stood still. */
    readonly stopped: number;
    readonly total: number;
  };
}

export interface ImportResult {
  readonly mms: readonly AddressSpace[];
  readonly processes: readonly ProcessReport[];
}

const KB_PER_HUGE_PAGE = 2048;

/** The open files that an import reads. */
interface ProcessFiles {
  readonly pagemap: FileHandle;
  readonly mem: FileHandle;
  readonly kpageflags: FileHandle | undefined;
}

/** Imports one process with the workers of a pool. */
export async function importWith(
  pool: WorkerPool,
  machine: Machine,
  pid: number,
  options: ImportOptions,
): Promise<ImportResult> {
  assertPid(pid);
  const start = performance.now();
  const opened: FileHandle[] = [];
  try {
    await assertAlive(pid);
    const files = await openFiles(pid, opened);
    let stoppedAt = 0;
    let space: AddressSpace | undefined;
    try {
      const report = await withStoppedProcess(pid, options.signal, async () => {
        stoppedAt = performance.now();
        space = machine.createAddressSpace();
        return await capture(pool, machine, space, pid, files, options);
      });
      const now = performance.now();
      const ms = { ...report.ms, stopped: now - stoppedAt, total: now - start };
      return { mms: [space!], processes: [{ ...report, ms }] };
    } catch (error) {
      const isTrusted = !machine.parts.threads.isPoisoned;
      if (space !== undefined && isTrusted) machine.destroyAddressSpace(space);
      throw error;
    }
  } finally {
    for (const file of opened) await file.close();
  }
}

function assertPid(pid: number): void {
  if (process.platform !== 'linux') {
    const message = `processes can be imported on Linux, this is ${process.platform}`;
    throw new MmdumpError('UNSUPPORTED_PLATFORM', message);
  }
  if (!Number.isSafeInteger(pid) || pid <= 0) {
    throw new MmdumpError('OPTION_INVALID', `pid: ${pid}: expected a positive number`);
  }
  if (pid === process.pid) {
    const message = `pid: ${pid} is this very process: it cannot stop itself and read on`;
    throw new MmdumpError('OPTION_INVALID', message, { pid });
  }
}

/** The files of a zombie cannot be opened either, but for other reasons. */
async function assertAlive(pid: number): Promise<void> {
  const { state } = await readStat(pid);
  if (state === 'Z' || state === 'X') throw processGone(pid);
}

/** Whatever is not permitted fails here, before the process is touched. */
async function openFiles(pid: number, opened: FileHandle[]): Promise<ProcessFiles> {
  const pagemap = await openProc(pid, 'pagemap');
  opened.push(pagemap);
  const mem = await openProc(pid, 'mem');
  opened.push(mem);
  const kpageflags = await open('/proc/kpageflags', 'r').catch(() => undefined); // root only
  if (kpageflags !== undefined) opened.push(kpageflags);
  return { pagemap, mem, kpageflags };
}

type CaptureReport = Omit<ProcessReport, 'ms'> & { ms: { scan: number; load: number } };

/** Everything for which the process has to stand still. */
async function capture(
  pool: WorkerPool,
  machine: Machine,
  space: AddressSpace,
  pid: number,
  files: ProcessFiles,
  options: ImportOptions,
): Promise<CaptureReport> {
  const start = performance.now();
  const { signal } = options;
  const smaps = parseSmaps((await readProc(pid, 'smaps')).toString('latin1'));
  if (smaps.length === 0) throw processGone(pid);
  const vmas = await describeVmas(pid, smaps);
  const input = { pid, pagemap: files.pagemap.fd, kpageflags: files.kpageflags?.fd ?? -1 };
  const scanned = vmas.map(toScanned);
  const hugeLeaves = smaps.map(({ totals }) => totals.anonHugePages / KB_PER_HUGE_PAGE);
  const scan = await runScanPhase(pool, input, { vmas: scanned, hugeLeaves }, signal);
  const scanEnd = performance.now();
  const fileIds = createMappings(machine, space, vmas, await readExe(pid));
  space.setAddresses(await mmAddresses(pid, smaps));
  space.setAuxv(await readProc(pid, 'auxv'));
  space.setNotes(await mmNotes(pid));
  const pages = listPages(scan.runs, vmas, fileIds);
  assertRoom(machine, pid, pages);
  const totalPages = countPages(pages);
  const { onProgress } = options;
  await runLoadPhase(
    pool,
    [space.reference],
    { kind: 'process', name: `process ${pid}`, fd: files.mem.fd, pid },
    pages.list,
    {
      signal,
      onProgress:
        onProgress && (({ pages: done }: PhaseProgress) => onProgress({ pages: done, totalPages })),
    },
  );
  mapMergedPages(space, pages.merged);
  const privileged = files.kpageflags !== undefined && scan.framesShown;
  return {
    pid,
    vmas: smaps.length,
    ...countKinds(scan),
    sharingKnown: privileged,
    smapsDifferences: privileged ? compareWithSmaps(smaps, scan) : null,
    ms: { scan: scanEnd - start, load: performance.now() - scanEnd },
  };
}

function assertRoom(machine: Machine, pid: number, pages: PageList): void {
  const { free, total } = machine.memory;
  const needed = pages.frames * PAGE_SIZE;
  if (needed <= free) return;
  const message =
    `process ${pid} needs up to ${Math.ceil(needed / MiB)} MiB of simulated memory, ` +
    `${Math.floor(free / MiB)} of ${Math.floor(total / MiB)} MiB are free: ask for more memory`;
  throw new MmdumpError('ENOMEM', message, { pid });
}

function countPages({ list }: PageList): number {
  let pages = 0;
  for (let run = 0; run < list.count; run++) pages += list.pages(run);
  return pages;
}

function countKinds(scan: ScanResult): {
  readonly contentPages: number;
  readonly zeroPages: number;
  readonly guardPages: number;
} {
  let contentPages = 0;
  let zeroPages = 0;
  let guardPages = 0;
  for (const { kind, pages } of scan.runs) {
    if (kind === SCAN_RUN_KIND.ZERO_PAGE) zeroPages += pages;
    else if (kind === SCAN_RUN_KIND.GUARD) guardPages += pages;
    else contentPages += pages;
  }
  return { contentPages, zeroPages, guardPages };
}
