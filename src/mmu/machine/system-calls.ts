/**
 * The system calls of an mm, as its user calls them. Each call has a twin whose name ends in Async.
 * It waits in those cases in which the plain form throws EAGAIN on a thread that must not block.
 * The file in `calls` that is named after a call implements it. An argument of a wrong type is
 * OPTION_INVALID before the call begins.
 */
import { optionsOf } from '../../shared/arguments/options.ts';
import type { LockMode } from '../../shared/sync/rw-lock.ts';
import { PROT, type Prot } from '../arguments/prot.ts';
import { assertNumbers } from '../calls/arguments.ts';
import { doBrk } from '../calls/brk.ts';
import { DEVICE_REQUEST, type DeviceRequest, doMapDevice } from '../calls/device.ts';
import { doMapFrames, FRAMES_REQUEST, type FramesRequest } from '../calls/frames.ts';
import { ADVICE, type Advice, adviceMode, doMadvise } from '../calls/madvise.ts';
import { doMincore } from '../calls/mincore.ts';
import {
  doMlock,
  doMlockall,
  doMunlock,
  doMunlockall,
  MCL_FLAGS,
  MLOCK_FLAGS,
  type MlockAllFlag,
  type MlockFlag,
} from '../calls/mlock.ts';
import { doMmap, doMunmap, MMAP_REQUEST, type MmapRequest } from '../calls/mmap.ts';
import { doMprotect } from '../calls/mprotect.ts';
import { doMremap, MREMAP_FLAGS, type MremapFlag } from '../calls/mremap.ts';
import { doMsync, MSYNC_FLAGS, type MsyncFlag } from '../calls/msync.ts';
import type { Progress } from '../fault/access.ts';
import type { Mm } from '../mm/mm.ts';
import { type MmReference, runOn, runOnAsync } from './enter.ts';

/**
 * The system calls of an address space, which AddressSpace inherits. Errors have the names of
 * Linux's errno codes. A call that would need more than 65 530 mappings is ENOMEM.
 */
export abstract class SystemCalls {
  /** @internal The machine, the slot and the life of the slot that this object stands for. */
  readonly reference: MmReference;

  /** @internal */
  constructor(reference: MmReference) {
    this.reference = reference;
  }

  /**
   * For the dumper and other rooms of mmdump. Do not keep it: it refers to the machine's memory.
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

  /**
   * Maps memory and returns its address in bytes, as mmap(2). Throws EINVAL, EBADF (there is no
   * such file), ENOMEM (there is no gap of this size), EACCES (a shared writable mapping with
   * `readOnly`), EEXIST ('fixed_noreplace'), EPERM (below 64 KiB), EOVERFLOW or EMFILE.
   */
  mmap(request: MmapRequest): number {
    const checked = optionsOf('mmap', request, MMAP_REQUEST);
    return this.run('write', (mm) => doMmap(mm, checked));
  }

  /** Like `mmap`, but waits instead of throwing EAGAIN. */
  async mmapAsync(request: MmapRequest): Promise<number> {
    const checked = optionsOf('mmap', request, MMAP_REQUEST);
    return this.later('write', (mm) => doMmap(mm, checked));
  }

  /**
   * Maps device memory of the machine, shared, and returns its address in bytes (remap_pfn_range).
   * Throws EINVAL beyond the device memory, and ENOMEM.
   */
  mapDevice(request: DeviceRequest): number {
    const checked = optionsOf('mapDevice', request, DEVICE_REQUEST);
    return this.run('write', (mm) => doMapDevice(mm, mm.machine.device, checked));
  }

  /** Like `mapDevice`, but waits instead of throwing EAGAIN. */
  async mapDeviceAsync(request: DeviceRequest): Promise<number> {
    const checked = optionsOf('mapDevice', request, DEVICE_REQUEST);
    return this.later('write', (mm) => doMapDevice(mm, mm.machine.device, checked));
  }

  /**
   * Maps memory of the caller that the machine has adopted (`banks` of `createMachine`) as private
   * anonymous memory, and returns its address in bytes. Loads and stores of the mm and of the
   * caller reach the same bytes, and no page is copied on write. Throws EINVAL beyond the bank, the
   * errors of `mmap` for the place, and ENOMEM.
   */
  mapFrames(request: FramesRequest): number {
    const checked = optionsOf('mapFrames', request, FRAMES_REQUEST);
    return this.run('write', (mm) => doMapFrames(mm, checked));
  }

  /** Like `mapFrames`, but waits instead of throwing EAGAIN. */
  async mapFramesAsync(request: FramesRequest): Promise<number> {
    const checked = optionsOf('mapFrames', request, FRAMES_REQUEST);
    return this.later('write', (mm) => doMapFrames(mm, checked));
  }

  /** Unmaps the pages of [address, address + length), in bytes, as munmap(2). Throws EINVAL. */
  munmap(address: number, length: number): void {
    assertNumbers('munmap', { address, length });
    this.run('write', (mm) => doMunmap(mm, address, length));
  }

  /** Like `munmap`, but waits instead of throwing EAGAIN. */
  async munmapAsync(address: number, length: number): Promise<void> {
    assertNumbers('munmap', { address, length });
    return this.later('write', (mm) => doMunmap(mm, address, length));
  }

  /**
   * Sets the protection of the pages of a range, in bytes, as mprotect(2). Throws EINVAL, EACCES if
   * a mapping never allows `prot`, and ENOMEM at a hole. The part before that is changed.
   */
  mprotect(address: number, length: number, prot: Prot): void {
    assertNumbers('mprotect', { address, length });
    PROT('mprotect: prot', prot);
    this.run('write', (mm) => doMprotect(mm, address, length, prot));
  }

  /** Like `mprotect`, but waits instead of throwing EAGAIN. */
  async mprotectAsync(address: number, length: number, prot: Prot): Promise<void> {
    assertNumbers('mprotect', { address, length });
    PROT('mprotect: prot', prot);
    return this.later('write', (mm) => doMprotect(mm, address, length, prot));
  }

  /**
   * Resizes or moves a mapping and returns its address, as mremap(2) of Linux 6.17 and later.
   * Addresses and lengths are bytes. `newAddress` is the new address with 'fixed', a hint with
   * 'dontunmap', and ignored otherwise. Throws EINVAL, EFAULT or ENOMEM.
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
      doMremap(mm, address, oldLength, newLength, checked, newAddress, progress),
    );
  }

  /** Like `mremap`, but waits instead of throwing EAGAIN. */
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
      doMremap(mm, address, oldLength, newLength, checked, newAddress, progress),
    );
  }

  /**
   * Moves the end of the heap to `address`, in bytes, and returns the end. As with the system call,
   * it is no error if the end cannot be moved: the old end is returned. Throws EINVAL unless the
   * address is a whole number, 0 or more.
   */
  brk(address: number): number {
    assertNumbers('brk', { address });
    return this.run('write', (mm) => doBrk(mm, address));
  }

  /** Like `brk`, but waits instead of throwing EAGAIN. */
  async brkAsync(address: number): Promise<number> {
    assertNumbers('brk', { address });
    return this.later('write', (mm) => doBrk(mm, address));
  }

  /**
   * Gives advice on a range of bytes, as madvise(2). Throws EINVAL, also if a mapping refuses the
   * advice, and ENOMEM at a hole, after the rest of the range was advised. 'populate_read' and
   * 'populate_write' throw EFAULT or EHWPOISON at a page that cannot be faulted in.
   */
  madvise(address: number, length: number, advice: Advice): void {
    assertNumbers('madvise', { address, length });
    ADVICE('madvise: advice', advice);
    const progress: Progress = { done: 0 }; // pages
    this.run(adviceMode(advice), (mm) => doMadvise(mm, address, length, advice, progress));
  }

  /** Like `madvise`, but waits instead of throwing EAGAIN. */
  async madviseAsync(address: number, length: number, advice: Advice): Promise<void> {
    assertNumbers('madvise', { address, length });
    ADVICE('madvise: advice', advice);
    const progress: Progress = { done: 0 };
    return this.later(adviceMode(advice), (mm) => doMadvise(mm, address, length, advice, progress));
  }

  /**
   * Keeps the pages of a range of bytes in memory, as mlock2(2). They are faulted in, unless
   * 'onfault' is given. Throws EINVAL, and ENOMEM at a hole or for a page that cannot be faulted
   * in.
   */
  mlock(address: number, length: number, flags: readonly MlockFlag[] = []): void {
    assertNumbers('mlock', { address, length });
    const checked = MLOCK_FLAGS('mlock: flags', flags);
    this.run('write', (mm) => doMlock(mm, address, length, checked));
  }

  /** Like `mlock`, but waits instead of throwing EAGAIN. */
  async mlockAsync(
    address: number,
    length: number,
    flags: readonly MlockFlag[] = [],
  ): Promise<void> {
    assertNumbers('mlock', { address, length });
    const checked = MLOCK_FLAGS('mlock: flags', flags);
    return this.later('write', (mm) => doMlock(mm, address, length, checked));
  }

  /**
   * Lets the pages of a range of bytes be swapped again, as munlock(2). Throws EINVAL, and ENOMEM
   * at a hole.
   */
  munlock(address: number, length: number): void {
    assertNumbers('munlock', { address, length });
    this.run('write', (mm) => doMunlock(mm, address, length));
  }

  /** Like `munlock`, but waits instead of throwing EAGAIN. */
  async munlockAsync(address: number, length: number): Promise<void> {
    assertNumbers('munlock', { address, length });
    return this.later('write', (mm) => doMunlock(mm, address, length));
  }

  /**
   * Keeps all pages in memory that are mapped now, that are mapped later, or both, as mlockall(2).
   * Throws EINVAL unless `flags` has 'current' or 'future'.
   */
  mlockall(flags: readonly MlockAllFlag[]): void {
    const checked = MCL_FLAGS('mlockall: flags', flags);
    this.run('write', (mm) => doMlockall(mm, checked));
  }

  /** Like `mlockall`, but waits instead of throwing EAGAIN. */
  async mlockallAsync(flags: readonly MlockAllFlag[]): Promise<void> {
    const checked = MCL_FLAGS('mlockall: flags', flags);
    return this.later('write', (mm) => doMlockall(mm, checked));
  }

  /** Lets all pages be swapped again, also those that are mapped later, as munlockall(2). */
  munlockall(): void {
    this.run('write', doMunlockall);
  }

  /** Like `munlockall`, but waits instead of throwing EAGAIN. */
  munlockallAsync(): Promise<void> {
    return this.later('write', doMunlockall);
  }

  /**
   * Returns one byte per page of a range of bytes, as mincore(2): 1 if an access would find the
   * page in memory, otherwise 0. Throws EINVAL, and ENOMEM at a hole.
   */
  mincore(address: number, length: number): Uint8Array {
    assertNumbers('mincore', { address, length });
    return this.run('read', (mm) => doMincore(mm, address, length));
  }

  /** Like `mincore`, but waits instead of throwing EAGAIN. */
  async mincoreAsync(address: number, length: number): Promise<Uint8Array> {
    assertNumbers('mincore', { address, length });
    return this.later('read', (mm) => doMincore(mm, address, length));
  }

  /**
   * Writes dirty pages of shared mappings in a range of bytes back to simulated files, as msync(2).
   * `flags` default to ['sync']; without 'sync' nothing is written. Throws EINVAL, ENOMEM at a
   * hole, after the rest was done, and EBUSY for 'invalidate' at a locked mapping.
   */
  msync(address: number, length: number, flags: readonly MsyncFlag[] = ['sync']): void {
    assertNumbers('msync', { address, length });
    const checked = MSYNC_FLAGS('msync: flags', flags);
    this.run('read', (mm) => doMsync(mm, address, length, checked));
  }

  /** Like `msync`, but waits instead of throwing EAGAIN. */
  async msyncAsync(
    address: number,
    length: number,
    flags: readonly MsyncFlag[] = ['sync'],
  ): Promise<void> {
    assertNumbers('msync', { address, length });
    const checked = MSYNC_FLAGS('msync: flags', flags);
    return this.later('read', (mm) => doMsync(mm, address, length, checked));
  }
}
