/**
 * An address space (mm) as its user sees it: the system calls (`system-calls.ts`), loads and stores
 * (`memory-access.ts`), fork and exit, the LDT, the list of mappings, and the fields of the mm.
 */
import { bytesOf } from '../../shared/arguments/bytes.ts';
import { abortSignal, flag, isInstance, list, optional } from '../../shared/arguments/checks.ts';
import { optionsOf, record } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { doExit } from '../calls/exit.ts';
import { doFork } from '../calls/fork.ts';
import { loadLdt, readLdt, USER_DESC, type UserDesc, withLdt, writeLdt } from '../calls/ldt.ts';
import { readBlob, setBlob } from '../mm/blobs.ts';
import { MachineParts } from '../mm/machine-parts.ts';
import { claimMm, type Mm } from '../mm/mm.ts';
import { MM_ADDRESSES, MM_FIELD, type MmAddresses, MmStruct } from '../mm/mm-struct.ts';
import { insertVmas } from '../vma/vma-edit.ts';
import { type VmaInfo, vmaInfos } from '../vma/vma-info.ts';
import { VMA_FIELDS, type VmaFields } from '../vma/vma-table.ts';
import { DirtyPages } from './dirty-pages.ts';
import type { MmHandle } from './handles.ts';
import { MemoryAccess } from './memory-access.ts';
import {
  type AddressRange,
  type PrefetchOptions,
  type PrefetchResult,
  prefetch,
} from './prefetch.ts';

/**
 * An address space of a simulated machine (an mm). `createAddressSpace`, `fork`, `attach`, a
 * restore and an import make one. An object belongs to the thread that made it.
 *
 * Every operation has a twin whose name ends in Async, which waits without blocking. The plain form
 * waits on a thread that may block, and throws EAGAIN on a thread that must not. Every operation
 * can fail with MM_GONE (after `exit`), MACHINE_CLOSED, MACHINE_POISONED, and ENOMEM if no frame is
 * free and none can be reclaimed. An Async form can also reject with TOO_MANY_THREADS.
 */
export class AddressSpace extends MemoryAccess {
  /** @internal */
  constructor(machine: MachineParts, slot: number, generation: number) {
    if (!isInstance(machine, MachineParts)) {
      throw refusal('new AddressSpace', machine, 'a call of createAddressSpace or attach');
    }
    super({ machine, slot, generation });
  }

  /** The handle with which another thread attaches to this address space. It can be posted. */
  get handle(): MmHandle {
    const { machine, slot, generation } = this.reference;
    return { kind: 'mm', machine: machine.handle, slot, generation };
  }

  /**
   * Creates an address space with the same contents (dup_mmap): private mappings are copied on
   * write, shared mappings stay shared. Throws ENOMEM, as fork(2), also if all slots
   * (`maxAddressSpaces`) are taken.
   */
  fork(): AddressSpace {
    return this.run('write', forked);
  }

  /** Like `fork`, but waits instead of throwing EAGAIN. */
  forkAsync(): Promise<AddressSpace> {
    return this.later('write', forked);
  }

  /** Unmaps everything and frees the mm (exit_mmap). Every later use of it is MM_GONE. */
  exit(): void {
    this.run('write', doExit);
  }

  /** Like `exit`, but waits instead of throwing EAGAIN. */
  exitAsync(): Promise<void> {
    return this.later('write', doExit);
  }

  /**
   * Loads pages that still lie elsewhere, since a restore or an import on demand left them there:
   * those of `range`, or all. Without it a page is loaded when it is touched. The workers of the
   * dumper of that restore or import load them, else this thread does, in small steps. Others may
   * use and change the address space meanwhile.
   *
   * It rejects with EINVAL for an address that is not a page's, AbortError, ENOMEM if no frame is
   * free, and the errors of the place where a page lies: IMAGE_CHECKSUM, IMAGE_TRUNCATED,
   * INPUT_FAILED or PROCESS_GONE, and WORKER_LOST. Pages that are loaded by then stay.
   */
  async prefetch(range?: AddressRange, options: PrefetchOptions = {}): Promise<PrefetchResult> {
    return prefetch(this.reference, range, options);
  }

  /**
   * Installs or clears an LDT entry, as modify_ldt(2) with func 0x11, or func 1 if `oldMode` is
   * true (default false). Throws EINVAL where the kernel's checks fail.
   */
  modifyLdt(desc: UserDesc, oldMode = false): void {
    const checked = optionsOf('modifyLdt', desc, USER_DESC);
    flag('oldMode', oldMode);
    this.run('read', (mm) => withLdt(mm, () => writeLdt(mm, checked, oldMode)));
  }

  /** Like `modifyLdt`, but waits instead of throwing EAGAIN. */
  async modifyLdtAsync(desc: UserDesc, oldMode = false): Promise<void> {
    const checked = optionsOf('modifyLdt', desc, USER_DESC);
    flag('oldMode', oldMode);
    return this.later('read', (mm) => withLdt(mm, () => writeLdt(mm, checked, oldMode)));
  }

  /** Returns a copy of the LDT entries in use, 8 bytes each, as modify_ldt(2) with func 0. */
  readLdt(): Uint8Array {
    return this.run('read', (mm) => withLdt(mm, () => readLdt(mm)));
  }

  /** Like `readLdt`, but waits instead of throwing EAGAIN. */
  readLdtAsync(): Promise<Uint8Array> {
    return this.later('read', (mm) => withLdt(mm, () => readLdt(mm)));
  }

  /**
   * Replaces the whole LDT by ready-made descriptors of 8 bytes, as a restore does. Throws EINVAL
   * unless the length is a multiple of 8, up to 65 536 bytes.
   */
  loadLdt(bytes: ArrayBufferView): void {
    const view = bytesOf('bytes', bytes);
    this.run('read', (mm) => withLdt(mm, () => loadLdt(mm, view)));
  }

  /**
   * Like `loadLdt`, but waits instead of throwing EAGAIN. Rejects with AbortError if `signal` fires
   * before the mmap lock is taken.
   */
  async loadLdtAsync(bytes: ArrayBufferView, signal?: AbortSignal): Promise<void> {
    const view = bytesOf('bytes', bytes);
    assertSignal(signal);
    return this.later('read', (mm) => withLdt(mm, () => loadLdt(mm, view)), signal);
  }

  /**
   * Adds ready-made mappings without merging them, as a restore or an import does. Each mapping
   * takes a reference to its file. Throws EINVAL for a mapping that is empty, overlaps another one
   * or names no file, and ENOMEM for too many mappings. Nothing is added then.
   *
   * @internal
   */
  insertMappings(vmas: readonly VmaFields[]): void {
    const checked = MAPPINGS('vmas', vmas);
    this.run('write', (mm) => insertVmas(mm, checked));
  }

  /** @internal Rejects with AbortError if `signal` fires before the mmap lock is taken. */
  async insertMappingsAsync(vmas: readonly VmaFields[], signal?: AbortSignal): Promise<void> {
    const checked = MAPPINGS('vmas', vmas);
    assertSignal(signal);
    return this.later('write', (mm) => insertVmas(mm, checked), signal);
  }

  /** Which pages were written: dirty tracking. */
  get dirty(): DirtyPages {
    return new DirtyPages(this.reference);
  }

  /** Lists the mappings by ascending address, as /proc/PID/maps does. */
  vmas(): VmaInfo[] {
    return this.run('read', vmaInfos);
  }

  /** Like `vmas`, but waits instead of throwing EAGAIN. */
  vmasAsync(): Promise<VmaInfo[]> {
    return this.later('read', vmaInfos);
  }

  /** Returns the fields of mm_struct from start_code to flags. Addresses are bytes. */
  addresses(): MmAddresses {
    return this.run('read', (mm) => mm.struct.addresses());
  }

  /** Like `addresses`, but waits instead of throwing EAGAIN. */
  addressesAsync(): Promise<MmAddresses> {
    return this.later('read', (mm) => mm.struct.addresses());
  }

  /** Sets the given fields of mm_struct, each a u64. The other fields keep their values. */
  setAddresses(values: Partial<MmAddresses>): void {
    const checked = optionsOf('setAddresses', values, MM_ADDRESSES);
    this.run('write', (mm) => mm.struct.setAddresses(checked));
  }

  /**
   * Like `setAddresses`, but waits instead of throwing EAGAIN. Rejects with AbortError if `signal`
   * fires before the mmap lock is taken.
   */
  async setAddressesAsync(values: Partial<MmAddresses>, signal?: AbortSignal): Promise<void> {
    const checked = optionsOf('setAddresses', values, MM_ADDRESSES);
    assertSignal(signal);
    return this.later('write', (mm) => mm.struct.setAddresses(checked), signal);
  }

  /**
   * Returns a copy of the auxiliary vector, pairs of u64 as in /proc/PID/auxv. It is empty by
   * default.
   */
  auxv(): Uint8Array {
    return this.run('read', (mm) => readBlob(mm, MM_FIELD.AUXV_BYTES, MM_FIELD.AUXV_AT));
  }

  /** Like `auxv`, but waits instead of throwing EAGAIN. */
  auxvAsync(): Promise<Uint8Array> {
    return this.later('read', (mm) => readBlob(mm, MM_FIELD.AUXV_BYTES, MM_FIELD.AUXV_AT));
  }

  /** Replaces the auxiliary vector. Throws ENOSPC if the store of the machine is full. */
  setAuxv(bytes: ArrayBufferView): void {
    const view = bytesOf('bytes', bytes);
    this.run('write', (mm) => setBlob(mm, MM_FIELD.AUXV_BYTES, MM_FIELD.AUXV_AT, view));
  }

  /**
   * Like `setAuxv`, but waits instead of throwing EAGAIN. Rejects with AbortError if `signal` fires
   * before the mmap lock is taken.
   */
  async setAuxvAsync(bytes: ArrayBufferView, signal?: AbortSignal): Promise<void> {
    const view = bytesOf('bytes', bytes);
    assertSignal(signal);
    const set = (mm: Mm): void => setBlob(mm, MM_FIELD.AUXV_BYTES, MM_FIELD.AUXV_AT, view);
    return this.later('write', set, signal);
  }

  /** Returns a copy of the ELF notes of the mm's process. It is empty by default. */
  notes(): Uint8Array {
    return this.run('read', (mm) => readBlob(mm, MM_FIELD.NOTES_BYTES, MM_FIELD.NOTES_AT));
  }

  /** Like `notes`, but waits instead of throwing EAGAIN. */
  notesAsync(): Promise<Uint8Array> {
    return this.later('read', (mm) => readBlob(mm, MM_FIELD.NOTES_BYTES, MM_FIELD.NOTES_AT));
  }

  /** Replaces the ELF notes. Throws ENOSPC if the store of the machine is full. */
  setNotes(bytes: ArrayBufferView): void {
    const view = bytesOf('bytes', bytes);
    this.run('write', (mm) => setBlob(mm, MM_FIELD.NOTES_BYTES, MM_FIELD.NOTES_AT, view));
  }

  /**
   * Like `setNotes`, but waits instead of throwing EAGAIN. Rejects with AbortError if `signal`
   * fires before the mmap lock is taken.
   */
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
  const { machine, slot, struct } = doFork(parent);
  return new AddressSpace(machine, slot, struct.generation);
}

/** Creates an mm without mappings. The thread is inside the freeze gate. */
export function newAddressSpace(machine: MachineParts, thread: number): AddressSpace {
  const slot = claimMm(machine, thread);
  const struct = new MmStruct(machine.mmWords, slot);
  struct.publish();
  return new AddressSpace(machine, slot, struct.generation);
}
