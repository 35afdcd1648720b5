/** The dumper: a pool of workers, and the jobs that run on it. */
import type { AddressSpace } from '../mmu/machine/address-space.ts';
import { whileInUse } from '../mmu/machine/lifetime.ts';
import type { Machine } from '../mmu/machine/machine.ts';
import { flag, instanceOf, optional, wholeNumber } from '../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../shared/arguments/options.ts';
import { MmdumpError } from '../shared/errors.ts';
import type { FaultPlan } from '../shared/faults.ts';
import { throwIfAborted } from '../shared/sync/wait.ts';
import {
  COMPARE_OPTIONS,
  type CompareOptions,
  type Comparison,
  compareWith,
} from './compare/compare.ts';
import { WORKERS_MAX } from './crew/crew.ts';
import { WorkerPool } from './crew/pool.ts';
import { runDump } from './dump/dump.ts';
import {
  DUMP_OPTIONS,
  type DumpOptions,
  ESTIMATE_OPTIONS,
  type EstimateOptions,
  resolveOptions,
} from './dump/options.ts';
import type { Engine } from './dump/pass.ts';
import type { DumpEstimate, DumpReport } from './dump/report.ts';
import { SharedBuffers } from './dump/shared-buffers.ts';
import { Image } from './image/image.ts';
import { imageSource } from './image/source/open-source.ts';
import {
  VERIFY_OPTIONS,
  type Verification,
  type VerifyOptions,
  verifyWith,
} from './image/verify.ts';
import { IMPORT_OPTIONS, machineOrMaker, processIds } from './import/import-arguments.ts';
import { importWith } from './import/import-process.ts';
import type { ImportOptions, ImportResult, MachineFor } from './import/import-report.ts';
import { FAULT_PLAN } from './job/faults.ts';
import { addressSpaces, MACHINE, SPACE } from './job/handle-arguments.ts';
import { abortable, type Deadline, type JobOptions, withDeadline } from './job/stop.ts';
import {
  RESTORE_OPTIONS,
  type RestoreOptions,
  type RestoreResult,
  restoreImage,
} from './load/restore.ts';
import type { MemoryImage } from './sinks/memory-sink.ts';
import { NoSink } from './sinks/no-sink.ts';

/** Options of `createDumper`. */
export interface DumperOptions {
  /**
   * Worker threads: every phase of every job runs on so many, as far as it has units of work for
   * them. Default: chosen for each phase, by its bytes, the cores, the CPU quota and the free memory;
   * the report of a dump says how many and why.
   */
  readonly workers?: number | undefined;
  /**
   * Bytes of memory that the first job will be about, where the number of workers is not given: the
   * threads that it is worth start at once. Default: unknown; they start when the job has found out.
   */
  readonly expectedBytes?: number | undefined;
  /**
   * For tests of parallelism: every worker waits after its first claim until all have claimed one,
   * so that a finished dump proves that all ran at the same time. Default false.
   *
   * @internal
   */
  readonly rendezvous?: boolean | undefined;
  /**
   * For tests of failures: faults at named points (docs/RELIABILITY.md). Default: none.
   *
   * @internal
   */
  readonly faults?: FaultPlan | undefined;
}

const WORKERS = wholeNumber(1, WORKERS_MAX);
const DUMPER_OPTIONS: Shape<DumperOptions> = {
  workers: optional(WORKERS),
  expectedBytes: optional(wholeNumber(0)),
  rendezvous: optional(flag),
  faults: optional(FAULT_PLAN),
};

/** Runs one job at a time; the next waits for it. Keep it: starting threads takes its time. */
export class Dumper {
  /** As asked, or the most that a phase is given. */
  readonly workers: number;
  readonly #engine: Engine;
  #last: Promise<void> = Promise.resolve();
  #closed: Promise<void> | undefined;

  /** @internal */
  constructor(options: DumperOptions = {}) {
    const checked = optionsOf('createDumper', options, DUMPER_OPTIONS);
    const { workers, rendezvous = false, faults, expectedBytes } = checked;
    const pool = new WorkerPool(workers, { rendezvous, faults }, expectedBytes);
    this.workers = pool.workers;
    this.#engine = { pool, buffers: new SharedBuffers(faults) };
  }

  /**
   * Dumps an address space, or several of one machine, into one image, in the order given: pages
   * that a later one shares with an earlier one are stored once. The machine is frozen meanwhile, so
   * all show the same instant, unless the option `freeze` is false. Rejects with one MmdumpError (or AbortError) and leaves nothing behind
   * if anything fails.
   */
  async dump(
    spaces: AddressSpace | readonly AddressSpace[],
    options: DumpOptions,
  ): Promise<DumpReport> {
    const checked = optionsOf('dump', options, DUMP_OPTIONS);
    const references = addressSpaces('spaces', spaces).map(({ reference }) => reference);
    const resolved = resolveOptions(checked);
    return await this.#run(checked, (deadline) => {
      const { signal } = deadline;
      return runDump(this.#engine, references, { ...resolved, signal }, deadline);
    });
  }

  /**
   * What a dump with these options would come to: the pages by class and the exact length of the
   * image. Plans, classifies and sizes as a dump does, copies nothing, creates nothing. Fails as the
   * dump would, short of what its output would do.
   */
  async estimate(
    spaces: AddressSpace | readonly AddressSpace[],
    options: EstimateOptions = {},
  ): Promise<DumpEstimate> {
    const checked = optionsOf('estimate', options, ESTIMATE_OPTIONS);
    const report = await this.dump(spaces, { ...checked, to: new NoSink() });
    return { ...report, image: { path: null, format: 'cpt', bytes: report.image.bytes, id: null } };
  }

  /** Restores every mm of an image into a machine, which need not be the one it came from. */
  async restore(
    image: Image,
    machine: Machine,
    options: RestoreOptions = {},
  ): Promise<RestoreResult> {
    MACHINE('machine', machine);
    const checked = optionsOf('restore', options, RESTORE_OPTIONS);
    return IMAGE('image', image).use((contents) => {
      return this.#run(checked, (deadline) => {
        deadline.phase = 'restore';
        this.#engine.pool.expectOne();
        const { signal } = deadline;
        return whileInUse(machine.parts, () => {
          return restoreImage(this.#engine.pool, contents, machine, { ...checked, signal });
        });
      });
    });
  }

  /** Verifies an image: structure, order, bounds, checksums. Problems are listed, not thrown. */
  async verify(from: string | MemoryImage, options: VerifyOptions = {}): Promise<Verification> {
    const source = imageSource('from', from);
    const checked = optionsOf('verify', options, VERIFY_OPTIONS);
    return this.#run(checked, (deadline) => {
      deadline.phase = 'verify';
      return verifyWith(this.#engine.pool, source, { ...checked, signal: deadline.signal });
    });
  }

  /**
   * Imports live processes into a machine, or into the one that a function makes once it is known how
   * much memory is needed. All are stopped meanwhile, at one instant, and go on afterwards unless they
   * were stopped before; with `freeze` false they go on all the time. The mms come in the order of `pids`, then descendants (`children`) by pid.
   * As root, pages that forks share are shared in the machine.
   */
  async importProcess(
    machine: Machine | MachineFor,
    pids: number | readonly number[],
    options: ImportOptions = {},
  ): Promise<ImportResult> {
    const target = machineOrMaker('machine', machine);
    const asked = processIds('pid', pids);
    const checked = optionsOf('importProcess', options, IMPORT_OPTIONS);
    return this.#run(checked, (deadline) => {
      deadline.phase = 'import';
      this.#engine.pool.expectOne();
      const { signal } = deadline;
      return importWith(this.#engine.pool, target, asked, { ...checked, signal });
    });
  }

  /**
   * Compares what two address spaces map and show. Both are frozen meanwhile; nothing faults in. Names
   * the first page that differs.
   */
  async compare(
    left: AddressSpace,
    right: AddressSpace,
    options: CompareOptions = {},
  ): Promise<Comparison> {
    SPACE('left', left);
    SPACE('right', right);
    const checked = optionsOf('compare', options, COMPARE_OPTIONS);
    return this.#run(checked, (deadline) => {
      deadline.phase = 'compare';
      return compareWith(this.#engine.pool, left, right, { ...checked, signal: deadline.signal });
    });
  }

  /**
   * Ends the worker threads, after the jobs that are queued; a later job fails with DUMPER_CLOSED.
   * Closing twice is nothing: every call resolves when the threads have ended.
   */
  close(): Promise<void> {
    this.#closed ??= this.#end();
    return this.#closed;
  }

  async #end(): Promise<void> {
    await this.#last;
    this.#engine.buffers.clear();
    await this.#engine.pool.close();
  }

  /** The same as `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Runs a job after those before it. Its deadline counts from this call on; the job has to heed the
   * deadline's signal, and to say its phase.
   */
  #run<T>(options: JobOptions, job: (deadline: Deadline) => Promise<T>): Promise<T> {
    return withDeadline(options, 'queue', (deadline) =>
      this.#enqueue(async () => {
        throwIfAborted(deadline.signal);
        return await job(deadline);
      }, deadline.signal),
    );
  }

  /** `signal`: gives up waiting for the jobs before. */
  async #enqueue<T>(job: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.#closed !== undefined) throw new MmdumpError('DUMPER_CLOSED', 'the dumper was closed');
    const before = this.#last;
    this.#engine.pool.nextJob();
    const mine = abortable(before, signal).then(job); // whoever started the one before has its error
    // Only when both are over matters to the next; a result is not to be kept alive.
    this.#last = mine.then(
      () => {},
      () => before,
    );
    return mine;
  }
}

/** A dumper; its threads start now, or when a job is worth them. Close it, or Node stays alive. */
export async function createDumper(options: DumperOptions = {}): Promise<Dumper> {
  return new Dumper(options);
}

/** Which workers a single job runs on: those of a dumper, or some of its own. */
export interface WorkerChoice {
  /** The dumper whose workers do it. */
  readonly dumper?: Dumper | undefined;
  /** Without a dumper: how many threads to start. Default: as of `createDumper`. */
  readonly workers?: number | undefined;
}

const IMAGE = instanceOf(Image, 'an Image');
const WORKER_CHOICE: Shape<WorkerChoice> = {
  dumper: optional(instanceOf(Dumper, 'a Dumper')),
  workers: optional(WORKERS),
};

async function withDumper<T>(
  { dumper, workers }: WorkerChoice,
  job: (dumper: Dumper) => Promise<T>,
): Promise<T> {
  if (dumper !== undefined) return job(dumper);
  const own = await createDumper({ workers });
  try {
    return await job(own);
  } finally {
    await own.close();
  }
}

/**
 * Imports live processes into a machine, or into the one that a function makes once it is known how
 * much memory is needed (see docs/decisions/live-processes.md). They are stopped while they are
 * read, all at one instant, and go on afterwards unless they were stopped before.
 */
export async function importProcess(
  machine: Machine | MachineFor,
  pids: number | readonly number[],
  options: ImportOptions & WorkerChoice = {},
): Promise<ImportResult> {
  const shape = { ...IMPORT_OPTIONS, ...WORKER_CHOICE };
  const { dumper, workers, ...rest } = optionsOf('importProcess', options, shape);
  return withDumper({ dumper, workers }, (own) => own.importProcess(machine, pids, rest));
}

/** Verifies an image: structure, order, bounds, checksums. Problems are listed, not thrown. */
export async function verifyImage(
  from: string | MemoryImage,
  options: VerifyOptions & WorkerChoice = {},
): Promise<Verification> {
  const shape = { ...VERIFY_OPTIONS, ...WORKER_CHOICE };
  const { dumper, workers, ...rest } = optionsOf('verifyImage', options, shape);
  return withDumper({ dumper, workers }, (own) => own.verify(from, rest));
}

/** Compares what two address spaces map and show, and names the first page that differs. */
export async function compareAddressSpaces(
  left: AddressSpace,
  right: AddressSpace,
  options: CompareOptions & WorkerChoice = {},
): Promise<Comparison> {
  const shape = { ...COMPARE_OPTIONS, ...WORKER_CHOICE };
  const { dumper, workers, ...rest } = optionsOf('compareAddressSpaces', options, shape);
  return withDumper({ dumper, workers }, (own) => own.compare(left, right, rest));
}
