/** The simulated machine as its user sees it: memory, files, address spaces, threads. */
import { statSync } from 'node:fs';
import { errnoOf, MmdumpError, reasonOf } from '../shared/errors.ts';
import type { MachineHandle } from '../shared/machine-handle.ts';
import { PAGE_SIZE, TASK_SIZE } from '../shared/page.ts';
import { AddressSpace, type MmHandle } from './address-space.ts';
import { runOn } from './enter.ts';
import {
  cacheContext,
  createFile,
  createHostFile,
  type FileOptions,
  SimulatedFile,
} from './files/file.ts';
import {
  type AttachOptions,
  createMachineHandle,
  type MachineOptions,
  MachineParts,
} from './machine-parts.ts';
import { mmParts } from './mm.ts';
import { MM_FIELD, MmStruct } from './mm-struct.ts';
import { allocateTable } from './tables/page-table.ts';
import { threadGone } from './thread-gone.ts';
import { unmapRangeLocked } from './vma/vma-edit.ts';

/** mmap_base without randomisation: below a gap of 128 MiB for the stack. */
const MMAP_BASE = 0x7fff_f7ff_f000;

/** A freeze in force. No operation on the machine runs until it is thawed. */
export interface Freeze {
  thaw(): void;
  [Symbol.dispose](): void;
}

export class Machine {
  /** For the dumper and other rooms of mmdump. */
  readonly parts: MachineParts;

  constructor(parts: MachineParts) {
    this.parts = parts;
  }

  get handle(): MachineHandle {
    return this.parts.handle;
  }

  /** This thread's id, for the `threadGone` of whoever started it. */
  get thread(): number {
    return this.parts.thread;
  }

  /** Bytes of physical memory, and how many of them are free. */
  get memory(): { readonly total: number; readonly free: number } {
    return {
      total: this.parts.memory.frames * PAGE_SIZE,
      free: this.parts.allocator.freeFrames * PAGE_SIZE,
    };
  }

  /** A new, empty address space (mm_alloc). ENOMEM when every slot or frame is taken. */
  createAddressSpace(): AddressSpace {
    const { parts } = this;
    for (let slot = 0; slot < parts.maxAddressSpaces; slot++) {
      const struct = new MmStruct(parts.mmWords, slot);
      if (!struct.claim()) continue;
      try {
        struct.clearFields();
        struct.set(MM_FIELD.PGD, allocateTable(cacheContext(parts), 4));
      } catch (error) {
        struct.vacate();
        throw error;
      }
      struct.set64(MM_FIELD.MMAP_BASE, MMAP_BASE);
      mmParts(parts, slot).vmas.clear();
      struct.publish();
      return new AddressSpace(parts, slot, struct.generation);
    }
    throw new MmdumpError(
      'ENOMEM',
      `all ${parts.maxAddressSpaces} address spaces of the machine are taken (maxAddressSpaces)`,
    );
  }

  /** Every living address space, as this thread sees it. */
  addressSpaces(): AddressSpace[] {
    const { parts } = this;
    const found: AddressSpace[] = [];
    for (let slot = 0; slot < parts.maxAddressSpaces; slot++) {
      const struct = new MmStruct(parts.mmWords, slot);
      if (struct.isLive) found.push(new AddressSpace(parts, slot, struct.generation));
    }
    return found;
  }

  /** Unmaps everything and frees the mm (exit_mmap). Objects that refer to it fail from then on. */
  destroyAddressSpace(space: AddressSpace): void {
    const { mm, reference } = space;
    runOn(mm, reference, 'write', () => {
      unmapRangeLocked(mm, 0, TASK_SIZE / PAGE_SIZE);
      mm.struct.vacate();
      mm.allocator.put(mm.pgd, mm.thread);
    });
  }

  /** Creates a file of the simulated machine. */
  createFile(options: FileOptions): SimulatedFile {
    return new SimulatedFile(this.parts, createFile(this.parts, options));
  }

  /** A file of the host, by its path. It is opened when somebody reads it, and never written. */
  hostFile(path: string): SimulatedFile {
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
  lookupFile(path: string | Uint8Array): SimulatedFile | undefined {
    const id = this.parts.files.lookup(Buffer.from(path));
    return id === 0 ? undefined : new SimulatedFile(this.parts, id);
  }

  /** Stops every operation on the machine and resolves once none is under way. */
  async freeze(options: { readonly signal?: AbortSignal } = {}): Promise<Freeze> {
    const { threads, gate } = this.parts;
    const thread = threads.register();
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
    return this.parts.threads.register();
  }

  /**
   * Tells the machine that a thread died without detaching. Its locks, queue places and freezes are
   * given back; if it died in the middle of a change, the machine is poisoned and every later
   * operation fails with MACHINE_POISONED.
   */
  threadGone(thread: number): void {
    threadGone(this.parts, thread);
  }

  /** Gives back what this thread holds of the machine: its id and its open host files. */
  detach(): void {
    this.parts.detach();
  }
}

/** Creates a simulated machine. MACHINE_TOO_LARGE when the system refuses the address space. */
export function createMachine(options: MachineOptions): Machine {
  return new Machine(new MachineParts(createMachineHandle(options), { mayBlock: false }));
}

/** Attaches the calling thread to a machine or to an address space, from its handle. */
export function attach(handle: MachineHandle, options?: AttachOptions): Machine;
export function attach(handle: MmHandle, options?: AttachOptions): AddressSpace;
export function attach(
  handle: MachineHandle | MmHandle,
  options: AttachOptions = {},
): Machine | AddressSpace {
  if (handle.kind === 'machine') return new Machine(new MachineParts(handle, options));
  const parts = new MachineParts(handle.machine, options);
  return new AddressSpace(parts, handle.slot, handle.generation);
}
