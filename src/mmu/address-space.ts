/**
 * An address space (mm) as its user sees it: the system calls (`calls/system-calls.ts`), fork and
 * exit, loads and stores, the LDT, and what is mapped. Operations have twins that end in Async.
 */
import type { MachineHandle } from '../shared/machine-handle.ts';
import { addressOf, TASK_PAGES } from '../shared/page.ts';
import { protLetters, vmFlagNames } from '../shared/vm-flags.ts';
import { forkLocked } from './calls/fork.ts';
import { SystemCalls } from './calls/system-calls.ts';
import { fillLocked, type Progress, readLocked, writeLocked } from './fault/access.ts';
import {
  copyLdtLocked,
  loadLdtLocked,
  readLdtLocked,
  type UserDesc,
  writeLdtLocked,
} from './ldt.ts';
import type { MachineParts } from './machine-parts.ts';
import { claimMm, freeMm, type Mm, mmOf } from './mm.ts';
import { MM_FIELD, type MmAddresses } from './mm-struct.ts';
import { addVmaLocked, unmapRangeLocked } from './vma/vma-edit.ts';
import { VMA_KIND, type VmaFields } from './vma/vma-table.ts';

/** Everything that another thread needs to attach to an mm; can be posted to it. */
export interface MmHandle {
  readonly kind: 'mm';
  readonly machine: MachineHandle;
  readonly slot: number;
  readonly generation: number;
}

/** A VMA, as /proc/PID/maps shows it. */
export interface VmaInfo {
  readonly start: number; // address
  readonly end: number; //   first address after it
  readonly prot: string; //  'rwxp'
  readonly flags: number; // VM_*
  readonly flagNames: readonly string[];
  readonly pgoff: number; // pages
  readonly file: string | null; // path, with ' (deleted)' as d_path gives it
  readonly isVdso: boolean;
}

export class AddressSpace extends SystemCalls {
  constructor(machine: MachineParts, slot: number, generation: number) {
    super({ machine, slot, generation });
  }

  get handle(): MmHandle {
    const { machine, slot, generation } = this.reference;
    return { kind: 'mm', machine: machine.handle, slot, generation };
  }

  /** A new address space that shows the same, copied on write. Errors as fork(2). */
  fork(): AddressSpace {
    return this.run('write', forked);
  }

  forkAsync(): Promise<AddressSpace> {
    return this.later('write', forked);
  }

  /** Unmaps everything and frees the mm (exit_mmap). Objects that refer to it fail from then on. */
  exit(): void {
    this.run('write', exitLocked);
  }

  exitAsync(): Promise<void> {
    return this.later('write', exitLocked);
  }

  /** Loads `into.length` bytes. SIGSEGV or SIGBUS as errors, with address and reason. */
  read(address: number, into: Uint8Array): void {
    const progress: Progress = { done: 0 };
    this.run('read', (mm) => readLocked(mm, address, into, progress));
  }

  readAsync(address: number, into: Uint8Array): Promise<void> {
    const progress: Progress = { done: 0 };
    return this.later('read', (mm) => readLocked(mm, address, into, progress));
  }

  /** Stores bytes. SIGSEGV or SIGBUS as errors, with address and reason. */
  write(address: number, bytes: Uint8Array): void {
    const progress: Progress = { done: 0 };
    this.run('read', (mm) => writeLocked(mm, address, bytes, progress));
  }

  writeAsync(address: number, bytes: Uint8Array): Promise<void> {
    const progress: Progress = { done: 0 };
    return this.later('read', (mm) => writeLocked(mm, address, bytes, progress));
  }

  /** Stores `length` times the byte `value`. */
  fill(address: number, length: number, value: number): void {
    const progress: Progress = { done: 0 };
    this.run('read', (mm) => fillLocked(mm, address, length, value, progress));
  }

  fillAsync(address: number, length: number, value: number): Promise<void> {
    const progress: Progress = { done: 0 };
    return this.later('read', (mm) => fillLocked(mm, address, length, value, progress));
  }

  /** Installs or clears an LDT entry (modify_ldt, func 0x11; func 1 with `oldMode`). */
  modifyLdt(desc: UserDesc, oldMode = false): void {
    this.run('read', (mm) => withLdt(mm, () => writeLdtLocked(mm, desc, oldMode)));
  }

  modifyLdtAsync(desc: UserDesc, oldMode = false): Promise<void> {
    return this.later('read', (mm) => withLdt(mm, () => writeLdtLocked(mm, desc, oldMode)));
  }

  /** The LDT's entries in use, 8 bytes each (modify_ldt, func 0). */
  readLdt(): Uint8Array {
    return this.run('read', (mm) => withLdt(mm, () => readLdtLocked(mm)));
  }

  readLdtAsync(): Promise<Uint8Array> {
    return this.later('read', (mm) => withLdt(mm, () => readLdtLocked(mm)));
  }

  /** Replaces the whole LDT by ready-made descriptors, as a restore does. */
  loadLdt(bytes: Uint8Array): void {
    this.run('read', (mm) => withLdt(mm, () => loadLdtLocked(mm, bytes)));
  }

  /** Rejects with AbortError when `signal` fires before the mm could be held. */
  loadLdtAsync(bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    return this.later('read', (mm) => withLdt(mm, () => loadLdtLocked(mm, bytes)), signal);
  }

  /** Adds ready-made mappings, unmerged, as a restore or an import does. Takes the files' references. */
  insertMappings(vmas: readonly VmaFields[]): void {
    this.run('write', (mm) => insertMappingsLocked(mm, vmas));
  }

  /** Rejects with AbortError when `signal` fires before the mm could be held. */
  insertMappingsAsync(vmas: readonly VmaFields[], signal?: AbortSignal): Promise<void> {
    return this.later('write', (mm) => insertMappingsLocked(mm, vmas), signal);
  }

  /** What is mapped, ascending. */
  vmas(): VmaInfo[] {
    return this.run('read', vmaInfos);
  }

  vmasAsync(): Promise<VmaInfo[]> {
    return this.later('read', vmaInfos);
  }

  /** start_code … flags, as the kernel's mm has them. */
  addresses(): MmAddresses {
    return this.run('read', (mm) => mm.struct.addresses());
  }

  addressesAsync(): Promise<MmAddresses> {
    return this.later('read', (mm) => mm.struct.addresses());
  }

  setAddresses(values: Partial<MmAddresses>): void {
    this.run('write', (mm) => mm.struct.setAddresses(values));
  }

  /** Rejects with AbortError when `signal` fires before the mm could be held. */
  setAddressesAsync(values: Partial<MmAddresses>, signal?: AbortSignal): Promise<void> {
    return this.later('write', (mm) => mm.struct.setAddresses(values), signal);
  }

  /** The auxiliary vector: pairs of u64, as /proc/PID/auxv has them. Empty when there is none. */
  auxv(): Uint8Array {
    return this.run('read', (mm) => readBlob(mm, MM_FIELD.AUXV_BYTES, MM_FIELD.AUXV_AT));
  }

  auxvAsync(): Promise<Uint8Array> {
    return this.later('read', (mm) => readBlob(mm, MM_FIELD.AUXV_BYTES, MM_FIELD.AUXV_AT));
  }

  setAuxv(bytes: Uint8Array): void {
    this.run('write', (mm) => setBlob(mm, MM_FIELD.AUXV_BYTES, MM_FIELD.AUXV_AT, bytes));
  }

  /** Rejects with AbortError when `signal` fires before the mm could be held. */
  setAuxvAsync(bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    const set = (mm: Mm): void => setBlob(mm, MM_FIELD.AUXV_BYTES, MM_FIELD.AUXV_AT, bytes);
    return this.later('write', set, signal);
  }

  /** ELF notes that belong to the mm's process. Empty when there are none. */
  notes(): Uint8Array {
    return this.run('read', (mm) => readBlob(mm, MM_FIELD.NOTES_BYTES, MM_FIELD.NOTES_AT));
  }

  notesAsync(): Promise<Uint8Array> {
    return this.later('read', (mm) => readBlob(mm, MM_FIELD.NOTES_BYTES, MM_FIELD.NOTES_AT));
  }

  setNotes(bytes: Uint8Array): void {
    this.run('write', (mm) => setBlob(mm, MM_FIELD.NOTES_BYTES, MM_FIELD.NOTES_AT, bytes));
  }

  /** Rejects with AbortError when `signal` fires before the mm could be held. */
  setNotesAsync(bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    const set = (mm: Mm): void => setBlob(mm, MM_FIELD.NOTES_BYTES, MM_FIELD.NOTES_AT, bytes);
    return this.later('write', set, signal);
  }
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

/** The mmap lock is held for writing. */
function insertMappingsLocked(mm: Mm, vmas: readonly VmaFields[]): void {
  for (const vma of vmas) addVmaLocked(mm, vma);
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

/** The name that d_path gives a file. */
export function dPath(mm: Mm, file: number): string {
  const deleted = (mm.files.kind(file) & 1) !== 0;
  return mm.files.pathText(file) + (deleted ? ' (deleted)' : '');
}

function vmaInfos(mm: Mm): VmaInfo[] {
  const { vmas } = mm;
  const infos: VmaInfo[] = [];
  for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
    const vma = vmas.fields(vmas.slot(ordinal));
    infos.push({
      start: addressOf(vma.start),
      end: addressOf(vma.end),
      prot: protLetters(vma.flags),
      flags: vma.flags,
      flagNames: vmFlagNames(vma.flags),
      pgoff: vma.pgoff,
      file: vma.file === 0 ? null : dPath(mm, vma.file),
      isVdso: vma.kind === VMA_KIND.VDSO,
    });
  }
  return infos;
}
