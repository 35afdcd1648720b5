/** The simulated machine as its user sees it: memory, files, address spaces, threads. */
import { statSync } from 'node:fs';
import {
  abortSignal,
  instanceOf,
  isInstance,
  oneOf,
  optional,
  pathname,
  read,
  wholeNumber,
} from '../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../shared/arguments/options.ts';
import { refusal } from '../shared/arguments/refuse.ts';
import { errnoOf, MmdumpError, reasonOf } from '../shared/errors.ts';
import type { MachineHandle } from '../shared/machine-handle.ts';
import { PAGE_SIZE } from '../shared/page.ts';
import { THREADS_MAX } from '../shared/sync/thread-table.ts';
import { AddressSpace, type MmHandle } from './address-space.ts';
import { retryAfterReclaim, runInGateAsync, runOn } from './enter.ts';
import { MergeScan } from './fault/ksm.ts';
import {
  createFile,
  createHostFile,
  type FileOptions,
  filePath,
  SimulatedFile,
} from './files/file.ts';
import { machineHandle, mmHandle } from './handles.ts';
import {
  ATTACH_OPTIONS,
  type AttachOptions,
  createMachineHandle,
  type MachineOptions,
  MachineParts,
} from './machine-parts.ts';
import { claimMm, type Mm } from './mm.ts';
import { MmStruct } from './mm-struct.ts';
import { reclaimFrames } from './swap/memory-pressure.ts';
import { threadGone } from './thread-gone.ts';

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
const THREAD = wholeNumber(0, THREADS_MAX - 1);

/** A simulated machine as one thread sees it. `createMachine` makes one, `attach` joins one. */
export class Machine {
  /** @internal For the dumper and other rooms of mmdump. */
  readonly parts: MachineParts;

  /** @internal */
  constructor(parts: MachineParts) {
    if (!isInstance(parts, MachineParts)) {
      throw refusal('new Machine', parts, 'a call of createMachine or attach');
    }
    this.parts = parts;
  }

  /** What another thread attaches to this machine with; can be posted to it. */
  get handle(): MachineHandle {
    return this.parts.handle;
  }

  /** This thread's id, for the `threadGone` of whoever started it. */
  get thread(): number {
    return this.parts.thread;
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

  /** A new, empty address space (mm_alloc). ENOMEM when every slot or frame is taken. */
  createAddressSpace(): AddressSpace {
    const { parts } = this;
    return retryAfterReclaim(parts, () => newAddressSpace(parts, parts.thread));
  }

  /** The asynchronous twin: waits while the machine is frozen. AbortError when `signal` fires. */
  async createAddressSpaceAsync(signal?: AbortSignal): Promise<AddressSpace> {
    optional(abortSignal)('signal', signal);
    const { parts } = this;
    return runInGateAsync(parts, (thread) => newAddressSpace(parts, thread), signal);
  }

  /** Every living address space, as this thread sees it. */
  addressSpaces(): AddressSpace[] {
    const { parts } = this;
    const found: AddressSpace[] = [];
    for (let slot = 0; slot < parts.maxAddressSpaces; slot++) {
      const struct = new MmStruct(parts.mmWords, slot);
      const { generation } = struct; // before anything else of this life
      if (struct.isLive) found.push(new AddressSpace(parts, slot, generation));
    }
    return found;
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
    const { parts } = this;
    const scan = new MergeScan();
    try {
      this.#forEachMm((mm) => scan.countLocked(mm));
      this.#forEachMm((mm) => scan.mergeLocked(mm));
    } finally {
      scan.finish(parts);
    }
    return scan.merged;
  }

  #forEachMm(visit: (mm: Mm) => void): void {
    for (const { mm, reference } of this.addressSpaces()) {
      try {
        runOn(mm, reference, 'read', visit);
      } catch (error) {
        const code = errnoOf(error);
        if (code !== 'EAGAIN' && code !== 'MM_GONE') throw error;
      }
    }
  }

  /**
   * Frees up to `bytes` of memory as a machine that runs out of it does: unmapped pages of files
   * first, then pages that were not accessed lately go to swap, then others. Returns the bytes.
   */
  reclaim(bytes: number): number {
    const wanted = Math.ceil(BYTES('bytes', bytes) / PAGE_SIZE);
    return reclaimFrames(this.parts, this.parts.thread, wanted).freed * PAGE_SIZE;
  }

  /** Creates a file of the simulated machine. */
  createFile(options: FileOptions): SimulatedFile {
    return new SimulatedFile(this.parts, createFile(this.parts, options));
  }

  /** A file of the host, by its path. It is opened when somebody reads it, and never written. */
  hostFile(path: string): SimulatedFile {
    pathname('path', path);
    try {
      const { size } = statSync(path);
      return new SimulatedFile(this.parts, createHostFile(this.parts, Buffer.from(path), size));
    } catch (error) {
      throw new MmdumpError('ENOENT', `file ${path}: ${reasonOf(error)}`, {
        path,
        errno: errnoOf(error) ?? 'ENOENT',
      });
    }
  }

  /** The living file with this path, or undefined. */
  lookupFile(path: string | ArrayBufferView): SimulatedFile | undefined {
    const id = this.parts.files.lookup(filePath('path', path));
    return id === 0 ? undefined : new SimulatedFile(this.parts, id);
  }

  /** Stops every operation on the machine and resolves once none is under way. */
  async freeze(options: FreezeOptions = {}): Promise<Freeze> {
    const { signal } = optionsOf('freeze', options, FREEZE_OPTIONS);
    const { threads, gate } = this.parts;
    const thread = threads.register();
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
    return this.parts.threads.register();
  }

  /**
   * Tells the machine that a thread died without detaching. Its locks, queue places and freezes are
   * given back; if it died in the middle of a change, the machine is poisoned and every later
   * operation fails with MACHINE_POISONED.
   */
  threadGone(thread: number): void {
    if (THREAD('thread', thread) === this.thread) {
      throw refusal('thread', thread, 'the id of another thread: this one is running');
    }
    threadGone(this.parts, thread);
  }

  /** Gives back what this thread holds of the machine: its id and its open host files. */
  detach(): void {
    this.parts.detach();
  }
}

function newAddressSpace(parts: MachineParts, thread: number): AddressSpace {
  const slot = claimMm(parts, thread);
  const struct = new MmStruct(parts.mmWords, slot);
  struct.publish();
  return new AddressSpace(parts, slot, struct.generation);
}

/** Creates a simulated machine. MACHINE_TOO_LARGE when the system refuses the address space. */
export function createMachine(options: MachineOptions): Machine {
  return new Machine(new MachineParts(createMachineHandle(options), { mayBlock: false }));
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
    return new Machine(attachTo(machineHandle('handle', handle), checked));
  }
  const { machine, slot, generation } = mmHandle('handle', handle);
  return new AddressSpace(attachTo(machine, checked), slot, generation);
}

const KIND = oneOf(['machine', 'mm']);

function attachTo(handle: MachineHandle, options: AttachOptions): MachineParts {
  const parts = new MachineParts(handle, options);
  if (parts.threads.isLive(parts.thread)) return parts;
  throw refusal('thread', parts.thread, 'an id that registerThread has returned');
}
