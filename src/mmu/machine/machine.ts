/**
 * The simulated machine as its user sees it: memory, address spaces, threads, and what it inherits,
 * its files (`machine-files.ts`) and its events (`machine-events.ts`).
 */
import {
  abortSignal,
  instanceOf,
  isInstance,
  optional,
  wholeNumber,
} from '../../shared/arguments/checks.ts';
import { optionsOf } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import type { MachineHandle } from '../../shared/machine-handle.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import { holdGate } from '../mm/hold.ts';
import { MachineParts } from '../mm/machine-parts.ts';
import { threadGone } from '../mm/thread-gone.ts';
import type { AdoptedBank } from '../physical/adopted.ts';
import { AddressSpace, newAddressSpace } from './address-space.ts';
import { retryAfterReclaim, runInGateAsync } from './enter.ts';
import { FREEZE_OPTIONS, type Freeze, type FreezeOptions, freezeMachine } from './freeze.ts';
import { closeMachine } from './lifetime.ts';
import { MachineFiles } from './machine-files.ts';
import { reclaim, reclaimAsync } from './memory-pressure.ts';
import { livingMms, mergePages, mergePagesAsync } from './merge-pages.ts';
import { type Snapshot, takeSnapshot, takeSnapshotAsync } from './snapshot.ts';
import type { SnapshotOptions } from './snapshot-options.ts';

/** An amount of memory and how much of it is free, in bytes. */
export interface MemoryAmount {
  /** All bytes, used and free. */
  readonly total: number;
  /** Bytes that are free. */
  readonly free: number;
}

const SPACE = instanceOf(AddressSpace, 'an AddressSpace');
const BYTES = wholeNumber(0);
const THREAD = wholeNumber(0);
const SIGNAL = optional(abortSignal);

/**
 * A simulated machine as one thread sees it. `createMachine` makes one, `attach` joins one.
 *
 * A plain method that would have to wait, for a freeze or a lock, blocks on a thread that may
 * block, and throws EAGAIN on a thread that must not. Its Async twin waits without blocking. All
 * members throw MACHINE_CLOSED once the machine is closed, except `thread`, `threadGone`, `detach`
 * and `close`. Operations fail with MACHINE_POISONED after a thread died in the middle of a change.
 */
export class Machine extends MachineFiles {
  readonly #parts: MachineParts;

  /** @internal */
  constructor(parts: MachineParts) {
    super();
    if (!isInstance(parts, MachineParts)) {
      throw refusal('new Machine', parts, 'a call of createMachine or attach');
    }
    this.#parts = parts;
  }

  /** @internal For the dumper and other rooms of mmdump. Throws MACHINE_CLOSED after `close`. */
  override get parts(): MachineParts {
    this.#parts.threads.assertOpen();
    return this.#parts;
  }

  /** The handle with which another thread attaches to this machine. It can be posted. */
  get handle(): MachineHandle {
    return this.parts.handle;
  }

  /** The id of this thread. If the thread dies, another one passes the id to `threadGone`. */
  get thread(): number {
    const { threads, thread } = this.#parts;
    return threads.tokenOf(thread);
  }

  /**
   * Physical memory of the machine in bytes, page tables and device memory included. `banks` do not
   * count.
   */
  get memory(): MemoryAmount {
    return {
      total: this.parts.memory.ownFrames * PAGE_SIZE,
      free: this.parts.allocator.freeFrames * PAGE_SIZE,
    };
  }

  /** The memories that `createMachine` was given as `banks`, in their order. */
  get banks(): AdoptedBank[] {
    return this.parts.adopted;
  }

  /** Swap in bytes. */
  get swap(): MemoryAmount {
    const { slots, free } = this.parts.swap;
    return { total: slots * PAGE_SIZE, free: free * PAGE_SIZE };
  }

  /**
   * The store in bytes. It keeps paths and contents of files, auxiliary vectors and notes. Each of
   * them takes a header of 16 bytes, and its length is rounded up to 16 bytes.
   */
  get store(): MemoryAmount {
    const { total, free } = this.parts.store;
    return { total, free };
  }

  /**
   * Creates an address space without mappings (mm_alloc). Throws ENOMEM if all slots
   * (`maxAddressSpaces`) or all frames are taken.
   */
  createAddressSpace(): AddressSpace {
    const { parts } = this;
    const { thread } = parts;
    return retryAfterReclaim(parts, () => {
      return holdGate(parts, thread, () => newAddressSpace(parts, thread));
    });
  }

  /**
   * Like `createAddressSpace`, but waits while the machine is frozen. Rejects with AbortError if
   * `signal` fires during the wait.
   */
  async createAddressSpaceAsync(signal?: AbortSignal): Promise<AddressSpace> {
    SIGNAL('signal', signal);
    const { parts } = this;
    return runInGateAsync(parts, (thread) => newAddressSpace(parts, thread), signal);
  }

  /** Returns every living address space of the machine, also those that other threads made. */
  addressSpaces(): AddressSpace[] {
    return livingMms(this.parts).map(({ machine, slot, generation }) => {
      return new AddressSpace(machine, slot, generation);
    });
  }

  /** The same as `space.exit()`. Throws OPTION_INVALID for an address space of another machine. */
  destroyAddressSpace(space: AddressSpace): void {
    this.#own(space).exit();
  }

  /**
   * Like `destroyAddressSpace`, but waits while the address space is held or the machine frozen.
   */
  async destroyAddressSpaceAsync(space: AddressSpace): Promise<void> {
    return this.#own(space).exitAsync();
  }

  /** Throws OPTION_INVALID unless it is an address space of this machine. */
  #own(space: AddressSpace): AddressSpace {
    const { reference } = SPACE('space', space);
    if (reference.machine.isSameMachine(this.parts)) return space;
    throw refusal('space', space, 'an AddressSpace of this machine, not of another');
  }

  /**
   * Takes a snapshot of address spaces at one instant: copy-on-write clones, which share page tables
   * and pages with them until they are written. `rewind` brings them back. Throws OPTION_INVALID,
   * ENOMEM if all slots (`maxAddressSpaces`) or all frames are taken, MM_GONE, TOO_MANY_THREADS (it
   * takes an id per address space meanwhile), and EAGAIN.
   */
  snapshot(options: SnapshotOptions = {}): Snapshot {
    return takeSnapshot(this.parts, options);
  }

  /**
   * Like `snapshot`, but waits while the machine is frozen or an address space is held. Rejects
   * with AbortError if `signal` fires during a wait.
   */
  async snapshotAsync(options: SnapshotOptions = {}, signal?: AbortSignal): Promise<Snapshot> {
    return takeSnapshotAsync(this.parts, options, signal);
  }

  /**
   * Merges anonymous pages with equal bytes in all mappings with the advice 'mergeable', in all
   * address spaces: one full scan of ksmd (mm/ksm.c). Returns the number of pages that gave up
   * their frame. A thread that must not block skips address spaces that are busy, and throws EAGAIN
   * if the machine is frozen.
   */
  mergePages(): number {
    return mergePages(this.parts);
  }

  /**
   * Like `mergePages`, but waits for address spaces that are busy. Rejects with AbortError if
   * `signal` fires during a wait.
   */
  async mergePagesAsync(signal?: AbortSignal): Promise<number> {
    SIGNAL('signal', signal);
    return mergePagesAsync(this.parts, signal);
  }

  /**
   * Reclaims memory as a machine does that has no free frame (direct reclaim, mm/vmscan.c), until
   * it has freed `bytes`, rounded up to pages. Unmapped pages of files go first, then pages that
   * were not accessed since the last scan, then any others. Returns the bytes that it freed. They
   * can be fewer, or more, since a 2 MiB page goes as a whole. A thread that must not block skips
   * what is busy, and throws EAGAIN if nothing could be freed for that reason.
   */
  reclaim(bytes: number): number {
    return reclaim(this.parts, Math.ceil(BYTES('bytes', bytes) / PAGE_SIZE)) * PAGE_SIZE;
  }

  /**
   * Like `reclaim`, but waits for address spaces that are busy. Rejects with AbortError if `signal`
   * fires during a wait.
   */
  async reclaimAsync(bytes: number, signal?: AbortSignal): Promise<number> {
    SIGNAL('signal', signal);
    const freed = await reclaimAsync(
      this.parts,
      Math.ceil(BYTES('bytes', bytes) / PAGE_SIZE),
      signal,
    );
    return freed * PAGE_SIZE;
  }

  /**
   * Stops every operation on the machine, and resolves once none is under way. Several freezes can
   * be in force at the same time; each takes a thread id. Rejects with AbortError, and with
   * TOO_MANY_THREADS if attached threads have all ids.
   */
  async freeze(options: FreezeOptions = {}): Promise<Freeze> {
    const { signal } = optionsOf('freeze', options, FREEZE_OPTIONS);
    return freezeMachine(this.parts, signal);
  }

  /**
   * Takes a thread id for a thread that is about to be started. That thread passes it to `attach`.
   * Throws TOO_MANY_THREADS if no id is free.
   */
  registerThread(): number {
    const { threads } = this.parts;
    return threads.tokenOf(threads.register());
  }

  /**
   * Tells the machine that a thread died without detaching. Its read locks, queue places and
   * freezes are given back. If it died in the middle of a change, the machine is poisoned: every
   * later operation fails with MACHINE_POISONED. Nothing happens if the machine knows already. On
   * Linux it finds out by itself, only later (docs/SHARED_MEMORY.md). Throws OPTION_INVALID for the
   * calling thread's own id.
   */
  threadGone(thread: number): void {
    const { threads } = this.#parts;
    if (THREAD('thread', thread) === this.thread) {
      throw refusal('thread', thread, 'the id of another thread, not of the calling one');
    }
    const id = threads.idOf(thread);
    if (id >= 0) threadGone(this.#parts, id);
    threads.lookForEnded(); // the asynchronous operations of that thread have ended with it
  }

  /** Gives the id of this thread back, and closes the host files that are open for it. */
  detach(): void {
    this.#parts.detach();
  }

  /**
   * Ends the machine for all threads: every later operation fails with MACHINE_CLOSED. Operations
   * and dumps that are inside the machine finish first. An import or a restore fails, since it
   * would have to enter again. A freeze ends with the machine.
   *
   * The promise resolves when this thread and its dumpers have let go of the memory, which is then
   * freed. Other attached threads keep it until they next use the machine, or end. A second call
   * resolves with the first.
   */
  close(): Promise<void> {
    return closeMachine(this.#parts);
  }

  /** The same as `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Begins what `close` does and does not wait for its end, for `using`. */
  [Symbol.dispose](): void {
    void this.close();
  }
}
