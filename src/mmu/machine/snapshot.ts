/** Snapshots of address spaces in memory, as their user sees them. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { abortSignal, isInstance, optional } from '../../shared/arguments/checks.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import type { StateBlobs } from '../../shared/arguments/state-blobs.ts';
import { errnoOf } from '../../shared/errors.ts';
import { VM } from '../../shared/vm-flags.ts';
import { doExit } from '../calls/exit.ts';
import { prepareRewind, rewindMm } from '../calls/rewind.ts';
import { cloneMm } from '../calls/snapshot.ts';
import { isUnreachableKind } from '../files/file-record.ts';
import { holdAll, holdAllAsync } from '../mm/hold-all.ts';
import { MachineParts } from '../mm/machine-parts.ts';
import type { Mm } from '../mm/mm.ts';
import { isMended, type MmReference, retryAfterReclaim, runOn, runOnAsync } from './enter.ts';
import { type SnapshotOptions, type SnapshotRequest, snapshotRequest } from './snapshot-options.ts';

const SIGNAL = optional(abortSignal);

/** What else a snapshot is made of. */
interface Taken {
  readonly state: StateBlobs;
  readonly pauseMs: number;
  readonly isIsolated: boolean;
  readonly trustsMarks: boolean;
}

/** One address space, and its clone. */
interface Pair {
  readonly of: MmReference;
  readonly clone: MmReference;
}

/**
 * A snapshot of address spaces at one instant, in memory of the machine. `machine.snapshot` makes
 * one. It shares pages with its address spaces until they are written, and takes one slot of
 * `maxAddressSpaces` for each. It belongs to the thread that made it. Drop it in the end.
 */
export class Snapshot {
  readonly #machine: MachineParts;
  readonly #id: number;
  /** @internal The bytes that the snapshot keeps beside memory. Nobody changes them. */
  readonly blobs: StateBlobs;
  /** @internal Milliseconds for which the address spaces stood still. */
  readonly pauseMs: number;
  /** @internal Whether nothing can change what a dump of the snapshot stores. */
  readonly isIsolated: boolean;
  readonly #trustsMarks: boolean;
  #pairs: readonly Pair[];

  /** @internal */
  constructor(machine: MachineParts, id: number, pairs: readonly Pair[], taken: Taken) {
    if (!isInstance(machine, MachineParts)) {
      throw refusal('new Snapshot', machine, 'a call of machine.snapshot');
    }
    this.#machine = machine;
    this.#id = id;
    this.#pairs = pairs;
    this.blobs = taken.state;
    this.pauseMs = taken.pauseMs;
    this.isIsolated = taken.isIsolated;
    this.#trustsMarks = taken.trustsMarks;
  }

  /** Copies of the bytes that the snapshot keeps beside memory, by name. */
  get state(): { [name: string]: Uint8Array } {
    return Object.fromEntries([...this.blobs].map(([name, bytes]) => [name, bytes.slice()]));
  }

  /** Whether the snapshot was dropped. */
  get isDropped(): boolean {
    return this.#pairs.length === 0;
  }

  /** @internal The clones, for a dump. Throws OPTION_INVALID once the snapshot is dropped. */
  get references(): readonly MmReference[] {
    return this.#live().map(({ clone }) => clone);
  }

  /**
   * Makes the address spaces what they were: mappings, fields, LDT, auxiliary vector, notes and
   * every page. The cost follows what was changed since. The snapshot stays, for the next time.
   * Shared memory and files are not put back. Throws MM_GONE if one of them was destroyed, EAGAIN,
   * ENOMEM, and BANK_UNREACHABLE if adopted memory is out of reach; nothing has changed then.
   */
  rewind(): void {
    const pairs = this.#live();
    const spaces = pairs.map((pair) => pair.of);
    retryAfterReclaim(this.#machine, () => holdAll(spaces, (mms) => this.#rewind(pairs, mms)));
  }

  /** Like `rewind`, but waits instead of throwing EAGAIN. */
  async rewindAsync(signal?: AbortSignal): Promise<void> {
    SIGNAL('signal', signal);
    const pairs = this.#live();
    const spaces = pairs.map((pair) => pair.of);
    await waiting(this.#machine, () => {
      return holdAllAsync(spaces, (mms) => this.#rewind(pairs, mms), signal);
    });
  }

  #rewind(pairs: readonly Pair[], mms: readonly Mm[]): void {
    const machine = this.#machine;
    // Only the parts of the clones are used, and not their thread.
    const cloneOf = (index: number): Mm => {
      const { slot, generation } = pairs[index]!.clone;
      return machine.mms.of(machine, slot, generation);
    };
    for (const [index, mm] of mms.entries()) prepareRewind(mm, cloneOf(index));
    for (const [index, mm] of mms.entries()) {
      rewindMm(mm, cloneOf(index), this.#id, this.#trustsMarks);
    }
  }

  /**
   * Gives the memory of the snapshot back. Dropping it twice, or after the machine was closed, has
   * no effect. Throws EAGAIN while a dump reads it, on a thread that must not block.
   */
  drop(): void {
    if (this.#machine.threads.isClosed) this.#pairs = [];
    while (this.#pairs.length > 0) {
      const { clone } = this.#pairs[0]!;
      const { slot, generation } = clone;
      runOn(this.#machine.mms.of(this.#machine, slot, generation), clone, 'write', doExit);
      this.#pairs = this.#pairs.slice(1);
    }
  }

  /** Like `drop`, but waits instead of throwing EAGAIN. */
  async dropAsync(): Promise<void> {
    const pairs = this.#machine.threads.isClosed ? [] : this.#pairs;
    this.#pairs = [];
    for (const { clone } of pairs) await runOnAsync(clone, 'write', doExit);
  }

  /** The same as `drop`, for `using`. */
  [Symbol.dispose](): void {
    this.drop();
  }

  /** The same as `dropAsync`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dropAsync();
  }

  #live(): readonly Pair[] {
    if (this.#pairs.length > 0) return this.#pairs;
    throw refusal('snapshot', this, 'a snapshot that was not dropped');
  }
}

/** Takes a snapshot. Throws as `Machine.snapshot` does. */
export function takeSnapshot(machine: MachineParts, options: SnapshotOptions): Snapshot {
  const request = snapshotRequest(machine, options);
  const { references } = request;
  return retryAfterReclaim(machine, () => {
    return holdAll(references, (mms) => cloneAll(machine, request, mms));
  });
}

/** The asynchronous twin of `takeSnapshot`, which waits. */
export async function takeSnapshotAsync(
  machine: MachineParts,
  options: SnapshotOptions,
  signal?: AbortSignal,
): Promise<Snapshot> {
  SIGNAL('signal', signal);
  const request = snapshotRequest(machine, options);
  return snapshotOfAsync(machine, request, signal);
}

/**
 * Takes a snapshot of these mms without state, for a dump. `first` is called with the mms before
 * they are cloned, each time that it is tried.
 */
export function snapshotOf(
  machine: MachineParts,
  references: readonly MmReference[],
  first: (mms: readonly Mm[]) => void,
  signal?: AbortSignal,
): Promise<Snapshot> {
  return snapshotOfAsync(
    machine,
    { references, state: new Map(), trustsMarks: false },
    signal,
    first,
  );
}

function snapshotOfAsync(
  machine: MachineParts,
  request: SnapshotRequest,
  signal: AbortSignal | undefined,
  first?: (mms: readonly Mm[]) => void,
): Promise<Snapshot> {
  const { references } = request;
  const clone = (mms: readonly Mm[]): Snapshot => {
    const begun = performance.now();
    first?.(mms);
    return cloneAll(machine, request, mms, begun);
  };
  return waiting(machine, () => holdAllAsync(references, clone, signal));
}

/** Runs `attempt`, and again after each reclaim that it needs. */
async function waiting<T>(machine: MachineParts, attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (errnoOf(error) !== 'EAGAIN' && isMended(machine, machine.thread, error)) continue;
      await nextTurn();
    }
  }
}

/** Clones all mms, or none. */
function cloneAll(
  machine: MachineParts,
  request: SnapshotRequest,
  mms: readonly Mm[],
  begun: number = performance.now(),
): Snapshot {
  const id = machine.nextSnapshot();
  const pairs: Pair[] = [];
  const clones: Mm[] = [];
  try {
    for (const [index, mm] of mms.entries()) {
      const clone = cloneMm(mm, id);
      clones.push(clone);
      const { slot } = clone;
      const { generation } = clone.struct;
      pairs.push({ of: request.references[index]!, clone: { machine, slot, generation } });
    }
  } catch (error) {
    for (const clone of clones) doExit(clone); // nobody else knows them
    throw error;
  }
  const isIsolated = clones.every(showsNoLiveFile);
  const pauseMs = performance.now() - begun;
  return new Snapshot(machine, id, pairs, { ...request, isIsolated, pauseMs });
}

/**
 * Whether all pages that a dump would store are the clone's own: none is of shared memory or of a
 * file that only a dump can supply. Those change with the machine.
 */
function showsNoLiveFile({ vmas, files }: Mm): boolean {
  for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
    const slot = vmas.slot(ordinal);
    const file = vmas.file(slot);
    if ((vmas.flags(slot) & (VM.MAYSHARE | VM.PFNMAP)) !== 0) return false;
    if (file !== 0 && isUnreachableKind(files.kind(file))) return false;
  }
  return true;
}

/** Whether the value is a Snapshot. */
export function isSnapshot(value: unknown): value is Snapshot {
  return isInstance(value, Snapshot);
}
