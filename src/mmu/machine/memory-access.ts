/**
 * Loads and stores of an address space. Small ones that lie in one page are made by translations
 * that the thread keeps (`translator.ts`), without a lock. All others are operations on the mm.
 */
import { bytesOf } from '../../shared/arguments/bytes.ts';
import { number, oneOf } from '../../shared/arguments/checks.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { assertFill, fillBytes, loadBytes, type Progress, storeBytes } from '../fault/access.ts';
import { type FaultCounters, faultCounters } from '../mm/fault-log.ts';
import type { Mm } from '../mm/mm.ts';
import { isSmall } from './small-access.ts';
import { SystemCalls } from './system-calls.ts';
import type { Access, Translation } from './translation.ts';
import { Translator } from './translator.ts';

const ACCESS = oneOf<Access>(['read', 'write', 'execute']);

/** The loads and stores of an address space, which AddressSpace inherits. */
export abstract class MemoryAccess extends SystemCalls {
  // Not #private, for the reason that `TlbEntries` has.
  private known: Translator | undefined;

  /** @internal What keeps translations of this address space in this thread. */
  get translator(): Translator {
    this.known ??= this.#makeTranslator();
    return this.known;
  }

  #makeTranslator(): Translator {
    const { mm, reference } = this;
    if (mm.user instanceof Translator) return mm.user;
    const made = new Translator(mm, reference);
    mm.user = made;
    return made;
  }

  /**
   * Loads memory from `address` on into a view, as many bytes as the view has. Pages are faulted in
   * as the processor does. A page that cannot be accessed is SIGSEGV or SIGBUS, with `address` and
   * `reason` as fields; pages before it have been read. Throws EINVAL for an address that is not
   * whole.
   */
  read(address: number, into: ArrayBufferView): void {
    const view = bytesOf('into', into);
    if (isSmall(address, view.length)) {
      if (!this.translator.load(address, view)) this.translator.loadSlowly(address, view);
      return;
    }
    const progress: Progress = { done: 0 };
    this.run('read', (mm) => loadBytes(mm, address, view, progress));
  }

  /** Like `read`, but waits instead of throwing EAGAIN. */
  async readAsync(address: number, into: ArrayBufferView): Promise<void> {
    const view = bytesOf('into', into);
    const progress: Progress = { done: 0 };
    return this.later('read', (mm) => loadBytes(mm, address, view, progress));
  }

  /**
   * Stores the bytes of a view from `address` on; an element of a Uint32Array is four bytes. Throws
   * the same errors as `read`; pages before the one that failed have been written.
   */
  write(address: number, bytes: ArrayBufferView): void {
    const view = bytesOf('bytes', bytes);
    if (isSmall(address, view.length)) {
      if (!this.translator.store(address, view)) this.translator.storeSlowly(address, view);
      return;
    }
    const progress: Progress = { done: 0 };
    this.run('read', (mm) => storeBytes(mm, address, view, progress));
  }

  /**
   * Like `write`, but waits instead of throwing EAGAIN. The bytes must not change until it
   * resolves.
   */
  async writeAsync(address: number, bytes: ArrayBufferView): Promise<void> {
    const view = bytesOf('bytes', bytes);
    const progress: Progress = { done: 0 };
    return this.later('read', (mm) => storeBytes(mm, address, view, progress));
  }

  /**
   * Sets `length` bytes from `address` on to `value`, which is 0 to 255. Throws the same errors as
   * `write`.
   */
  fill(address: number, length: number, value: number): void {
    assertFill(length, value);
    const progress: Progress = { done: 0 };
    this.run('read', (mm) => fillBytes(mm, address, length, value, progress));
  }

  /** Like `fill`, but waits instead of throwing EAGAIN. */
  async fillAsync(address: number, length: number, value: number): Promise<void> {
    assertFill(length, value);
    const progress: Progress = { done: 0 };
    return this.later('read', (mm) => fillBytes(mm, address, length, value, progress));
  }

  /**
   * How many page faults of the address space were handled since it was made, whichever thread
   * caused them. Those that ended in a signal do not count, and neither do those that found the work
   * done by another thread.
   */
  counters(): FaultCounters {
    return this.run('read', countersOf);
  }

  /** Like `counters`, but waits instead of throwing EAGAIN. */
  countersAsync(): Promise<FaultCounters> {
    return this.later('read', countersOf);
  }

  /**
   * Runs `work` and returns its result. Meanwhile the thread is inside the machine's gate, so that
   * translations of this address space stay valid from one look at `epoch` to the next, and the
   * accesses of a TLB cost little. `work` must not be asynchronous, and must not wait for other
   * threads: whoever takes translations away, and whoever freezes the machine, waits until it makes
   * its next access or ends. It may call operations of mmdump, which go outside for a while.
   */
  inside<T>(work: () => T): T {
    if (typeof work !== 'function') throw refusal('work', work, 'a function');
    return this.translator.inside(work);
  }

  /**
   * Says where the bytes of an address lie, and faults the page in for this access. The result may
   * be used inside the same call of `inside`, as long as `epoch()` equals its `epoch`: look before
   * each access, or before a few accesses in a row. Views of memory that is not shared also end when
   * that memory grows. A page that was translated for writing counts as accessed and dirty. Throws SIGSEGV or SIGBUS as an access does, EINVAL outside of `inside`,
   * and EAGAIN if the machine is frozen and this thread must not block.
   */
  translate(address: number, access: Access): Translation {
    return this.translator.translate(number('address', address), ACCESS('access', access));
  }

  /**
   * The epoch of the address space, by one load of a shared word. Whatever takes translations away
   * moves it on before it does so: munmap, mprotect, mremap, fork, copy-on-write, reclaim, merging,
   * advice that drops or cleans pages, exit, and a freeze. While the thread is not inside it is NaN, which equals no
   * epoch.
   */
  epoch(): number {
    return this.translator.epoch;
  }
}

function countersOf({ struct }: Mm): FaultCounters {
  return faultCounters(struct);
}
