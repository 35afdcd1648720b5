/**
 * The system calls of an mm, as its user calls them. Every one has a twin that ends in Async and
 * waits where the plain form, on a thread that must not block, throws EAGAIN. What a call does
 * stands in the file named after it. Arguments of a wrong type are OPTION_INVALID before it begins.
 */
import { optionsOf } from '../../shared/arguments/options.ts';
import type { LockMode } from '../../shared/sync/rw-lock.ts';
import { PROT, type Prot } from '../arguments/prot.ts';
import { assertNumbers } from '../calls/arguments.ts';
import { brkLocked } from '../calls/brk.ts';
import { DEVICE_REQUEST, type DeviceRequest, mapDeviceLocked } from '../calls/device.ts';
import { ADVICE, type Advice, adviceMode, madviseLocked } from '../calls/madvise.ts';
import { mincoreLocked } from '../calls/mincore.ts';
import {
  MCL_FLAGS,
  MLOCK_FLAGS,
  type MlockAllFlag,
  type MlockFlag,
  mlockallLocked,
  mlockLocked,
  munlockallLocked,
  munlockLocked,
} from '../calls/mlock.ts';
import { MMAP_REQUEST, type MmapRequest, mmapLocked, munmapLocked } from '../calls/mmap.ts';
import { mprotectLocked } from '../calls/mprotect.ts';
import { MREMAP_FLAGS, type MremapFlag, mremapLocked } from '../calls/mremap.ts';
import { MSYNC_FLAGS, type MsyncFlag, msyncLocked } from '../calls/msync.ts';
import type { Progress } from '../fault/access.ts';
import type { Mm } from '../mm/mm.ts';
import { type MmReference, runOn, runOnAsync } from './enter.ts';

/** The system calls of an address space; AddressSpace has them all. */
export abstract class SystemCalls {
  /** @internal Which life of which slot this is. */
  readonly reference: MmReference;

  /** @internal */
  constructor(reference: MmReference) {
    this.reference = reference;
  }

  /**
   * For the dumper and other rooms of mmdump. Nobody keeps it: it shows the machine's memory.
   *
   * @internal
   */
  get mm(): Mm {
    const { machine, slot, generation } = this.reference;
    return machine.mms.of(machine, slot, generation);
  }

  /** @internal */
  protected run<T>(mode: LockMode, operation: (mm: Mm) => T): T {
    return runOn(this.mm, this.reference, mode, operation);
  }

  /** @internal */
  protected later<T>(mode: LockMode, operation: (mm: Mm) => T, signal?: AbortSignal): Promise<T> {
    return runOnAsync(this.reference, mode, operation, signal);
  }

  /** Maps memory and returns its address. Errors as mmap(2). */
  mmap(request: MmapRequest): number {
    const checked = optionsOf('mmap', request, MMAP_REQUEST);
    return this.run('write', (mm) => mmapLocked(mm, checked));
  }

  /** As `mmap`, but waits. */
  async mmapAsync(request: MmapRequest): Promise<number> {
    const checked = optionsOf('mmap', request, MMAP_REQUEST);
    return this.later('write', (mm) => mmapLocked(mm, checked));
  }

  /** Maps device memory of the machine, shared, and returns its address. Errors as mmap(2). */
  mapDevice(request: DeviceRequest): number {
    const checked = optionsOf('mapDevice', request, DEVICE_REQUEST);
    return this.run('write', (mm) => mapDeviceLocked(mm, mm.machine.device, checked));
  }

  /** As `mapDevice`, but waits. */
  async mapDeviceAsync(request: DeviceRequest): Promise<number> {
    const checked = optionsOf('mapDevice', request, DEVICE_REQUEST);
    return this.later('write', (mm) => mapDeviceLocked(mm, mm.machine.device, checked));
  }

  /** Unmaps the pages of [address, address + length), in bytes. Errors as munmap(2). */
  munmap(address: number, length: number): void {
    assertNumbers('munmap', { address, length });
    this.run('write', (mm) => munmapLocked(mm, address, length));
  }

  /** As `munmap`, but waits. */
  async munmapAsync(address: number, length: number): Promise<void> {
    assertNumbers('munmap', { address, length });
    return this.later('write', (mm) => munmapLocked(mm, address, length));
  }

  /** Sets the protection of the pages of a range, in bytes. Errors as mprotect(2). */
  mprotect(address: number, length: number, prot: Prot): void {
    assertNumbers('mprotect', { address, length });
    PROT('mprotect: prot', prot);
    this.run('write', (mm) => mprotectLocked(mm, address, length, prot));
  }

  /** As `mprotect`, but waits. */
  async mprotectAsync(address: number, length: number, prot: Prot): Promise<void> {
    assertNumbers('mprotect', { address, length });
    PROT('mprotect: prot', prot);
    return this.later('write', (mm) => mprotectLocked(mm, address, length, prot));
  }

  /**
   * Resizes or moves a mapping and returns its address. Lengths are bytes; `newAddress` is the place
   * with 'fixed'. Errors as mremap(2).
   */
  mremap(
    address: number,
    oldLength: number,
    newLength: number,
    flags: readonly MremapFlag[] = [],
    newAddress = 0,
  ): number {
    assertNumbers('mremap', { address, oldLength, newLength, newAddress });
    const checked = MREMAP_FLAGS('mremap: flags', flags);
    const progress: Progress = { done: 0 }; // pages
    return this.run('write', (mm) =>
      mremapLocked(mm, address, oldLength, newLength, checked, newAddress, progress),
    );
  }

  /** As `mremap`, but waits. */
  async mremapAsync(
    address: number,
    oldLength: number,
    newLength: number,
    flags: readonly MremapFlag[] = [],
    newAddress = 0,
  ): Promise<number> {
    assertNumbers('mremap', { address, oldLength, newLength, newAddress });
    const checked = MREMAP_FLAGS('mremap: flags', flags);
    const progress: Progress = { done: 0 };
    return this.later('write', (mm) =>
      mremapLocked(mm, address, oldLength, newLength, checked, newAddress, progress),
    );
  }

  /** Moves the end of the heap and returns where it is then: the old end when it cannot be moved. */
  brk(address: number): number {
    assertNumbers('brk', { address });
    return this.run('write', (mm) => brkLocked(mm, address));
  }

  /** As `brk`, but waits. */
  async brkAsync(address: number): Promise<number> {
    assertNumbers('brk', { address });
    return this.later('write', (mm) => brkLocked(mm, address));
  }

  /** Gives advice on a range of bytes. Errors as madvise(2). */
  madvise(address: number, length: number, advice: Advice): void {
    assertNumbers('madvise', { address, length });
    ADVICE('madvise: advice', advice);
    const progress: Progress = { done: 0 }; // pages
    this.run(adviceMode(advice), (mm) => madviseLocked(mm, address, length, advice, progress));
  }

  /** As `madvise`, but waits. */
  async madviseAsync(address: number, length: number, advice: Advice): Promise<void> {
    assertNumbers('madvise', { address, length });
    ADVICE('madvise: advice', advice);
    const progress: Progress = { done: 0 };
    return this.later(adviceMode(advice), (mm) =>
      madviseLocked(mm, address, length, advice, progress),
    );
  }

  /** Keeps the pages of a range in memory, and faults them in. Errors as mlock2(2). */
  mlock(address: number, length: number, flags: readonly MlockFlag[] = []): void {
    assertNumbers('mlock', { address, length });
    const checked = MLOCK_FLAGS('mlock: flags', flags);
    this.run('write', (mm) => mlockLocked(mm, address, length, checked));
  }

  /** As `mlock`, but waits. */
  async mlockAsync(
    address: number,
    length: number,
    flags: readonly MlockFlag[] = [],
  ): Promise<void> {
    assertNumbers('mlock', { address, length });
    const checked = MLOCK_FLAGS('mlock: flags', flags);
    return this.later('write', (mm) => mlockLocked(mm, address, length, checked));
  }

  /** Lets the pages of a range go to swap again. Errors as munlock(2). */
  munlock(address: number, length: number): void {
    assertNumbers('munlock', { address, length });
    this.run('write', (mm) => munlockLocked(mm, address, length));
  }

  /** As `munlock`, but waits. */
  async munlockAsync(address: number, length: number): Promise<void> {
    assertNumbers('munlock', { address, length });
    return this.later('write', (mm) => munlockLocked(mm, address, length));
  }

  /** Keeps all pages in memory: those mapped now, those mapped later, or both. As mlockall(2). */
  mlockall(flags: readonly MlockAllFlag[]): void {
    const checked = MCL_FLAGS('mlockall: flags', flags);
    this.run('write', (mm) => mlockallLocked(mm, checked));
  }

  /** As `mlockall`, but waits. */
  async mlockallAsync(flags: readonly MlockAllFlag[]): Promise<void> {
    const checked = MCL_FLAGS('mlockall: flags', flags);
    return this.later('write', (mm) => mlockallLocked(mm, checked));
  }

  /** Lets all pages go to swap again, and those mapped later. As munlockall(2). */
  munlockall(): void {
    this.run('write', munlockallLocked);
  }

  /** As `munlockall`, but waits. */
  munlockallAsync(): Promise<void> {
    return this.later('write', munlockallLocked);
  }

  /** One byte per page: 1 when an access would find it in memory. Errors as mincore(2). */
  mincore(address: number, length: number): Uint8Array {
    assertNumbers('mincore', { address, length });
    return this.run('read', (mm) => mincoreLocked(mm, address, length));
  }

  /** As `mincore`, but waits. */
  async mincoreAsync(address: number, length: number): Promise<Uint8Array> {
    assertNumbers('mincore', { address, length });
    return this.later('read', (mm) => mincoreLocked(mm, address, length));
  }

  /** Writes what shared mappings changed back to simulated files. Errors as msync(2). */
  msync(address: number, length: number, flags: readonly MsyncFlag[] = ['sync']): void {
    assertNumbers('msync', { address, length });
    const checked = MSYNC_FLAGS('msync: flags', flags);
    this.run('read', (mm) => msyncLocked(mm, address, length, checked));
  }

  /** As `msync`, but waits. */
  async msyncAsync(
    address: number,
    length: number,
    flags: readonly MsyncFlag[] = ['sync'],
  ): Promise<void> {
    assertNumbers('msync', { address, length });
    const checked = MSYNC_FLAGS('msync: flags', flags);
    return this.later('read', (mm) => msyncLocked(mm, address, length, checked));
  }
}
