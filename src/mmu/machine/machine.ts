/** The simulated machine as its user sees it: memory, files, address spaces, threads. */
import { type Stats, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import {
  abortSignal,
  instanceOf,
  isInstance,
  oneOf,
  optional,
  pathname,
  read,
  wholeNumber,
} from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import type { MachineHandle } from '../../shared/machine-handle.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import { ATTACHED } from '../../shared/sync/thread-layout.ts';
import type { FileFields } from '../files/file-table.ts';
import { holdGate, passGateAsync } from '../mm/hold.ts';
import {
  ATTACH_OPTIONS,
  type AttachOptions,
  createMachineHandle,
  type MachineOptions,
  MachineParts,
  threadsOf,
} from '../mm/machine-parts.ts';
import { claimMm } from '../mm/mm.ts';
import { MmStruct } from '../mm/mm-struct.ts';
import { threadGone } from '../mm/thread-gone.ts';
import { AddressSpace, type MmHandle } from './address-space.ts';
import { retryAfterReclaim, runInGateAsync } from './enter.ts';
import { type FileOptions, fileFields, filePath, hostFileFields, SimulatedFile } from './file.ts';
import { machineHandle, mmHandle } from './handles.ts';
import { closeMachine, rememberView } from './lifetime.ts';
import { reclaim, reclaimAsync } from './memory-pressure.ts';
import { livingMms, mergePages, mergePagesAsync } from './merge-pages.ts';

/** A freeze in force. No operation on the machine runs until it is thawed. */
export interface Freeze {
  /** Lets operations run again. Calling it twice is nothing. */
  thaw(): void;
  /** The same, for `using`. */
  [Symbol.dispose](): void;
}

/** An amount of memory, in bytes. */
export interface MemoryAmount {
  /** All of it. */
  readonly total: number;
  /** What nobody uses. */
  readonly free: number;
}

/** How long `freeze` waits. */
export interface FreezeOptions {
  /** Gives up waiting: it rejects with AbortError, and nothing is frozen. */
  readonly signal?: AbortSignal | undefined;
}

const SPACE = instanceOf(AddressSpace, 'an AddressSpace');
const FREEZE_OPTIONS: Shape<FreezeOptions> = { signal: optional(abortSignal) };
const BYTES = wholeNumber(0);
const THREAD = wholeNumber(0);
const SIGNAL = optional(abortSignal);

/** A simulated machine as one thread sees it. `createMachine` makes one, `attach` joins one. */
export class Machine {
  readonly #parts: MachineParts;

  /** @internal */
  constructor(parts: MachineParts) {
    if (!isInstance(parts, MachineParts)) {
      throw refusal('new Machine', parts, 'a call of createMachine or attach');
    }
    this.#parts = parts;
  }

  /** @internal For the dumper and other rooms of mmdump. MACHINE_CLOSED once the machine is. */
  get parts(): MachineParts {
    this.#parts.threads.assertOpen();
    return this.#parts;
  }

  /** What another thread attaches to this machine with; can be posted to it. */
  get handle(): MachineHandle {
    return this.parts.handle;
  }

  /** Names this thread, for the `threadGone` of whoever started it. */
  get thread(): number {
    const { threads, thread } = this.#parts;
    return threads.tokenOf(thread);
  }

  /** Bytes of physical memory, and how many of them are free. */
  get memory(): MemoryAmount {
    return {
      total: this.parts.memory.frames * PAGE_SIZE,
      free: this.parts.allocator.freeFrames * PAGE_SIZE,
    };
  }

  /** Bytes of swap, and how many of them are free. */
  get swap(): MemoryAmount {
    const { slots, free } = this.parts.swap;
    return { total: slots * PAGE_SIZE, free: free * PAGE_SIZE };
  }

  /**
   * Bytes of the store, and how many of them are free. It keeps paths and contents of files,
   * auxiliary vectors and notes, each with a header of 16 bytes and rounded up to 16.
   */
  get store(): MemoryAmount {
    const { total, free } = this.parts.store;
    return { total, free };
  }

  /** A new, empty address space (mm_alloc). ENOMEM when every slot or frame is taken. */
  createAddressSpace(): AddressSpace {
    const { parts } = this;
    const { thread } = parts;
    return retryAfterReclaim(parts, () => {
      return holdGate(parts, thread, () => newAddressSpace(parts, thread));
    });
  }

  /** The asynchronous twin: waits while the machine is frozen. AbortError when `signal` fires. */
  async createAddressSpaceAsync(signal?: AbortSignal): Promise<AddressSpace> {
    SIGNAL('signal', signal);
    const { parts } = this;
    return runInGateAsync(parts, (thread) => newAddressSpace(parts, thread), signal);
  }

  /** Every living address space, as this thread sees it. */
  addressSpaces(): AddressSpace[] {
    return livingMms(this.parts).map(({ machine, slot, generation }) => {
      return new AddressSpace(machine, slot, generation);
    });
  }

  /** The same as the address space's `exit()`. */
  destroyAddressSpace(space: AddressSpace): void {
    this.#own(space).exit();
  }

  /** The asynchronous twin: waits for whoever holds the address space or has frozen the machine. */
  async destroyAddressSpaceAsync(space: AddressSpace): Promise<void> {
    return this.#own(space).exitAsync();
  }

  /** OPTION_INVALID unless it is an address space of this machine. */
  #own(space: AddressSpace): AddressSpace {
    const { reference } = SPACE('space', space);
    if (reference.machine.isSameMachine(this.parts)) return space;
    throw refusal('space', space, 'an AddressSpace of this machine: it is of another');
  }

  /**
   * Looks once for anonymous pages with equal bytes in mappings with advice 'mergeable', in all
   * address spaces, and merges them (one full scan of ksmd). Returns how many pages gave up their
   * frame. Address spaces that are busy are passed over on a thread that must not block.
   */
  mergePages(): number {
    return mergePages(this.parts);
  }

  /** The asynchronous twin waits for whoever holds an address space. AbortError with `signal`. */
  async mergePagesAsync(signal?: AbortSignal): Promise<number> {
    SIGNAL('signal', signal);
    return mergePagesAsync(this.parts, signal);
  }

  /**
   * Frees up to `bytes` of memory as a machine that runs out of it does: unmapped pages of files
   * first, then pages that were not accessed lately go to swap, then others. Returns the bytes.
   * Address spaces that are busy are passed over on a thread that must not block; EAGAIN if nothing
   * could be freed for that reason.
   */
  reclaim(bytes: number): number {
    return reclaim(this.parts, Math.ceil(BYTES('bytes', bytes) / PAGE_SIZE)) * PAGE_SIZE;
  }

  /** The asynchronous twin waits for whoever holds an address space. AbortError with `signal`. */
  async reclaimAsync(bytes: number, signal?: AbortSignal): Promise<number> {
    SIGNAL('signal', signal);
    const freed = await reclaimAsync(
      this.parts,
      Math.ceil(BYTES('bytes', bytes) / PAGE_SIZE),
      signal,
    );
    return freed * PAGE_SIZE;
  }

  /** Creates a file of the simulated machine. Close the object when it is not needed any more. */
  createFile(options: FileOptions): SimulatedFile {
    return this.#newFile(fileFields(options));
  }

  /** The asynchronous twin: waits while the machine is frozen. AbortError when `signal` fires. */
  async createFileAsync(options: FileOptions, signal?: AbortSignal): Promise<SimulatedFile> {
    SIGNAL('signal', signal);
    return await this.#newFileAsync(fileFields(options), signal);
  }

  /**
   * A file of the host, by its path. It is opened when somebody reads it, and never written. ENOENT
   * when it is not there.
   */
  hostFile(path: string): SimulatedFile {
    pathname('path', path);
    let size: number;
    try {
      ({ size } = statSync(path));
    } catch (error) {
      throw notThere(path, error);
    }
    return this.#newFile(hostFileFields(Buffer.from(path), size));
  }

  /** The asynchronous twin: waits while the machine is frozen. AbortError when `signal` fires. */
  async hostFileAsync(path: string, signal?: AbortSignal): Promise<SimulatedFile> {
    pathname('path', path);
    SIGNAL('signal', signal);
    const found = await stat(path).catch((error: unknown): Stats => {
      throw notThere(path, error);
    });
    return await this.#newFileAsync(hostFileFields(Buffer.from(path), found.size), signal);
  }

  #newFile(fields: FileFields): SimulatedFile {
    const { parts } = this;
    const id = holdGate(parts, parts.thread, () => parts.files.create(fields, parts.thread));
    return new SimulatedFile(parts, id);
  }

  async #newFileAsync(fields: FileFields, signal?: AbortSignal): Promise<SimulatedFile> {
    const { parts } = this;
    const create = (thread: number): number => parts.files.create(fields, thread);
    return new SimulatedFile(parts, await passGateAsync(parts, create, signal));
  }

  /**
   * The living file with this path, or undefined. The object holds a reference of its own: close it
   * when it is not needed any more. Of several files with one path, the one that was created last.
   */
  lookupFile(path: string | ArrayBufferView): SimulatedFile | undefined {
    const { parts } = this;
    const id = parts.files.open(filePath('path', path), parts.thread);
    return id === 0 ? undefined : new SimulatedFile(parts, id);
  }

  /** Stops every operation on the machine and resolves once none is under way. */
  async freeze(options: FreezeOptions = {}): Promise<Freeze> {
    const { signal } = optionsOf('freeze', options, FREEZE_OPTIONS);
    const { threads, gate, queue } = this.parts;
    // It is not waited for by whoever closes the machine: a freeze ends with it.
    const [thread] = (await queue.take(1, signal, ATTACHED)) as [number];
    try {
      await gate.freeze(thread, signal);
    } catch (error) {
      threads.release(thread);
      throw error;
    }
    let frozen = true;
    const thaw = (): void => {
      if (!frozen) return;
      frozen = false;
      gate.thaw(thread);
      threads.release(thread);
    };
    return { thaw, [Symbol.dispose]: thaw };
  }

  /** Takes a thread id for a thread that is about to be started; pass it to `attach`. */
  registerThread(): number {
    const { threads } = this.parts;
    return threads.tokenOf(threads.register());
  }

  /**
   * Tells the machine that a thread died without detaching. Its locks, queue places and freezes are
   * given back; if it died in the middle of a change, the machine is poisoned and every later
   * operation fails with MACHINE_POISONED. Nothing happens if that is known already. On Linux the
   * machine finds out by itself (docs/SHARED_MEMORY.md); who tells it is only quicker.
   */
  threadGone(thread: number): void {
    const { threads } = this.#parts;
    if (THREAD('thread', thread) === this.thread) {
      throw refusal('thread', thread, 'the id of another thread: this one is running');
    }
    const id = threads.idOf(thread);
    if (id >= 0) threadGone(this.#parts, id);
    threads.lookForEnded(); // what it had begun asynchronously has died with it
  }

  /** Gives back what this thread holds of the machine: its id and its open host files. */
  detach(): void {
    this.#parts.detach();
  }

  /**
   * Ends the machine for all threads: every later operation fails with MACHINE_CLOSED. Those that are
   * under way end first: what is inside the machine finishes, dumps too; what would have to enter it
   * once more, as an import or a restore does, fails. A freeze ends with the machine. Resolves when
   * this thread and its dumpers have let go of the memory, which then is back, unless other threads
   * are attached: they let go when they next come upon the machine, or end. Closing twice is nothing.
   */
  close(): Promise<void> {
    return closeMachine(this.#parts);
  }

  /** The same as `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Begins to close the machine: nothing can be done with it any more, its memory follows. */
  [Symbol.dispose](): void {
    void this.close();
  }
}

function notThere(path: string, error: unknown): MmdumpError {
  return new MmdumpError('ENOENT', `file ${path}: ${reasonOf(error)}`, {
    path,
    errno: errnoOf(error) ?? 'ENOENT',
  });
}

function newAddressSpace(parts: MachineParts, thread: number): AddressSpace {
  const slot = claimMm(parts, thread);
  const struct = new MmStruct(parts.mmWords, slot);
  struct.publish();
  return new AddressSpace(parts, slot, struct.generation);
}

/** Creates a simulated machine. MACHINE_TOO_LARGE when the system refuses the address space. */
export function createMachine(options: MachineOptions): Machine {
  const parts = new MachineParts(createMachineHandle(options), { mayBlock: false });
  rememberView(parts, true);
  return new Machine(parts);
}

/** Attaches the calling thread to a machine or to an address space, from its handle. */
export function attach(handle: MachineHandle, options?: AttachOptions): Machine;
/** Attaches the calling thread to an address space, from its handle. */
export function attach(handle: MmHandle, options?: AttachOptions): AddressSpace;
export function attach(
  handle: MachineHandle | MmHandle,
  options: AttachOptions = {},
): Machine | AddressSpace {
  const checked = optionsOf('attach', options, ATTACH_OPTIONS);
  if (KIND('handle.kind', read(handle, 'kind')) === 'machine') {
    return new Machine(viewOf(machineHandle('handle', handle), checked));
  }
  const { machine, slot, generation } = mmHandle('handle', handle);
  return new AddressSpace(viewOf(machine, checked), slot, generation);
}

const KIND = oneOf(['machine', 'mm']);

function viewOf(handle: MachineHandle, options: AttachOptions): MachineParts {
  const { thread: token } = options;
  const threads = threadsOf(handle);
  threads.assertOpen();
  if (token === undefined) {
    const parts = new MachineParts(handle, options);
    rememberView(parts, true);
    return parts;
  }
  const thread = threads.idOf(token);
  if (thread < 0) throw new MmdumpError('OPTION_INVALID', `thread: ${token} is not registered`);
  const parts = new MachineParts(handle, { ...options, thread });
  parts.adopt();
  rememberView(parts, false);
  return parts;
}
