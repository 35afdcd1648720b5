/** The dumper: a pool of workers, and the jobs that run on it. */
import type { AddressSpace } from '../mmu/machine/address-space.ts';
import type { MmReference } from '../mmu/machine/enter.ts';
import { whileInUse } from '../mmu/machine/lifetime.ts';
import type { Machine } from '../mmu/machine/machine.ts';
import { isSnapshot, type Snapshot } from '../mmu/machine/snapshot.ts';
import { pathname } from '../shared/arguments/checks.ts';
import { optionsOf } from '../shared/arguments/options.ts';
import {
  COMPARE_OPTIONS,
  type CompareOptions,
  type Comparison,
  compareWith,
} from './compare/compare.ts';
import { dumpOpenvz } from './convert/openvz/dump-openvz.ts';
import { DUMPER_OPTIONS, type DumperOptions } from './crew/dumper-options.ts';
import { WorkerPool } from './crew/pool.ts';
import { runDump } from './dump/dump.ts';
import {
  assertNoBits,
  DUMP_OPTIONS,
  type DumpOptions,
  ESTIMATE_OPTIONS,
  type EstimateOptions,
  type ResolvedOptions,
  resolveOptions,
} from './dump/options.ts';
import { PageDigestCache } from './dump/page-digest-cache.ts';
import type { DumpParent } from './dump/parent.ts';
import type { DumpEstimate, DumpReport } from './dump/report.ts';
import { SharedBuffers } from './dump/shared-buffers.ts';
import { dumpForked, dumpSnapshot, stateOf } from './dump/snapshot-dump.ts';
import { TrackedImages } from './dump/tracked-images.ts';
import type { Image } from './image/image.ts';
import { IMAGE, ImageJobs } from './image-jobs.ts';
import { CORE_OPTIONS, type CoreImport, type CoreOptions } from './import/core/core-report.ts';
import { importCoreWith } from './import/core/import-core.ts';
import { IMPORT_OPTIONS, machineOrMaker, processIds } from './import/import-arguments.ts';
import { importWith } from './import/import-process.ts';
import type { ImportOptions, ImportResult, MachineFor } from './import/import-report.ts';
import { addressSpaces, MACHINE, SPACE } from './job/handle-arguments.ts';
import { Prefetchers } from './load/prefetch.ts';
import {
  RESTORE_OPTIONS,
  type RestoreOptions,
  type RestoreResult,
  restoreImage,
} from './load/restore.ts';
import { NoSink } from './sinks/no-sink.ts';

/**
 * Runs jobs on worker threads, one job at a time; the next job waits for it. `createDumper` makes
 * one. Starting threads takes time, so keep a dumper for several jobs, and close it in the end:
 * until then it keeps Node alive. After `close`, every job rejects with DUMPER_CLOSED.
 */
export class Dumper extends ImageJobs {
  /** The number of workers that was asked for, else the most that a phase is given. */
  readonly workers: number;
  readonly #prefetchers: Prefetchers;

  /** @internal */
  constructor(options: DumperOptions = {}) {
    const checked = optionsOf('createDumper', options, DUMPER_OPTIONS);
    const { workers, rendezvous = false, faults, expectedBytes } = checked;
    const pool = new WorkerPool(workers, { rendezvous, faults }, expectedBytes);
    const buffers = new SharedBuffers(faults);
    super({ pool, buffers, digests: new PageDigestCache(), tracked: new TrackedImages() });
    this.workers = pool.workers;
    this.#prefetchers = new Prefetchers(pool, this.queue);
  }

  /**
   * Dumps one address space, or several of one machine, into one image, in the order given. A page
   * that a later address space shares with an earlier one is stored once. The machine is frozen
   * meanwhile, so all of them show the same instant, unless the option `freeze` is false. A snapshot
   * is dumped as it is, while the machine runs on.
   *
   * If anything fails, the dump rejects with one MmdumpError or AbortError and leaves nothing
   * behind; docs/RELIABILITY.md lists the exceptions, which the error names. The codes are
   * OPTION_INVALID, MM_GONE, PAGE_UNSUPPORTED, HUGETLB_REFUSED, SIZE_LIMIT, OUTPUT_EXISTS,
   * OUTPUT_FAILED, ENOMEM (no memory for the tables of the dump), BANK_UNREACHABLE, WORKER_LOST,
   * TOO_MANY_THREADS, DUMPER_CLOSED, MACHINE_CLOSED, MACHINE_POISONED and TIMEOUT; with a parent
   * also those of `openImage`, and IMAGE_CLOSED.
   *
   * docs/CLASSIFICATION.md has the rules for pages, docs/IMAGE_FORMAT.md the bytes of the image.
   */
  async dump(
    spaces: AddressSpace | readonly AddressSpace[] | Snapshot,
    options: DumpOptions,
  ): Promise<DumpReport> {
    const checked = optionsOf('dump', options, DUMP_OPTIONS);
    const resolved = resolveOptions(checked);
    const snapshot = isSnapshot(spaces) ? spaces : undefined;
    const state = snapshot === undefined ? resolved.state : stateOf(snapshot, checked.state);
    if (snapshot !== undefined) assertNoBits(resolved, 'a snapshot is of an earlier instant');
    const references = snapshot?.references ?? referencesOf(spaces);
    const run = (parent: DumpParent | undefined): Promise<DumpReport> =>
      this.queue.run(checked, 'open', (deadline) => {
        const native = (options: ResolvedOptions): Promise<DumpReport> => {
          if (snapshot !== undefined) return dumpSnapshot(this.engine, snapshot, options, deadline);
          const dump = resolved.pause === 'fork' ? dumpForked : runDump;
          return dump(this.engine, references, options, deadline);
        };
        const chosen = { ...resolved, state, parent, signal: deadline.signal };
        return checked.format === 'openvz' ? dumpOpenvz(native, chosen, deadline) : native(chosen);
      });
    const { parent } = checked;
    if (parent === undefined) return await run(undefined);
    return await parent.use((contents) => run({ id: parent.id, contents }));
  }

  /**
   * Estimates what a dump with these options would write: the pages by class, and the exact length
   * of the image in bytes. It plans, classifies and sizes as a dump does, but copies nothing and
   * creates nothing. It rejects as the dump would, except for failures of an output. The length of
   * an OpenVZ file is not known before it is made: OPTION_INVALID.
   */
  async estimate(
    spaces: AddressSpace | readonly AddressSpace[] | Snapshot,
    options: EstimateOptions = {},
  ): Promise<DumpEstimate> {
    const checked = optionsOf('estimate', options, ESTIMATE_OPTIONS);
    const report = await this.dump(spaces, { ...checked, to: new NoSink() });
    const { format, bytes } = report.image;
    return { ...report, image: { path: null, format, bytes, id: null } };
  }

  /**
   * Restores every mm of an image into a machine, which need not be the one that it came from, and
   * checks the payloads that it loads. It waits where the machine is frozen or an address space is
   * held. If it fails, it destroys what it has created, and leaves pages of both in `into`.
   * docs/IMAGE_FORMAT.md lists what a restore does not bring back.
   *
   * The machine needs at most 16 MiB of memory, plus a frame for each stored page ('copy', 'zero'
   * and 'clone' of all mappings), plus three frames per block for page tables. It also needs a free
   * slot (`maxAddressSpaces`) for each mm.
   *
   * It rejects with ENOMEM, ENOSPC, EMFILE, IMAGE_CHECKSUM, IMAGE_CORRUPT, INPUT_FAILED,
   * IMAGE_TOO_LARGE (`maxStateBytes`), IMAGE_CLOSED, BANK_UNREACHABLE, WORKER_LOST and
   * TOO_MANY_THREADS, and as every job with OPTION_INVALID, AbortError, TIMEOUT, DUMPER_CLOSED,
   * MACHINE_CLOSED and MACHINE_POISONED.
   */
  async restore(
    image: Image,
    machine: Machine,
    options: RestoreOptions = {},
  ): Promise<RestoreResult> {
    MACHINE('machine', machine);
    const checked = optionsOf('restore', options, RESTORE_OPTIONS);
    return IMAGE('image', image).use((contents) => {
      return this.queue.run(checked, 'restore', ({ signal }) => {
        if (checked.load !== 'on-demand') this.engine.pool.expectOne();
        return whileInUse(machine.parts, async () => {
          const { pool } = this.engine;
          const restored = await restoreImage(pool, contents, machine, { ...checked, signal });
          if (restored.onDemand > 0) this.#prefetchers.serve(machine.parts);
          return restored;
        });
      });
    });
  }

  /**
   * Imports live x86-64 Linux processes into a machine, or into the machine that a function makes
   * once it is known how much memory they need. All of them are stopped at one instant while they
   * are read, and go on afterwards unless they were stopped before. With `freeze` false they are
   * not stopped. The mms come in the order of `pids`, then descendants (`children`) by pid. As
   * root, pages that processes share after a fork are shared in the machine, too.
   *
   * It rejects with UNSUPPORTED_PLATFORM, PROCESS_NOT_FOUND, PROCESS_DENIED, PROCESS_GONE,
   * PROCESS_UNSTOPPABLE, PROCESS_CHANGED, PROCESS_RESUMED, INPUT_FAILED, ENOMEM, ENOSPC, EMFILE,
   * WORKER_LOST and TOO_MANY_THREADS, and as every job with OPTION_INVALID, AbortError, TIMEOUT,
   * DUMPER_CLOSED, MACHINE_CLOSED and MACHINE_POISONED. docs/decisions/live-processes.md says how
   * it works.
   */
  async importProcess(
    machine: Machine | MachineFor,
    pids: number | readonly number[],
    options: ImportOptions = {},
  ): Promise<ImportResult> {
    const target = machineOrMaker('machine', machine);
    const asked = processIds('pid', pids);
    const checked = optionsOf('importProcess', options, IMPORT_OPTIONS);
    return this.queue.run(checked, 'import', ({ signal }) => {
      this.engine.pool.expectOne();
      const { pool } = this.engine;
      const importing = importWith(pool, target, asked, { ...checked, signal });
      if (checked.load !== 'on-demand') return importing;
      return importing.then((imported) => {
        this.#prefetchers.serve(imported.mms[0]!.reference.machine);
        return imported;
      });
    });
  }

  /**
   * Imports an ELF core file of x86-64 Linux into a machine, or into the machine that a function
   * makes once it is known how much memory it needs. docs/decisions/core-files.md says what a core
   * does not tell, and how that is filled in.
   *
   * It rejects with INPUT_FAILED, IMAGE_NOT_RECOGNISED, IMAGE_VERSION, IMAGE_TRUNCATED,
   * IMAGE_CORRUPT, IMAGE_TOO_LARGE (more than 2^20 segments or 65 530 mappings), ENOMEM, ENOSPC,
   * EMFILE, WORKER_LOST and TOO_MANY_THREADS, and as every job with OPTION_INVALID, AbortError,
   * TIMEOUT, DUMPER_CLOSED, MACHINE_CLOSED and MACHINE_POISONED.
   */
  async importCore(
    machine: Machine | MachineFor,
    path: string,
    options: CoreOptions = {},
  ): Promise<CoreImport> {
    const target = machineOrMaker('machine', machine);
    const from = pathname('path', path);
    const checked = optionsOf('importCore', options, CORE_OPTIONS);
    return this.queue.run(checked, 'import', ({ signal }) => {
      this.engine.pool.expectOne();
      const importing = importCoreWith(this.engine.pool, target, from, { ...checked, signal });
      if (checked.load !== 'on-demand') return importing;
      return importing.then((imported) => {
        this.#prefetchers.serve(imported.mm.reference.machine);
        return imported;
      });
    });
  }

  /**
   * Compares the mappings, the LDTs and the pages of two address spaces, of one machine or of two,
   * and names the first difference. The machines are frozen meanwhile, and nothing faults in.
   *
   * It rejects with MM_GONE, BANK_UNREACHABLE, WORKER_LOST and TOO_MANY_THREADS (it takes one of
   * the thread ids per address space), and as every job with OPTION_INVALID, AbortError, TIMEOUT,
   * DUMPER_CLOSED, MACHINE_CLOSED and MACHINE_POISONED.
   */
  async compare(
    left: AddressSpace,
    right: AddressSpace,
    options: CompareOptions = {},
  ): Promise<Comparison> {
    SPACE('left', left);
    SPACE('right', right);
    const checked = optionsOf('compare', options, COMPARE_OPTIONS);
    return this.queue.run(checked, 'compare', ({ signal }) =>
      compareWith(this.engine.pool, left, right, { ...checked, signal }),
    );
  }

  /**
   * Ends the worker threads, after the jobs that are queued. A later job rejects with
   * DUMPER_CLOSED. Closing twice has no further effect: every call resolves when the threads have
   * ended.
   */
  close(): Promise<void> {
    this.#prefetchers.close();
    return this.queue.close(async () => {
      this.engine.buffers.clear();
      this.engine.digests.clear();
      this.engine.tracked.clear();
      await this.engine.pool.close();
    });
  }

  /** The same as `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Creates a dumper. With `workers` or `expectedBytes` threads start now, otherwise when a job is
 * worth them. Close the dumper in the end, or Node stays alive. It rejects with OPTION_INVALID, and
 * with PACKAGE_BUNDLED where a bundler has left the files of the workers behind.
 */
export async function createDumper(options: DumperOptions = {}): Promise<Dumper> {
  return new Dumper(options);
}

function referencesOf(spaces: unknown): readonly MmReference[] {
  return addressSpaces('spaces', spaces).map(({ reference }) => reference);
}
