/**
 * One import of one or several processes. It reads their mappings and page maps, creates address
 * spaces, loads the pages, and lets later processes share the pages of earlier ones.
 */
import type { FileHandle } from 'node:fs/promises';
import { BACKING_KIND } from '../../mmu/backing/backing-table.ts';
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import { HeldFiles } from '../../mmu/machine/held-files.ts';
import { beginUse } from '../../mmu/machine/lifetime.ts';
import type { Machine } from '../../mmu/machine/machine.ts';
import { LoadList } from '../../shared/dump/load-table.ts';
import { MiB, PAGE_SIZE } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import type { WorkerPool } from '../crew/pool.ts';
import { MACHINE } from '../job/handle-arguments.ts';
import type { PhaseProgress } from '../job/progress.ts';
import { Yielder } from '../job/stop.ts';
import { runLoadPhase } from '../load/load-phase.ts';
import { destroySpaces } from '../load/undo.ts';
import {
  type CaptureReport,
  countKinds,
  type FamilySurvey,
  reportOf,
  type Survey,
} from './capture-report.ts';
import { assertEnoughMemory } from './enough-memory.ts';
import { readExecutable } from './executable.ts';
import {
  type FileUser,
  listUnmapped,
  shownFrames,
  shownPages,
  unmappedFrames,
} from './file-contents.ts';
import type { ImportOptions, MachineFor } from './import-report.ts';
import { loadUnmapped } from './load-unmapped.ts';
import { type MappedFile, MappedFiles } from './mapped-files.ts';
import { listPlaces, type ShownRun, shownPlaces } from './placed-pages.ts';
import { processGone, readProc } from './proc.ts';
import { mmAddresses } from './process-fields.ts';
import { createMappings, describeVmas, type ProcessVma, toScanned } from './process-mappings.ts';
import { processNotes } from './process-notes.ts';
import { canStay, framesOf, listPages, listShared, mapMergedPages } from './process-pages.ts';
import { findReadable } from './readable-files.ts';
import { runScanPhase, type ScannedRun } from './scan-phase.ts';
import { findShared, forgetMovedFrames } from './shared-frames.ts';
import { readSmaps } from './smaps.ts';
import { NOT_STOPPED, type StoppedProcess } from './stopped-process.ts';

/** The files under /proc that an import keeps open for one process. */
export interface ProcessFiles {
  readonly pid: number;
  readonly pagemap: FileHandle;
  readonly mem: FileHandle;
}

/** A process that is imported; `stopped` is there if it stands still. */
export interface ImportedProcess extends ProcessFiles {
  readonly stopped: StoppedProcess | undefined;
}

/** Spare bytes: for the machine's own needs, and for frames that are freed late. */
const MARGIN = 16 * MiB;

/** One import under way. */
export class FamilyImport {
  readonly #pool: WorkerPool;
  readonly #target: Machine | MachineFor;
  readonly #processes: readonly ImportedProcess[];
  readonly #kpageflags: FileHandle | undefined;
  readonly #options: ImportOptions;
  readonly #yielder: Yielder;
  /** Ids of the files that the import has created in the machine. */
  readonly #ids = new Map<MappedFile, number>();
  #held: HeldFiles | undefined;
  #endUse: (() => void) | undefined;
  readonly #endBackings: (() => void)[] = [];
  /** Threads per process whose registers are in its notes. */
  readonly #registers: number[] = [];
  /** One address space per process, in the order of the processes. */
  readonly spaces: AddressSpace[] = [];

  constructor(
    pool: WorkerPool,
    target: Machine | MachineFor,
    processes: readonly ImportedProcess[],
    kpageflags: FileHandle | undefined,
    options: ImportOptions,
  ) {
    this.#pool = pool;
    this.#target = target;
    this.#processes = processes;
    this.#kpageflags = kpageflags;
    this.#options = options;
    this.#yielder = new Yielder(options.signal);
  }

  /** Ends the import's use of the machine, which may be closed from then on. */
  end(): void {
    this.#endUse?.();
  }

  /**
   * Gives back what the import has taken of the machine. It waits while the machine is frozen, and
   * the signal of the import does not end that wait: what is not given back is lost for good.
   */
  async undo(): Promise<void> {
    this.releaseBackings();
    try {
      await this.release();
    } finally {
      await destroySpaces(this.spaces.splice(0));
    }
  }

  /** Drops the references that the import itself holds. The processes may go on before this. */
  async release(): Promise<void> {
    await this.#held?.release();
  }

  /** Does everything for which the processes must stand still, or at least keep their mappings. */
  async capture(): Promise<CaptureReport[]> {
    const survey = await this.#surveyAll();
    const machine = this.#machineFor(survey);
    const held = new HeldFiles(machine.parts);
    this.#held = held;
    const backings = survey.members.map((_member, at) => this.#addBacking(machine, at));
    const places = listPlaces(survey.placed, backings);
    for (const at of survey.members.keys())
      await this.#createSpace(machine, held, survey, at, places);
    const loadMs = await this.#load(survey, backings);
    throwIfAborted(this.#options.signal); // the progress listener may have aborted at the last page
    await this.#share(survey);
    const { signal } = this.#options;
    const first = this.spaces[0]!.reference;
    const unmapped = await loadUnmapped(
      this.#pool,
      first,
      survey.unmapped,
      this.#ids,
      this.#yielder,
      signal,
    );
    const reports: CaptureReport[] = [];
    for (const at of survey.members.keys()) {
      const found = { unmappedPages: unmapped.get(at) ?? 0, loadMs: loadMs[at]! };
      const isStill = this.#options.freeze !== false;
      const isPrivileged = isStill && this.#kpageflags !== undefined;
      const report = await reportOf(survey, at, found, isPrivileged, this.#yielder);
      const how = this.#processes[at]!.stopped?.report ?? NOT_STOPPED;
      reports.push({ ...report, ...how, registers: this.#registers[at]! });
    }
    return reports;
  }

  /** Reads the page maps of all processes before any memory, because reading faults pages in. */
  async #surveyAll(): Promise<FamilySurvey> {
    const files = new MappedFiles();
    const members: Survey[] = [];
    for (const each of this.#processes) members.push(await this.#survey(each, files));
    if (this.#wantsFrames) {
      for (const [at, { scan }] of members.slice(0, -1).entries()) {
        const { pagemap, pid } = this.#processes[at]!;
        forgetMovedFrames(pagemap.fd, pid, scan);
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
    const isOnDemand = this.#options.load === 'on-demand';
    const placed = isOnDemand ? shownPlaces(users) : new Map<MappedFile, ShownRun[]>();
    let frames = isOnDemand ? 0 : shownFrames(shown);
    let zeroPages = 0;
    for (const [at, { scan, vmas }] of members.entries()) {
      frames += framesOf(pages[at]!.runs, scan.runs, (run) => !this.#stays(run, vmas));
      zeroPages += countKinds(scan).zeroPages;
    }
    return { members, pages, readable, unmapped, placed, frames, zeroPages };
  }

  /** Whether the pages stay in the process until somebody touches them. */
  #stays(run: ScannedRun, vmas: readonly ProcessVma[]): boolean {
    return this.#options.load === 'on-demand' && canStay(run, vmas[run.vma]!);
  }

  /**
   * Whether the scan has to find frames that several processes show. One process alone shares none,
   * and only /proc/kpageflags tells a shared page from the zero page and from one that KSM merged.
   */
  get #wantsFrames(): boolean {
    if (this.#options.freeze === false) return false; // the frame may have another owner by now
    return this.#processes.length > 1 && this.#kpageflags !== undefined;
  }

  async #survey({ pid, pagemap }: ProcessFiles, files: MappedFiles): Promise<Survey> {
    const start = performance.now();
    const smaps = await readSmaps(pid, this.#yielder);
    if (smaps.length === 0) throw processGone(pid);
    const vmas = await describeVmas(pid, smaps, files, this.#yielder);
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

  #machineFor({ members, unmapped, frames, zeroPages }: FamilySurvey): Machine {
    const needed = frames * PAGE_SIZE;
    const zeroBytes = zeroPages * PAGE_SIZE;
    const bytes = needed + unmappedFrames(unmapped) * PAGE_SIZE + MARGIN;
    const machine =
      typeof this.#target === 'function'
        ? MACHINE('the machine that was made', this.#target(bytes, members.length, zeroBytes))
        : this.#target;
    this.#endUse = beginUse(machine.parts);
    const more = machine.parts.hasZeroPage ? 0 : zeroBytes;
    assertEnoughMemory(machine, members[0]!.pid, members.length, needed + more);
    return machine;
  }

  async #createSpace(
    machine: Machine,
    held: HeldFiles,
    { members, pages, readable }: FamilySurvey,
    at: number,
    places: ReadonlyMap<MappedFile, Uint8Array>,
  ): Promise<void> {
    const { pid, vmas, smaps } = members[at]!;
    const { signal } = this.#options;
    const space = await machine.createAddressSpaceAsync(signal);
    this.spaces.push(space);
    const sharing = new Set(pages[at]!.shared.map(({ vma }) => vma));
    await createMappings(
      machine,
      space,
      { vmas, exe: await readExecutable(pid), known: readable, sharing },
      { ids: this.#ids, held, places },
      this.#yielder,
      signal,
    );
    await space.setAddressesAsync(await mmAddresses(pid, smaps), signal);
    await space.setAuxvAsync(await readProc(pid, 'auxv'), signal);
    const notes = await processNotes(pid, this.#processes[at]!.stopped?.threads() ?? []);
    await space.setNotesAsync(notes.bytes, signal);
    this.#registers.push(notes.threads);
  }

  /** Loads the pages that page tables show. Returns the milliseconds that each process took. */
  async #load({ members, pages }: FamilySurvey, backings: readonly number[]): Promise<number[]> {
    const ids = this.#ids;
    const lists = members.map(({ vmas }, at) => {
      return listPages(pages[at]!.runs, vmas, ids, backings[at]!);
    });
    const totalPages = lists.reduce((sum, { list }) => sum + list.totalPages(), 0);
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
      await mapMergedPages(space, pagesOfOne.merged, signal);
      before += pagesOfOne.list.totalPages();
      ms.push(performance.now() - start);
    }
    return ms;
  }

  /** Makes the memory of a process a backing of the machine, if its pages stay there; else -1. */
  #addBacking({ parts }: Machine, at: number): number {
    if (this.#options.load !== 'on-demand') return -1;
    const { pid, mem } = this.#processes[at]!;
    const { backings } = parts;
    const backing = backings.add({ kind: BACKING_KIND.PROCESS, fd: mem.fd, pid });
    this.#endBackings.push(() => backings.release(backing));
    return backing;
  }

  /** Ends the life of the backings: no page can be loaded from the processes any more. */
  releaseBackings(): void {
    for (const end of this.#endBackings.splice(0)) end();
  }

  /** Lets later processes share the pages that earlier ones have loaded. It reads no memory. */
  async #share({ pages }: FamilySurvey): Promise<void> {
    const list = new LoadList();
    for (const [at, { shared }] of pages.entries()) listShared(list, shared, at);
    const { pid, mem } = this.#processes[0]!;
    const source = { kind: 'process', name: `process ${pid}`, fd: mem.fd, pid } as const;
    const mms = this.spaces.map(({ reference }) => reference);
    await runLoadPhase(this.#pool, mms, source, list, { signal: this.#options.signal });
  }
}
