/** Dirty tracking of an address space, as its user sees it. */
import { assertNumbers } from '../calls/arguments.ts';
import { type DirtyRange, markDirty, takeDirty } from '../calls/dirty.ts';
import { type MmReference, runOn, runOnAsync } from './enter.ts';

/**
 * Which pages of an address space were written since an instant (Linux's soft-dirty bits). A page
 * is dirty if it was written, if its mapping is new, or if mremap has moved it there. Every method
 * fails as the operations of `AddressSpace` do.
 */
export class DirtyPages {
  readonly #reference: MmReference;

  /** @internal */
  constructor(reference: MmReference) {
    this.#reference = reference;
  }

  /** Begins anew: all pages are clean from now on. Until the first call, all are dirty. */
  start(): void {
    this.take();
  }

  /** Like `start`, but waits instead of throwing EAGAIN. */
  async startAsync(): Promise<void> {
    await this.takeAsync();
  }

  /**
   * Returns the dirty pages by ascending address, and makes them clean. No write is lost between
   * two calls. Of a mapping that is new, all pages are listed. A page whose content was dropped, as
   * by MADV_DONTNEED, is not listed unless it was written afterwards. Stores through other address
   * spaces or files into memory that is shared with them are not seen here.
   */
  take(): readonly DirtyRange[] {
    const { machine, slot, generation } = this.#reference;
    return runOn(machine.mms.of(machine, slot, generation), this.#reference, 'write', takeDirty);
  }

  /** Like `take`, but waits instead of throwing EAGAIN. */
  takeAsync(): Promise<readonly DirtyRange[]> {
    return runOnAsync(this.#reference, 'write', takeDirty);
  }

  /**
   * Marks the pages that the bytes [address, address + length) touch as dirty, for programs that
   * write frames without the machine. Call it after the store. A page that was never touched has no
   * frame, and stays as it is. Throws EINVAL, and ENOMEM at a hole, after the rest was marked.
   */
  mark(address: number, length: number): void {
    assertNumbers('mark', { address, length });
    const { machine, slot, generation } = this.#reference;
    const mm = machine.mms.of(machine, slot, generation);
    runOn(mm, this.#reference, 'read', (held) => markDirty(held, address, length));
  }

  /** Like `mark`, but waits instead of throwing EAGAIN. */
  async markAsync(address: number, length: number): Promise<void> {
    assertNumbers('mark', { address, length });
    return runOnAsync(this.#reference, 'read', (held) => markDirty(held, address, length));
  }
}
