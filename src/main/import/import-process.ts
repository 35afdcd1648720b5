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
import type { WorkerPool } from '../pool.ts';
import type { PhaseProgress } from '../progress.ts';
import { Turns } from '../stop.ts';
import {
  findReadable,
  listUnmapped,
  loadUnmapped,
  type ReadableFile,
  type UnmappedPages,
  unmappedFrames,
  unreadableFiles,
} from './file-contents.ts';
import type { ImportOptions, ImportResult, MachineFor, ProcessReport } from './import-report.ts';
import type { MappedFile } from './mapped-files.ts';
import { openProc, processGone, readExe, readProc, readStat } from './proc.ts';
import { mmAddresses, mmNotes } from './process-fields.ts';
import { createMappings, describeVmas, type ProcessVma, toScanned } from './process-mappings.ts';
import { framesOf, listPages, mapMergedPages, type PageList } from './process-pages.ts';
import { runScanPhase, type ScanResult } from './scan-phase.ts';
import { parseSmaps, type SmapsVma } from './smaps.ts';
import { compareWithSmaps } from './smaps-check.ts';
import { withStoppedProcess } from './stopped-process.ts';

/** The machine's own, and what is freed late. */
const MARGIN = 16 * MiB;

/** The open files that an import reads. */
interface ProcessFiles {
  readonly pagemap: FileHandle;
  readonly mem: FileHandle;
  readonly kpageflags: FileHandle | undefined;
}

/** Imports one process with the workers of a pool. */
export async function importWith(
  pool: WorkerPool,
  target: Machine | MachineFor,
  pid: number,
  options: ImportOptions,
): Promise<ImportResult> {
  assertPid(pid);
  const start = performance.now();
  const opened: FileHandle[] = [];
  try {
    await assertAlive(pid);
    const files = await openFiles(pid, opened);
    const subject = new Import(pool, target, pid, files, options);
    let stoppedAt = 0;
    try {
      const report = await withStoppedProcess(pid, options.signal, () => {
        stoppedAt = performance.now();
        return subject.capture();
      });
      const now = performance.now();
      const ms = { ...report.ms, stopped: now - stoppedAt, total: now - start };
      return { mms: [subject.space], processes: [{ ...report, ms }] };
    } catch (error) {
      subject.undo();
      throw error;
    }
  } finally {
    await Promise.allSettled(opened.map((file) => file.close()));
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

/** What is known of the process before a page of it is read. */
interface Survey {
  readonly smaps: readonly SmapsVma[];
  readonly vmas: readonly ProcessVma[];
  readonly scan: ScanResult;
  readonly readable: ReadonlyMap<MappedFile, ReadableFile>;
  readonly unmapped: readonly UnmappedPages[];
}

/** One import under way. */
class Import {
  readonly #pool: WorkerPool;
  readonly #target: Machine | MachineFor;
  readonly #pid: number;
  readonly #files: ProcessFiles;
  readonly #options: ImportOptions;
  readonly #turns: Turns;
  #machine: Machine | undefined;
  #space: AddressSpace | undefined;

  constructor(
    pool: WorkerPool,
    target: Machine | MachineFor,
    pid: number,
    files: ProcessFiles,
    options: ImportOptions,
  ) {
    this.#pool = pool;
    this.#target = target;
    this.#pid = pid;
    this.#files = files;
    this.#options = options;
    this.#turns = new Turns(options.signal);
  }

  get space(): AddressSpace {
    return this.#space!;
  }

  /** Gives back what a failed import has taken of the machine. */
  undo(): void {
    if (this.#space === undefined || this.#machine?.parts.threads.isPoisoned !== false) return;
    try {
      this.#machine.destroyAddressSpace(this.#space);
    } catch {
      // The machine was poisoned just now; the import's own error says what happened.
    }
  }

  /** Everything for which the process has to stand still. */
  async capture(): Promise<CaptureReport> {
    const start = performance.now();
    const pid = this.#pid;
    const survey = await this.#survey();
    const { smaps, scan, unmapped } = survey;
    const scanEnd = performance.now();
    const machine = this.#machineFor(survey);
    const space = machine.createAddressSpace();
    this.#space = space;
    const ids = await this.#createMappings(machine, space, survey);
    const pages = listPages(scan.runs, survey.vmas, ids);
    await this.#load(space, pages);
    mapMergedPages(space, pages.merged);
    const { signal } = this.#options;
    const unmappedPages = await loadUnmapped(this.#pool, space.reference, unmapped, ids, signal);
    const privileged = this.#files.kpageflags !== undefined && scan.framesShown;
    return {
      pid,
      vmas: smaps.length,
      ...countKinds(scan),
      unmappedPages,
      unreadableFiles: unreadableFiles(survey.vmas, survey.readable),
      sharingKnown: privileged,
      smapsDifferences: privileged ? await this.#differences(survey) : null,
      ms: { scan: scanEnd - start, load: performance.now() - scanEnd },
    };
  }

  async #survey(): Promise<Survey> {
    const pid = this.#pid;
    const { pagemap, kpageflags } = this.#files;
    const smaps = await readSmaps(pid, this.#turns);
    if (smaps.length === 0) throw processGone(pid);
    const vmas = await describeVmas(pid, smaps, this.#turns);
    const input = { pid, pagemap: pagemap.fd, kpageflags: kpageflags?.fd ?? -1 };
    const scan = await runScanPhase(
      this.#pool,
      input,
      smaps,
      vmas.map(toScanned),
      this.#options.signal,
    );
    const readable = await findReadable(pid, vmas);
    return { smaps, vmas, scan, readable, unmapped: listUnmapped(scan.runs, vmas, readable) };
  }

  #machineFor({ scan, unmapped }: Survey): Machine {
    const needed = framesOf(scan.runs) * PAGE_SIZE;
    if (typeof this.#target === 'function') {
      this.#machine = this.#target(needed + unmappedFrames(unmapped) * PAGE_SIZE + MARGIN);
    } else {
      this.#machine = this.#target;
    }
    assertRoom(this.#machine, this.#pid, needed);
    return this.#machine;
  }

  async #createMappings(
    machine: Machine,
    space: AddressSpace,
    { smaps, vmas, readable }: Survey,
  ): Promise<ReadonlyMap<MappedFile, number>> {
    const pid = this.#pid;
    const exe = await readExe(pid);
    const ids = await createMappings(machine, space, vmas, exe, readable, this.#turns);
    space.setAddresses(await mmAddresses(pid, smaps));
    space.setAuxv(await readProc(pid, 'auxv'));
    space.setNotes(await mmNotes(pid));
    return ids;
  }

  /** What page tables show, through the memory of the process. */
  async #load(space: AddressSpace, pages: PageList): Promise<void> {
    const pid = this.#pid;
    const totalPages = countPages(pages);
    const { signal, onProgress } = this.#options;
    await runLoadPhase(
      this.#pool,
      [space.reference],
      { kind: 'process', name: `process ${pid}`, fd: this.#files.mem.fd, pid },
      pages.list,
      {
        signal,
        onProgress:
          onProgress &&
          (({ pages: done }: PhaseProgress) => onProgress({ pages: done, totalPages })),
      },
    );
  }

  /**
   * The kernel may swap, merge or collapse pages of a process that stands still, which moves totals
   * and no content: what differs from smaps before must differ from smaps of now as well.
   */
  async #differences({ smaps, scan }: Survey): Promise<readonly string[]> {
    const before = compareWithSmaps(smaps, scan);
    if (before.size === 0) return [];
    const now = compareWithSmaps(await readSmaps(this.#pid, this.#turns), scan);
    return [...before].filter(([total]) => now.has(total)).map(([, line]) => line);
  }
}

async function readSmaps(pid: number, turns: Turns): Promise<SmapsVma[]> {
  return await parseSmaps((await readProc(pid, 'smaps')).toString('latin1'), turns);
}

function assertRoom(machine: Machine, pid: number, needed: number): void {
  const { free, total } = machine.memory;
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
