/**
 * Shared by all rows: folders, machines, dumpers with a fault plan, and the checks after a fault.
 */
import { mkdtempSync, readdirSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import {
  type AddressSpace,
  createDumper,
  createWorkload,
  type Dumper,
  type DumpOptions,
  type Machine,
  MiB,
  memorySink,
} from 'mmdump';
import {
  type ArmedFaults,
  armFaults,
  type Fault,
  type FaultPoint,
  GATE,
  passesOf,
} from '../../src/shared/faults.ts';
import { assertNobodyIsThere } from '../stress/after.ts';

/** Both workers of a dumper that has two. */
export const BOTH = [0, 1] as const;

/** Small units, so that there are several of them. */
const UNIT_BYTES = 2 * MiB;
const AUXV = new Uint8Array(16).fill(1);
const NEVER = Number.POSITIVE_INFINITY;

/** `npm test` runs some cases of some rows; `npm run reliability` and the long mode run all. */
export type Breadth = 'some' | 'all';

export class Lab {
  readonly breadth: Breadth;
  readonly plan: { armed: ArmedFaults | undefined } = { armed: undefined };
  /** Folders for outputs: on disk, and in memory where that is another file system. */
  readonly folders: ReadonlyMap<string, string>;
  /** Two workers that wait for each other after their first claim, so that both have a unit. */
  readonly pair: Dumper;
  readonly machine: Machine;
  readonly space: AddressSpace;
  /** The bytes of the image of `space`. */
  readonly image: Buffer;
  /** Points at which a fault has happened so far. */
  readonly reached: Set<FaultPoint> = new Set();
  readonly #threads: Set<Worker>;
  readonly #listeners: number;

  private constructor(
    breadth: Breadth,
    folders: ReadonlyMap<string, string>,
    pair: Dumper,
    space: AddressSpace,
    machine: Machine,
    image: Buffer,
    plan: { armed: ArmedFaults | undefined },
    threads: Set<Worker>,
  ) {
    this.breadth = breadth;
    this.folders = folders;
    this.pair = pair;
    this.space = space;
    this.machine = machine;
    this.image = image;
    this.plan = plan;
    this.#threads = threads;
    this.#listeners = process.listenerCount('exit');
  }

  static async open(breadth: Breadth): Promise<Lab> {
    const threads = new Set<Worker>();
    process.on('worker', (worker: Worker) => {
      threads.add(worker);
      worker.once('exit', () => threads.delete(worker));
    });
    const plan = { armed: undefined };
    const pair = await createDumper({ workers: 2, rendezvous: true, faults: plan });
    const { machine, space } = await createWorkload('mixed', { size: 4 * MiB });
    space.setAuxv(AUXV);
    const image = await imageOf(pair, space);
    return new Lab(breadth, makeFolders(), pair, space, machine, image, plan, threads);
  }

  async close(): Promise<void> {
    await this.pair.close();
    for (const folder of this.folders.values()) rmSync(folder, { recursive: true });
  }

  get folder(): string {
    return this.folders.get('file')!;
  }

  options(to: DumpOptions['to']): DumpOptions {
    return { to, unitBytes: UNIT_BYTES };
  }

  /** Arms these faults for the next job. */
  arm(...faults: Fault[]): void {
    this.plan.armed = armFaults(faults);
  }

  /** How often `job` passes a point when nothing fails. */
  async count(fault: Omit<Fault, 'nth' | 'action'>, job: () => Promise<unknown>): Promise<number> {
    this.arm({ ...fault, nth: NEVER, action: { kind: 'throw' } });
    try {
      await job();
      return passesOf(this.plan.armed!, 0);
    } finally {
      this.plan.armed = undefined;
    }
  }

  /**
   * Runs a job with faults armed. Returns 'done' or the error. By then every fault must have
   * happened.
   */
  async attempt(
    job: () => Promise<unknown>,
    faults: readonly Fault[],
    allHappen = true,
  ): Promise<Failed | 'done'> {
    const armed = armFaults(faults);
    this.plan.armed = armed;
    try {
      await job();
      return 'done';
    } catch (error) {
      return error as Failed;
    } finally {
      this.plan.armed = undefined;
      faults.forEach(({ point, nth }, index) => {
        const passes = passesOf(armed, index);
        if (passes >= nth) this.reached.add(point);
        if (allHappen && passes < nth) throw new Error(`${point}: passed ${passes}/${nth}`);
      });
    }
  }

  /** Returns the thread that a fault holds, once it has arrived there. */
  async held(gate: SharedArrayBuffer): Promise<Worker> {
    const words = new Int32Array(gate);
    const wait = Atomics.waitAsync(words, GATE.ARRIVED, 0);
    if (wait.async) await wait.value;
    const id = Atomics.load(words, GATE.ARRIVED);
    for (const worker of this.#threads) if (worker.threadId === id) return worker;
    throw new Error(`no thread ${id}`);
  }

  /**
   * The passes of a point at which a case fails: all, or the first two, a middle one and the last.
   */
  passes(count: number): number[] {
    const all = Array.from({ length: count }, (_, index) => index + 1);
    if (this.breadth === 'all') return all;
    return [
      ...new Set([...all.slice(0, 2), ...all.slice(count >> 1).slice(0, 1), ...all.slice(-1)]),
    ];
  }

  /** The ways in which one thing fails: all, or the first and the last. */
  ways<T>(all: readonly T[]): readonly T[] {
    return this.breadth === 'all' || all.length < 3 ? all : [all[0]!, all.at(-1)!];
  }

  /** Any thread of the dumper; between jobs it has nothing to do. */
  get idleThread(): Worker {
    return [...this.#threads][0]!;
  }

  /** Throws unless the machine, the process and the dumper are as if nothing had happened. */
  async assertAsBefore(): Promise<void> {
    assertNobodyIsThere(this.machine);
    const listeners = process.listenerCount('exit');
    if (listeners !== this.#listeners) throw new Error(`${listeners} listeners for the end`);
    const open = this.#openFiles();
    if (open.length > 0) throw new Error(`still open: ${open}`);
    this.space.setAuxv(AUXV); // takes the mmap lock for writing
    const image = await imageOf(this.pair, this.space);
    if (!image.equals(this.image)) throw new Error('the next dump has other bytes');
  }

  /** Files of the folders that this process still has open. */
  #openFiles(): string[] {
    return readdirSync('/proc/self/fd').flatMap((fd) => {
      try {
        const path = readlinkSync(`/proc/self/fd/${fd}`);
        return [...this.folders.values()].some((folder) => path.startsWith(folder)) ? [path] : [];
      } catch {
        return []; // the descriptor by which the directory was read
      }
    });
  }
}

/** An error, as a test looks at it. */
export interface Failed extends Error {
  readonly code?: string;
  readonly fields?: { readonly [name: string]: unknown };
}

/**
 * Returns the code of an outcome. An error without code is a mistake in a test or in the program
 * itself, so it is thrown.
 */
export function codeOf(outcome: Failed | 'done'): string {
  if (outcome === 'done') return 'done';
  if (typeof outcome.code === 'string') return outcome.code;
  throw outcome;
}

export async function imageOf(dumper: Dumper, space: AddressSpace): Promise<Buffer> {
  const sink = memorySink();
  await dumper.dump(space, { to: sink, unitBytes: UNIT_BYTES });
  const { bytes, chunks } = sink.image;
  return Buffer.from(chunks[0]!.subarray(0, bytes));
}

export function openGate(gate: SharedArrayBuffer): void {
  const words = new Int32Array(gate);
  Atomics.store(words, GATE.OPEN, 1);
  Atomics.notify(words, GATE.OPEN);
}

function makeFolders(): ReadonlyMap<string, string> {
  const folders = new Map([['file', mkdtempSync(join(tmpdir(), 'mmdump-faults-'))]]);
  try {
    const folder = mkdtempSync('/dev/shm/mmdump-faults-');
    if (statSync(folder).dev === statSync(tmpdir()).dev) rmSync(folder, { recursive: true });
    else folders.set('file on another file system', folder);
  } catch {
    // There is no such folder here.
  }
  return folders;
}
