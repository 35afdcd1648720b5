/**
 * An address space (mm) as its user sees it: the system calls (`calls/system-calls.ts`), fork and
 * exit, loads and stores, the LDT, and what is mapped. Operations have twins that end in Async.
 */
import { bytesOf } from '../../shared/arguments/bytes.ts';
import { abortSignal, flag, isInstance, list, optional } from '../../shared/arguments/checks.ts';
import { optionsOf, record } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import type { MachineHandle } from '../../shared/machine-handle.ts';
import { TASK_PAGES } from '../../shared/page.ts';
import { forkLocked } from '../calls/fork.ts';
import {
  copyLdtLocked,
  loadLdtLocked,
  readLdtLocked,
  USER_DESC,
  type UserDesc,
  writeLdtLocked,
} from '../calls/ldt.ts';
import { assertFill, fillLocked, type Progress, readLocked, writeLocked } from '../fault/access.ts';
import { MachineParts } from '../mm/machine-parts.ts';
import { claimMm, freeMm, type Mm, mmOf } from '../mm/mm.ts';
import { MM_ADDRESSES, MM_FIELD, type MmAddresses } from '../mm/mm-struct.ts';
import { insertMappingsLocked, unmapRangeLocked } from '../vma/vma-edit.ts';
import { type VmaInfo, vmaInfos } from '../vma/vma-info.ts';
import { VMA_FIELDS, type VmaFields } from '../vma/vma-table.ts';
import { SystemCalls } from './system-calls.ts';

/** Everything that another thread needs to attach to an mm; can be posted to it. */
export interface MmHandle {
  /** What it is a handle of. */
  readonly kind: 'mm';
  /** The machine that it lives in. */
  readonly machine: MachineHandle;
  /** Its slot among the machine's address spaces. */
  readonly slot: number;
  /** Which life of the slot: the slots of address spaces that are gone are used again. */
  readonly generation: number;
}

/**
 * An address space of a simulated machine: what a process sees of memory. `createAddressSpace`,
 * `fork` and `attach` make one. Every operation has a twin that ends in Async: it waits where a
 * thread that must not block gets EAGAIN.
 */
export class AddressSpace extends SystemCalls {
  /** @internal */
  constructor(machine: MachineParts, slot: number, generation: number) {
    if (!isInstance(machine, MachineParts)) {
      throw refusal('new AddressSpace', machine, 'a call of createAddressSpace or attach');
    }
    super({ machine, slot, generation });
  }

  /** What another thread attaches to this address space with; can be posted to it. */
  get handle(): MmHandle {
    const { machine, slot, generation } = this.reference;
    return { kind: 'mm', machine: machine.handle, slot, generation };
  }

  /** A new address space that shows the same, copied on write. Errors as fork(2). */
  fork(): AddressSpace {
    return this.run('write', forked);
  }

  /** As `fork`, but waits. */
  forkAsync(): Promise<AddressSpace> {
    return this.later('write', forked);
  }

  /** Unmaps everything and frees the mm (exit_mmap). Objects that refer to it fail from then on. */
  exit(): void {
    this.run('write', exitLocked);
  }

  /** As `exit`, but waits. */
  exitAsync(): Promise<void> {
    return this.later('write', exitLocked);
  }

  /**
   * Loads as many bytes as the view has into its memory, whatever its elements are. SIGSEGV or SIGBUS
   * as errors, with address and reason.
   */
  read(address: number, into: ArrayBufferView): void {
    const view = bytesOf('into', into);
    const progress: Progress = { done: 0 };
    this.run('read', (mm) => readLocked(mm, address, view, progress));
  }

  /** As `read`, but waits. */
  async readAsync(address: number, into: ArrayBufferView): Promise<void> {
    const view = bytesOf('into', into);
    const progress: Progress = { done: 0 };
    return this.later('read', (mm) => readLocked(mm, address, view, progress));
  }

  /**
   * Stores the bytes of a view, whatever its elements are: those of a Uint32Array are four each.
   * SIGSEGV or SIGBUS as errors, with address and reason.
   */
  write(address: number, bytes: ArrayBufferView): void {
    const view = bytesOf('bytes', bytes);
    const progress: Progress = { done: 0 };
    this.run('read', (mm) => writeLocked(mm, address, view, progress));
  }

  /** As `write`, but waits; the bytes must not change meanwhile. */
  async writeAsync(address: number, bytes: ArrayBufferView): Promise<void> {
    const view = bytesOf('bytes', bytes);
    const progress: Progress = { done: 0 };
    return this.later('read', (mm) => writeLocked(mm, address, view, progress));
  }

  /** Stores `length` times the byte `value`, 0 to 255. Errors as `write`. */
  fill(address: number, length: number, value: number): void {
    assertFill(length, value);
    const progress: Progress = { done: 0 };
    this.run('read', (mm) => fillLocked(mm, address, length, value, progress));
  }

  /** As `fill`, but waits. */
  async fillAsync(address: number, length: number, value: number): Promise<void> {
    assertFill(length, value);
    const progress: Progress = { done: 0 };
    return this.later('read', (mm) => fillLocked(mm, address, length, value, progress));
  }

  /** Installs or clears an LDT entry (modify_ldt, func 0x11; func 1 with `oldMode`). */
  modifyLdt(desc: UserDesc, oldMode = false): void {
    const checked = optionsOf('modifyLdt', desc, USER_DESC);
    flag('oldMode', oldMode);
    this.run('read', (mm) => withLdt(mm, () => writeLdtLocked(mm, checked, oldMode)));
  }

  /** As `modifyLdt`, but waits. */
  async modifyLdtAsync(desc: UserDesc, oldMode = false): Promise<void> {
    const checked = optionsOf('modifyLdt', desc, USER_DESC);
    flag('oldMode', oldMode);
    return this.later('read', (mm) => withLdt(mm, () => writeLdtLocked(mm, checked, oldMode)));
  }

  /** The LDT's entries in use, 8 bytes each (modify_ldt, func 0). */
  readLdt(): Uint8Array {
    return this.run('read', (mm) => withLdt(mm, () => readLdtLocked(mm)));
  }

  /** As `readLdt`, but waits. */
  readLdtAsync(): Promise<Uint8Array> {
    return this.later('read', (mm) => withLdt(mm, () => readLdtLocked(mm)));
  }

  /** Replaces the whole LDT by ready-made descriptors, as a restore does. */
  loadLdt(bytes: ArrayBufferView): void {
    const view = bytesOf('bytes', bytes);
    this.run('read', (mm) => withLdt(mm, () => loadLdtLocked(mm, view)));
  }

  /** Rejects with AbortError when `signal` fires before the mm could be held. */
  async loadLdtAsync(bytes: ArrayBufferView, signal?: AbortSignal): Promise<void> {
    const view = bytesOf('bytes', bytes);
    assertSignal(signal);
    return this.later('read', (mm) => withLdt(mm, () => loadLdtLocked(mm, view)), signal);
  }

  /**
   * Adds ready-made mappings, unmerged, as a restore or an import does. Takes the files'
   * references.
   *
   * @internal
   */
  insertMappings(vmas: readonly VmaFields[]): void {
    const checked = MAPPINGS('vmas', vmas);
    this.run('write', (mm) => insertMappingsLocked(mm, checked));
  }

  /** @internal Rejects with AbortError when `signal` fires before the mm could be held. */
  async insertMappingsAsync(vmas: readonly VmaFields[], signal?: AbortSignal): Promise<void> {
    const checked = MAPPINGS('vmas', vmas);
    assertSignal(signal);
    return this.later('write', (mm) => insertMappingsLocked(mm, checked), signal);
  }

  /** What is mapped, ascending. */
  vmas(): VmaInfo[] {
    return this.run('read', vmaInfos);
  }

  /** As `vmas`, but waits. */
  vmasAsync(): Promise<VmaInfo[]> {
    return this.later('read', vmaInfos);
  }

  /** start_code … flags, as the kernel's mm has them. */
  addresses(): MmAddresses {
    return this.run('read', (mm) => mm.struct.addresses());
  }

  /** As `addresses`, but waits. */
  addressesAsync(): Promise<MmAddresses> {
    return this.later('read', (mm) => mm.struct.addresses());
  }

  /** Sets those that are given. */
  setAddresses(values: Partial<MmAddresses>): void {
    const checked = optionsOf('setAddresses', values, MM_ADDRESSES);
    this.run('write', (mm) => mm.struct.setAddresses(checked));
  }

  /** Rejects with AbortError when `signal` fires before the mm could be held. */
  async setAddressesAsync(values: Partial<MmAddresses>, signal?: AbortSignal): Promise<void> {
    const checked = optionsOf('setAddresses', values, MM_ADDRESSES);
    assertSignal(signal);
    return this.later('write', (mm) => mm.struct.setAddresses(checked), signal);
  }

  /** The auxiliary vector: pairs of u64, as /proc/PID/auxv has them. Empty when there is none. */
  auxv(): Uint8Array {
    return this.run('read', (mm) => readBlob(mm, MM_FIELD.AUXV_BYTES, MM_FIELD.AUXV_AT));
  }

  /** As `auxv`, but waits. */
  auxvAsync(): Promise<Uint8Array> {
    return this.later('read', (mm) => readBlob(mm, MM_FIELD.AUXV_BYTES, MM_FIELD.AUXV_AT));
  }

  /** Replaces the auxiliary vector. ENOSPC when the store of the machine is full. */
  setAuxv(bytes: ArrayBufferView): void {
    const view = bytesOf('bytes', bytes);
    this.run('write', (mm) => setBlob(mm, MM_FIELD.AUXV_BYTES, MM_FIELD.AUXV_AT, view));
  }

  /** Rejects with AbortError when `signal` fires before the mm could be held. */
  async setAuxvAsync(bytes: ArrayBufferView, signal?: AbortSignal): Promise<void> {
    const view = bytesOf('bytes', bytes);
    assertSignal(signal);
    const set = (mm: Mm): void => setBlob(mm, MM_FIELD.AUXV_BYTES, MM_FIELD.AUXV_AT, view);
    return this.later('write', set, signal);
  }

  /** ELF notes that belong to the mm's process. Empty when there are none. */
  notes(): Uint8Array {
    return this.run('read', (mm) => readBlob(mm, MM_FIELD.NOTES_BYTES, MM_FIELD.NOTES_AT));
  }

  /** As `notes`, but waits. */
  notesAsync(): Promise<Uint8Array> {
    return this.later('read', (mm) => readBlob(mm, MM_FIELD.NOTES_BYTES, MM_FIELD.NOTES_AT));
  }

  /** Replaces the notes. ENOSPC when the store of the machine is full. */
  setNotes(bytes: ArrayBufferView): void {
    const view = bytesOf('bytes', bytes);
    this.run('write', (mm) => setBlob(mm, MM_FIELD.NOTES_BYTES, MM_FIELD.NOTES_AT, view));
  }

  /** Rejects with AbortError when `signal` fires before the mm could be held. */
  async setNotesAsync(bytes: ArrayBufferView, signal?: AbortSignal): Promise<void> {
    const view = bytesOf('bytes', bytes);
    assertSignal(signal);
    const set = (mm: Mm): void => setBlob(mm, MM_FIELD.NOTES_BYTES, MM_FIELD.NOTES_AT, view);
    return this.later('write', set, signal);
  }
}

const MAPPINGS = list(record(VMA_FIELDS));

function assertSignal(signal: unknown): void {
  optional(abortSignal)('signal', signal);
}

function forked(parent: Mm): AddressSpace {
  const { machine } = parent;
  const slot = claimMm(machine, parent.thread);
  const child = mmOf(machine, slot, parent.thread);
  try {
    withLdt(parent, () => copyLdtLocked(parent.struct, child.struct));
    forkLocked(parent, child);
  } catch (error) {
    freeMm(child);
    throw error;
  }
  child.struct.publish();
  return new AddressSpace(machine, slot, child.struct.generation);
}

function exitLocked(mm: Mm): void {
  unmapRangeLocked(mm, 0, TASK_PAGES);
  freeMm(mm);
}

function withLdt<T>(mm: Mm, operation: () => T): T {
  mm.ldtLock.lock(mm.thread, mm.mayBlock);
  try {
    return operation();
  } finally {
    mm.ldtLock.unlock(mm.thread);
  }
}

/** Bytes that the mm keeps in the machine's store. mmap lock held. */
export function readBlob(mm: Mm, lengthField: number, atField: number): Uint8Array {
  return mm.machine.store.view(mm.struct.get64(atField), mm.struct.get(lengthField)).slice();
}

/** Replaces such bytes. mmap lock held for writing. ENOSPC changes nothing. */
function setBlob(mm: Mm, lengthField: number, atField: number, bytes: Uint8Array): void {
  const { store } = mm.machine;
  const before = mm.struct.get64(atField);
  mm.struct.set64(atField, store.add(bytes, mm.thread));
  mm.struct.set(lengthField, bytes.length);
  store.put(before, mm.thread);
}
