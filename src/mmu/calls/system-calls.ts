/**
 * The system calls of an mm, as its user calls them. Every one has a twin that ends in Async and
 * waits where the plain form, on a thread that must not block, throws EAGAIN. What a call does
 * stands in the file named after it.
 */
import type { LockMode } from '../../shared/sync/rw-lock.ts';
import { type MmReference, runOn, runOnAsync } from '../enter.ts';
import type { Progress } from '../fault/access.ts';
import type { Mm } from '../mm.ts';
import { type DeviceRequest, mapDeviceLocked } from '../vma/device.ts';
import { brkLocked } from './brk.ts';
import { type Advice, adviceMode, madviseLocked } from './madvise.ts';
import { mincoreLocked } from './mincore.ts';
import {
  type MlockAllFlag,
  type MlockFlag,
  mlockallLocked,
  mlockLocked,
  munlockallLocked,
  munlockLocked,
} from './mlock.ts';
import { type MmapRequest, mmapLocked, munmapLocked } from './mmap.ts';
import { mprotectLocked } from './mprotect.ts';
import { type MremapFlag, mremapLocked } from './mremap.ts';
import { type MsyncFlag, msyncLocked } from './msync.ts';
import type { Prot } from './prot.ts';

export abstract class SystemCalls {
  /** Which life of which slot this is. */
  readonly reference: MmReference;

  constructor(reference: MmReference) {
    this.reference = reference;
  }

  /** For the dumper and other rooms of mmdump. Nobody keeps it: it shows the machine's memory. */
  get mm(): Mm {
    const { machine, slot, generation } = this.reference;
    return machine.mms.of(machine, slot, generation);
  }

  protected run<T>(mode: LockMode, operation: (mm: Mm) => T): T {
    return runOn(this.mm, this.reference, mode, operation);
  }

  protected later<T>(mode: LockMode, operation: (mm: Mm) => T, signal?: AbortSignal): Promise<T> {
    return runOnAsync(this.reference, mode, operation, signal);
  }

  /** Maps memory and returns its address. Errors as mmap(2). */
  mmap(request: MmapRequest): number {
    return this.run('write', (mm) => mmapLocked(mm, request));
  }

  mmapAsync(request: MmapRequest): Promise<number> {
    return this.later('write', (mm) => mmapLocked(mm, request));
  }

  /** Maps device memory of the machine, shared. Errors as mmap(2). */
  mapDevice(request: DeviceRequest): number {
    return this.run('write', (mm) => mapDeviceLocked(mm, mm.machine.device, request));
  }

  mapDeviceAsync(request: DeviceRequest): Promise<number> {
    return this.later('write', (mm) => mapDeviceLocked(mm, mm.machine.device, request));
  }

  /** Unmaps the pages of [address, address + length). Errors as munmap(2). */
  munmap(address: number, length: number): void {
    this.run('write', (mm) => munmapLocked(mm, address, length));
  }

  munmapAsync(address: number, length: number): Promise<void> {
    return this.later('write', (mm) => munmapLocked(mm, address, length));
  }

  /** Sets the protection of the pages of a range. Errors as mprotect(2). */
  mprotect(address: number, length: number, prot: Prot): void {
    this.run('write', (mm) => mprotectLocked(mm, address, length, prot));
  }

  mprotectAsync(address: number, length: number, prot: Prot): Promise<void> {
    return this.later('write', (mm) => mprotectLocked(mm, address, length, prot));
  }

  /**
   * Resizes or moves a mapping and returns its address. `newAddress` is the place with 'fixed'.
   * Errors as mremap(2).
   */
  mremap(
    address: number,
    oldLength: number,
    newLength: number,
    flags: readonly MremapFlag[] = [],
    newAddress = 0,
  ): number {
    const progress: Progress = { done: 0 }; // pages
    return this.run('write', (mm) =>
      mremapLocked(mm, address, oldLength, newLength, flags, newAddress, progress),
    );
  }

  mremapAsync(
    address: number,
    oldLength: number,
    newLength: number,
    flags: readonly MremapFlag[] = [],
    newAddress = 0,
  ): Promise<number> {
    const progress: Progress = { done: 0 };
    return this.later('write', (mm) =>
      mremapLocked(mm, address, oldLength, newLength, flags, newAddress, progress),
    );
  }

  /** Moves the end of the heap and returns where it is then: the old end when it cannot be moved. */
  brk(address: number): number {
    return this.run('write', (mm) => brkLocked(mm, address));
  }

  brkAsync(address: number): Promise<number> {
    return this.later('write', (mm) => brkLocked(mm, address));
  }

  /** Gives advice on a range. Errors as madvise(2). */
  madvise(address: number, length: number, advice: Advice): void {
    const progress: Progress = { done: 0 }; // pages
    this.run(adviceMode(advice), (mm) => madviseLocked(mm, address, length, advice, progress));
  }

  madviseAsync(address: number, length: number, advice: Advice): Promise<void> {
    const progress: Progress = { done: 0 };
    return this.later(adviceMode(advice), (mm) =>
      madviseLocked(mm, address, length, advice, progress),
    );
  }

  /** Keeps the pages of a range in memory, and faults them in. Errors as mlock2(2). */
  mlock(address: number, length: number, flags: readonly MlockFlag[] = []): void {
    this.run('write', (mm) => mlockLocked(mm, address, length, flags));
  }

  mlockAsync(address: number, length: number, flags: readonly MlockFlag[] = []): Promise<void> {
    return this.later('write', (mm) => mlockLocked(mm, address, length, flags));
  }

  /** Errors as munlock(2). */
  munlock(address: number, length: number): void {
    this.run('write', (mm) => munlockLocked(mm, address, length));
  }

  munlockAsync(address: number, length: number): Promise<void> {
    return this.later('write', (mm) => munlockLocked(mm, address, length));
  }

  /** Keeps all pages in memory: those mapped now, those mapped later, or both. */
  mlockall(flags: readonly MlockAllFlag[]): void {
    this.run('write', (mm) => mlockallLocked(mm, flags));
  }

  mlockallAsync(flags: readonly MlockAllFlag[]): Promise<void> {
    return this.later('write', (mm) => mlockallLocked(mm, flags));
  }

  munlockall(): void {
    this.run('write', munlockallLocked);
  }

  munlockallAsync(): Promise<void> {
    return this.later('write', munlockallLocked);
  }

  /** One byte a page: 1 when an access would find it in memory. Errors as mincore(2). */
  mincore(address: number, length: number): Uint8Array {
    return this.run('read', (mm) => mincoreLocked(mm, address, length));
  }

  mincoreAsync(address: number, length: number): Promise<Uint8Array> {
    return this.later('read', (mm) => mincoreLocked(mm, address, length));
  }

  /** Writes what shared mappings changed back to simulated files. Errors as msync(2). */
  msync(address: number, length: number, flags: readonly MsyncFlag[] = ['sync']): void {
    this.run('read', (mm) => msyncLocked(mm, address, length, flags));
  }

  msyncAsync(
    address: number,
    length: number,
    flags: readonly MsyncFlag[] = ['sync'],
  ): Promise<void> {
    return this.later('read', (mm) => msyncLocked(mm, address, length, flags));
  }
}
