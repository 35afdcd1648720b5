/** Snapshots of address spaces in memory, as their user sees them. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { bytesOf } from '../../shared/arguments/bytes.ts';
import {
  abortSignal,
  instanceOf,
  isInstance,
  list,
  optional,
  wholeNumber,
} from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { errnoOf } from '../../shared/errors.ts';
import { MiB } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { doExit } from '../calls/exit.ts';
import { prepareRewind, rewindMm } from '../calls/rewind.ts';
import { cloneMm } from '../calls/snapshot.ts';
import { isUnreachableKind } from '../files/file-record.ts';
import { holdAll, holdAllAsync } from '../mm/hold-all.ts';
import type { MachineParts } from '../mm/machine-parts.ts';
import type { Mm } from '../mm/mm.ts';
import { AddressSpace } from './address-space.ts';
import { isMended, type MmReference, retryAfterReclaim, runOn, runOnAsync } from './enter.ts';
import { livingMms } from './merge-pages.ts';

/** State that a snapshot keeps beside memory: bytes under a name, such as registers of a CPU. */
export type SnapshotState = { readonly [name: string]: ArrayBufferView };

/** Options of `snapshot`. */
export interface SnapshotOptions {
  /** The address spaces to keep. Default: all of the machine. */
  readonly spaces?: readonly AddressSpace[] | undefined;
  /** Bytes to keep beside them, by name. They are copied. Default: none. */
  readonly state?: SnapshotState | undefined;
  /** The most bytes that `state` may have altogether. Default 64 MiB. */
  readonly maxStateBytes?: number | undefined;
}

const STATE_BYTES = 64 * MiB;
const SPACES = list(instanceOf(AddressSpace, 'an AddressSpace'));
const SIGNAL = optional(abortSignal);

const OPTIONS: Shape<SnapshotOptions> = {
  spaces: optional((what, value) => SPACES(what, value)),
  state: optional((what, value) => {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      return value as SnapshotState;
    }
    throw refusal(what, value, 'an object with bytes under names');
  }),
  maxStateBytes: optional(wholeNumber(0)),
};

/** What `snapshot` was asked for, checked and copied. */
interface Request {
  readonly references: readonly MmReference[];
  readonly state: ReadonlyMap<string, Uint8Array>;
}

/** What else a snapshot is made of. */
interface Taken {
  readonly state: ReadonlyMap<string, Uint8Array>;
  readonly pauseMs: number;
  readonly isIsolated: boolean;
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
  readonly #state: ReadonlyMap<string, Uint8Array>;
  /** @internal Milliseconds for which the address spaces stood still. */
  readonly pauseMs: number;
  /** @internal Whether nothing can change what a dump of the snapshot stores. */
  readonly isIsolated: boolean;
  #pairs: readonly Pair[];

  /** @internal */
  constructor(machine: MachineParts, id: number, pairs: readonly Pair[], taken: Taken) {
    this.#machine = machine;
    this.#id = id;
    this.#pairs = pairs;
    this.#state = taken.state;
    this.pauseMs = taken.pauseMs;
    this.isIsolated = taken.isIsolated;
  }

  /** Copies of the bytes that the snapshot keeps beside memory, by name. */
  get state(): { [name: string]: Uint8Array } {
    return Object.fromEntries([...this.#state].map(([name, bytes]) => [name, bytes.slice()]));
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
    for (const [index, mm] of mms.entries()) rewindMm(mm, cloneOf(index), this.#id);
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
  const request = requestOf(machine, options);
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
  const request = requestOf(machine, options);
  return snapshotOfAsync(machine, request, signal);
}

/** Takes a snapshot of these mms without state, for a dump. */
export function snapshotOf(
  machine: MachineParts,
  references: readonly MmReference[],
  signal?: AbortSignal,
): Promise<Snapshot> {
  return snapshotOfAsync(machine, { references, state: new Map() }, signal);
}

function snapshotOfAsync(
  machine: MachineParts,
  request: Request,
  signal: AbortSignal | undefined,
): Promise<Snapshot> {
  const { references } = request;
  return waiting(machine, () => {
    return holdAllAsync(references, (mms) => cloneAll(machine, request, mms), signal);
  });
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
function cloneAll(machine: MachineParts, request: Request, mms: readonly Mm[]): Snapshot {
  const begun = performance.now();
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
  return new Snapshot(machine, id, pairs, { state: request.state, isIsolated, pauseMs });
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

function requestOf(machine: MachineParts, options: SnapshotOptions): Request {
  const {
    spaces,
    state = {},
    maxStateBytes = STATE_BYTES,
  } = optionsOf('snapshot', options, OPTIONS);
  const references = spaces?.map((space) => space.reference) ?? livingMms(machine);
  for (const [index, { machine: other }] of references.entries()) {
    if (other.isSameMachine(machine)) continue;
    throw refusal(`spaces[${index}]`, spaces?.[index], 'an AddressSpace of this machine');
  }
  const slots = new Set(references.map(({ slot }) => slot));
  if (slots.size < references.length) throw refusal('spaces', spaces, 'each address space once');
  if (references.length === 0) throw refusal('spaces', spaces, 'at least one address space');
  return { references, state: copyState(state, maxStateBytes) };
}

function copyState(state: SnapshotState, limit: number): Map<string, Uint8Array> {
  const copies = new Map<string, Uint8Array>();
  let bytes = 0;
  for (const [name, value] of Object.entries(state)) {
    const view = bytesOf(`state.${name}`, value);
    bytes += view.length;
    if (bytes > limit) {
      throw refusal('state: bytes', bytes, `at most ${limit} (maxStateBytes)`);
    }
    copies.set(name, Uint8Array.from(view));
  }
  return copies;
}

/** Whether the value is a Snapshot. */
export function isSnapshot(value: unknown): value is Snapshot {
  return isInstance(value, Snapshot);
}
