/** The import of processes, which stand still by default, from their mappings to their last shared page. */
import type { FileHandle } from 'node:fs/promises';
import type { AddressSpace } from '../../mmu/address-space.ts';
import { beginUse } from '../../mmu/lifetime.ts';
import type { Machine } from '../../mmu/machine.ts';
import { LoadList } from '../../shared/dump/load-table.ts';
import { SCAN_RUN_KIND } from '../../shared/dump/scan-table.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { MiB, PAGE_SIZE } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { runLoadPhase } from '../load/load-phase.ts';
import type { WorkerPool } from '../pool.ts';
import type { PhaseProgress } from '../progress.ts';
import { Turns } from '../stop.ts';
import {
  type FileUser,
  findReadable,
  listUnmapped,
  loadUnmapped,
  type ReadableFile,
  shownFrames,
  shownPages,
  type UnmappedPages,
  unmappedFrames,
  unreadableFiles,
} from './file-contents.ts';
import type { ImportOptions, MachineFor, ProcessReport } from './import-report.ts';
import { type MappedFile, MappedFiles } from './mapped-files.ts';
import { processGone, readExe, readProc } from './proc.ts';
import { mmAddresses, mmNotes } from './process-fields.ts';
import {
  createMappings,
  describeVmas,
  type FileIds,
  type ProcessVma,
  toScanned,
} from './process-mappings.ts';
import { framesOf, listPages, listShared, mapMergedPages, type PageList } from './process-pages.ts';
import { runScanPhase, type ScanResult } from './scan-phase.ts';
import { findShared, forgetMovedFrames, type MemberPages } from './shared-frames.ts';
import { parseSmaps, type SmapsVma } from './smaps.ts';
import { compareWithSmaps } from './smaps-check.ts';

/** The open files of one process that an import reads. */
export interface ProcessFiles {
  readonly pid: number;
  readonly pagemap: FileHandle;
  readonly mem: FileHandle;
}

/** The machine's own, and what is freed late. */
const MARGIN = 16 * MiB;

export type CaptureReport = Omit<ProcessReport, 'ms'> & { ms: { scan: number; load: number } };

/** What is known of a process before a page of it is read. */
interface Survey {
  readonly pid: number;
  readonly smaps: readonly SmapsVma[];
  readonly vmas: readonly ProcessVma[];
  readonly scan: ScanResult;
  readonly ms: number;
}

/** What is known of all of them. */
interface FamilySurvey {
  readonly members: readonly Survey[];
  /** What each loads itself, and what it shares with those before it. */
  readonly pages: readonly MemberPages[];
  readonly readable: ReadonlyMap<MappedFile, ReadableFile>;
  readonly unmapped: readonly UnmappedPages[];
  /** Frames that the processes' pages and tables take at most. */
  readonly frames: number;
}

/** One import under way. */
export class FamilyImport {
  readonly #pool: WorkerPool;
  readonly #target: Machine | MachineFor;
  readonly #processes: readonly ProcessFiles[];
  readonly #kpageflags: FileHandle | undefined;
  readonly #options: ImportOptions;
  readonly #turns: Turns;
  #machine: Machine | undefined;
  #endUse: (() => void) | undefined;
  /** One for every process, in their order. */
  readonly spaces: AddressSpace[] = [];

  constructor(
    pool: WorkerPool,
    target: Machine | MachineFor,
    processes: readonly ProcessFiles[],
    kpageflags: FileHandle | undefined,
    options: ImportOptions,
  ) {
    this.#pool = pool;
    this.#target = target;
    this.#processes = processes;
    this.#kpageflags = kpageflags;
    this.#options = options;
    this.#turns = new Turns(options.signal);
  }

  /** The import is over: its machine may be closed. */
  end(): void {
    this.#endUse?.();
  }

  /** Gives back what a failed import has taken of the machine. */
  undo(): void {
    for (const space of this.spaces.splice(0)) {
      if (this.#machine?.parts.threads.isPoisoned !== false) return;
      try {
        this.#machine.destroyAddressSpace(space);
      } catch {
        // The machine was poisoned just now; the import's own error says what happened.
      }
    }
  }

  /** Everything for which the processes have to stand still, or at least not to change mappings. */
  async capture(): Promise<CaptureReport[]> {
    const survey = await this.#surveyAll();
    const machine = this.#machineFor(survey);
    const ids: FileIds = new Map();
    for (const at of survey.members.keys()) await this.#createSpace(machine, survey, at, ids);
    const loadMs = await this.#load(survey, ids);
    throwIfAborted(this.#options.signal); // by who was told of the last page, too
    await this.#share(survey);
    const { signal } = this.#options;
    const first = this.spaces[0]!.reference;
    const unmapped = await loadUnmapped(this.#pool, first, survey.unmapped, ids, signal);
    const reports: CaptureReport[] = [];
    for (const at of survey.members.keys()) {
      reports.push(await this.#report(survey, at, unmapped.get(at) ?? 0, loadMs[at]!));
    }
    return reports;
  }

  /** Page maps first, of all: nobody's memory is read before. */
  async #surveyAll(): Promise<FamilySurvey> {
    const files = new MappedFiles();
    const members: Survey[] = [];
    for (const each of this.#processes) members.push(await this.#survey(each, files));
    if (this.#wantsFrames) {
      for (const [at, { scan }] of members.slice(0, -1).entries()) {
        forgetMovedFrames(this.#processes[at]!.pagemap.fd, scan);
      }
    }
    const pages = findShared(members);
    const users: FileUser[] = members.map(({ pid, vmas, scan }) => ({
      pid,
      vmas,
      runs: scan.runs,
    }));
    const readable = await findReadable(users);
    const shown = shownPages(users);
    const unmapped = listUnmapped(users, shown, readable);
    let frames = shownFrames(shown);
    for (const [at, { scan }] of members.entries()) frames += framesOf(pages[at]!.runs, scan.runs);
    return { members, pages, readable, unmapped, frames };
  }

  /** Only a family shares, and frames alone are no proof: the zero page and KSM have some, too. */
  get #wantsFrames(): boolean {
    if (this.#options.freeze === false) return false; // a frame may be another's by now
    return this.#processes.length > 1 && this.#kpageflags !== undefined;
  }

  async #survey({ pid, pagemap }: ProcessFiles, files: MappedFiles): Promise<Survey> {
    const start = performance.now();
    const smaps = await readSmaps(pid, this.#turns);
    if (smaps.length === 0) throw processGone(pid);
    const vmas = await describeVmas(pid, smaps, files, this.#turns);
    const input = {
      pid,
      pagemap: pagemap.fd,
      kpageflags: this.#kpageflags?.fd ?? -1,
      wantsFrames: this.#wantsFrames,
    };
    const { signal } = this.#options;
    const scan = await runScanPhase(this.#pool, input, smaps, vmas.map(toScanned), signal);
    return { pid, smaps, vmas, scan, ms: performance.now() - start };
  }

  #machineFor({ members, unmapped, frames }: FamilySurvey): Machine {
    const needed = frames * PAGE_SIZE;
    if (typeof this.#target === 'function') {
      const bytes = needed + unmappedFrames(unmapped) * PAGE_SIZE + MARGIN;
      this.#machine = this.#target(bytes, members.length);
    } else {
      this.#machine = this.#target;
    }
    this.#endUse = beginUse(this.#machine.parts);
    assertRoom(this.#machine, members[0]!.pid, members.length, needed);
    return this.#machine;
  }

  async #createSpace(
    machine: Machine,
    { members, pages, readable }: FamilySurvey,
    at: number,
    ids: FileIds,
  ): Promise<void> {
    const { pid, vmas, smaps } = members[at]!;
    const space = machine.createAddressSpace();
    this.spaces.push(space);
    const sharing = new Set(pages[at]!.shared.map(({ vma }) => vma));
    await createMappings(
      machine,
      space,
      { vmas, exe: await readExe(pid), known: readable, sharing },
      ids,
      this.#turns,
    );
    space.setAddresses(await mmAddresses(pid, smaps));
    space.setAuxv(await readProc(pid, 'auxv'));
    space.setNotes(await mmNotes(pid));
  }

  /** What page tables show, through the memory of the processes; milliseconds for each. */
  async #load({ members, pages }: FamilySurvey, ids: FileIds): Promise<number[]> {
    const lists = members.map(({ vmas }, at) => listPages(pages[at]!.runs, vmas, ids));
    const totalPages = lists.reduce((sum, list) => sum + countPages(list), 0);
    const { signal, onProgress } = this.#options;
    const ms: number[] = [];
    let before = 0;
    for (const [at, pagesOfOne] of lists.entries()) {
      const start = performance.now();
      const { pid, mem } = this.#processes[at]!;
      const space = this.spaces[at]!;
      const source = { kind: 'process', name: `process ${pid}`, fd: mem.fd, pid } as const;
      await runLoadPhase(this.#pool, [space.reference], source, pagesOfOne.list, {
        signal,
        onProgress:
          onProgress &&
          (({ pages: done }: PhaseProgress) => onProgress({ pages: before + done, totalPages })),
      });
      mapMergedPages(space, pagesOfOne.merged);
      before += countPages(pagesOfOne);
      ms.push(performance.now() - start);
    }
    return ms;
  }

  /** Shows the later processes what the earlier ones have loaded. Nothing is read for it. */
  async #share({ pages }: FamilySurvey): Promise<void> {
    const list = new LoadList();
    for (const [at, { shared }] of pages.entries()) listShared(list, shared, at);
    const { pid, mem } = this.#processes[0]!;
    const source = { kind: 'process', name: `process ${pid}`, fd: mem.fd, pid } as const;
    const mms = this.spaces.map(({ reference }) => reference);
    await runLoadPhase(this.#pool, mms, source, list, { signal: this.#options.signal });
  }

  async #report(
    { members, pages, readable }: FamilySurvey,
    at: number,
    unmappedPages: number,
    loadMs: number,
  ): Promise<CaptureReport> {
    const survey = members[at]!;
    const { pid, vmas, scan, ms } = survey;
    const isStill = this.#options.freeze !== false;
    const privileged = this.#kpageflags !== undefined && scan.framesShown && isStill;
    return {
      pid,
      vmas: vmas.length,
      ...countKinds(scan),
      sharedPages: pages[at]!.shared.reduce((sum, run) => sum + run.pages, 0),
      unmappedPages,
      unreadableFiles: unreadableFiles(vmas, readable),
      sharingKnown: privileged,
      smapsDifferences: privileged ? await smapsDifferences(survey, this.#turns) : null,
      ms: { scan: ms, load: loadMs },
    };
  }
}

/**
 * The kernel may swap, merge or collapse pages of a process that stands still, which moves totals
 * and no content: what differs from smaps before must differ from smaps of now as well.
 */
async function smapsDifferences(
  { pid, smaps, scan }: Survey,
  turns: Turns,
): Promise<readonly string[]> {
  const before = compareWithSmaps(smaps, scan);
  if (before.size === 0) return [];
  const now = compareWithSmaps(await readSmaps(pid, turns), scan);
  return [...before].filter(([total]) => now.has(total)).map(([, line]) => line);
}

async function readSmaps(pid: number, turns: Turns): Promise<SmapsVma[]> {
  return await parseSmaps((await readProc(pid, 'smaps')).toString('latin1'), turns);
}

function assertRoom(machine: Machine, pid: number, processes: number, needed: number): void {
  const { free, total } = machine.memory;
  if (needed <= free) return;
  const who =
    processes === 1 ? `process ${pid} needs` : `${processes} processes, the first ${pid}, need`;
  const message =
    `${who} up to ${Math.ceil(needed / MiB)} MiB of simulated memory, ` +
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
