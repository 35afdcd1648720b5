/** The simulated machine as its user sees it: memory, files, address spaces, threads. */
import { statSync } from 'node:fs';
import { errnoOf, MmdumpError, reasonOf } from '../shared/errors.ts';
import type { MachineHandle } from '../shared/machine-handle.ts';
import { PAGE_SIZE } from '../shared/page.ts';
import { ATTACHED } from '../shared/sync/thread-layout.ts';
import { AddressSpace, type MmHandle } from './address-space.ts';
import { retryAfterReclaim, runInGateAsync, runOn } from './enter.ts';
import { MergeScan } from './fault/ksm.ts';
import { createFile, createHostFile, type FileOptions, SimulatedFile } from './files/file.ts';
import { closeMachine, rememberView } from './lifetime.ts';
import {
  type AttachOptions,
  createMachineHandle,
  type MachineOptions,
  MachineParts,
  threadsOf,
} from './machine-parts.ts';
import { claimMm, type Mm } from './mm.ts';
import { MmStruct } from './mm-struct.ts';
import { reclaimFrames } from './swap/memory-pressure.ts';
import { threadGone } from './thread-gone.ts';

/** A freeze in force. No operation on the machine runs until it is thawed. */
export interface Freeze {
  thaw(): void;
  [Symbol.dispose](): void;
}

export class Machine {
  readonly #parts: MachineParts;

  constructor(parts: MachineParts) {
    this.#parts = parts;
  }

  /** For the dumper and other rooms of mmdump. MACHINE_CLOSED once the machine is. */
  get parts(): MachineParts {
    this.#parts.threads.assertOpen();
    return this.#parts;
  }

  get handle(): MachineHandle {
    return this.parts.handle;
  }

  /** Names this thread, for the `threadGone` of whoever started it. */
  get thread(): number {
    const { threads, thread } = this.#parts;
    return threads.tokenOf(thread);
  }

  /** Bytes of physical memory, and how many of them are free. */
  get memory(): { readonly total: number; readonly free: number } {
    return {
      total: this.parts.memory.frames * PAGE_SIZE,
      free: this.parts.allocator.freeFrames * PAGE_SIZE,
    };
  }

  /** Bytes of swap, and how many of them are free. */
  get swap(): { readonly total: number; readonly free: number } {
    const { slots, free } = this.parts.swap;
    return { total: slots * PAGE_SIZE, free: free * PAGE_SIZE };
  }

  /** A new, empty address space (mm_alloc). ENOMEM when every slot or frame is taken. */
  createAddressSpace(): AddressSpace {
    const { parts } = this;
    return retryAfterReclaim(parts, () => newAddressSpace(parts, parts.thread));
  }

  /** The asynchronous twin: waits while the machine is frozen. AbortError when `signal` fires. */
  createAddressSpaceAsync(signal?: AbortSignal): Promise<AddressSpace> {
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
    space.exit();
  }

  /** The asynchronous twin: waits for whoever holds the address space or has frozen the machine. */
  destroyAddressSpaceAsync(space: AddressSpace): Promise<void> {
    return space.exitAsync();
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
    const wanted = Math.ceil(bytes / PAGE_SIZE);
    return reclaimFrames(this.parts, this.parts.thread, wanted).freed * PAGE_SIZE;
  }

  /** Creates a file of the simulated machine. */
  createFile(options: FileOptions): SimulatedFile {
    return new SimulatedFile(this.parts, createFile(this.parts, options));
  }

  /** A file of the host, by its path. It is opened when somebody reads it, and never written. */
  hostFile(path: string): SimulatedFile {
    const { parts } = this;
    try {
      const { size } = statSync(path);
      return new SimulatedFile(parts, createHostFile(parts, Buffer.from(path), size));
    } catch (error) {
      throw new MmdumpError('ENOENT', `file ${path}: ${reasonOf(error)}`, {
        path,
        errno: errnoOf(error) ?? 'ENOENT',
      });
    }
  }

  /** The living file with this path, or undefined. */
  lookupFile(path: string | Uint8Array): SimulatedFile | undefined {
    const id = this.parts.files.lookup(Buffer.from(path));
    return id === 0 ? undefined : new SimulatedFile(this.parts, id);
  }

  /** Stops every operation on the machine and resolves once none is under way. */
  async freeze(options: { readonly signal?: AbortSignal } = {}): Promise<Freeze> {
    const { threads, gate, queue } = this.parts;
    // It is not waited for by whoever closes the machine: a freeze ends with it.
    const [thread] = (await queue.take(1, options.signal, ATTACHED)) as [number];
    try {
      await gate.freeze(thread, options.signal);
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

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Begins to close the machine: nothing can be done with it any more, its memory follows. */
  [Symbol.dispose](): void {
    void this.close();
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
  const parts = new MachineParts(createMachineHandle(options), { mayBlock: false });
  rememberView(parts, true);
  return new Machine(parts);
}

/** Attaches the calling thread to a machine or to an address space, from its handle. */
export function attach(handle: MachineHandle, options?: AttachOptions): Machine;
export function attach(handle: MmHandle, options?: AttachOptions): AddressSpace;
export function attach(
  handle: MachineHandle | MmHandle,
  options: AttachOptions = {},
): Machine | AddressSpace {
  if (handle.kind === 'machine') return new Machine(viewOf(handle, options));
  const parts = viewOf(handle.machine, options);
  return new AddressSpace(parts, handle.slot, handle.generation);
}

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
