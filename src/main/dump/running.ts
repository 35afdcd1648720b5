/**
 * What a dump of a running machine needs beyond the mmap locks: thread ids for its workers, and the
 * references that keep every frame and swap slot in place until it is copied.
 */
import type { Mm } from '../../mmu/mm/mm.ts';
import { threadGone } from '../../mmu/mm/thread-gone.ts';
import { PinSlots, pinSlotsBytes, SLOTS_PER_WORKER } from '../../shared/dump/pin-slots.ts';
import { PIN, pinTableBytes } from '../../shared/dump/pin-table.ts';
import type { RunningMachine } from '../../shared/dump/tasks/pass-task.ts';
import { OPERATION } from '../../shared/sync/thread-layout.ts';
import type { SharedBuffers } from './shared-buffers.ts';

/** How long pins live. */
export type PinLife =
  /** They live for one unit. */
  | { readonly kind: 'unit'; readonly unitPages: number }
  /** They live from a counting pass to the end of the dump. `pages`: pages of all units. */
  | { readonly kind: 'dump'; readonly pages: number };

/** The pins of a dump and the thread ids of its workers. */
export class Pins {
  readonly #mm: Mm;
  readonly #onlookers: number[];
  readonly #named: SharedArrayBuffer;
  readonly #buffers: SharedBuffers;
  #words: Int32Array = new Int32Array(0);
  #slots: PinSlots | undefined;
  #slotWords = 0;
  #threads: number[] = [];
  readonly #lost = new Set<number>();

  /**
   * `mm`: any mm of the dump; its thread gives the references back. `onlookers`: thread ids for the
   * first workers, which hold nothing; `enlist` takes them out of the list. `named`: which files
   * have a name in this dump.
   */
  constructor(mm: Mm, onlookers: number[], buffers: SharedBuffers, named: SharedArrayBuffer) {
    this.#mm = mm;
    this.#onlookers = onlookers;
    this.#named = named;
    this.#buffers = buffers;
  }

  /**
   * Returns one message per worker of a pass. There are fewer than `workers` if the machine has no
   * more thread ids: the dump holds locks that other threads wait for, so it must not wait for
   * their ids. Throws ENOMEM if there is no memory for the table of pins.
   */
  enlist(workers: number, life: PinLife): RunningMachine[] {
    const { threads } = this.#mm.machine;
    const isShort = life.kind === 'unit';
    const pages = isShort ? workers * SLOTS_PER_WORKER * life.unitPages : life.pages;
    const pins = this.#buffers.take('pins', pinTableBytes(pages));
    this.#words = new Int32Array(pins, 0, pages * PIN.WORDS).fill(0);
    const slots = isShort ? new SharedArrayBuffer(pinSlotsBytes(workers)) : undefined;
    this.#slots = slots && new PinSlots(slots);
    this.#slotWords = isShort ? life.unitPages * PIN.WORDS : 0;
    while (this.#threads.length < workers) {
      const id = this.#onlookers.pop() ?? threads.tryRegister(OPERATION);
      if (id < 0) break;
      threads.becomeOnlooker(id);
      this.#threads.push(id);
    }
    return this.#threads.map((thread) => ({ thread, pins, slots, named: this.#named }));
  }

  /** Gives back the pins of units that are done, while workers go on, until `over` fires. */
  async drain(over: AbortSignal): Promise<void> {
    await this.#slots?.drain(
      (slot) => this.#release(slot * this.#slotWords, this.#slotWords),
      over,
    );
  }

  /** Makes workers that wait for a slot look at the stop word now. */
  wake(): void {
    this.#slots?.wake();
  }

  /**
   * The thread of a worker is gone. Frees its locks, since other workers may be waiting for them.
   */
  lost(worker: number): void {
    const thread = this.#threads[worker];
    if (thread === undefined) return; // a pass that reads no page tables
    this.#lost.add(thread);
    threadGone(this.#mm.machine, thread);
  }

  /** Ends a pass and releases its thread ids. `failed`: a worker may have crashed with a lock. */
  dismiss(failed: boolean): void {
    const { machine } = this.#mm;
    for (const thread of this.#threads) {
      if (this.#lost.has(thread)) continue; // the id may be another thread's by now
      if (failed) threadGone(machine, thread);
      else machine.threads.release(thread);
    }
    this.#threads = [];
  }

  /**
   * Gives every reference back. Precondition: no worker of the dump looks at the machine any more.
   */
  putAll(): void {
    this.#release(0, this.#words.length);
  }

  #release(first: number, count: number): void {
    const { allocator, machine, thread } = this.#mm;
    const words = this.#words;
    const { swap } = machine;
    for (let at = first; at < first + count; at++) {
      const pfn = words[at]!;
      if (pfn === 0) continue;
      words[at] = 0;
      if (pfn >= swap.base) swap.put(pfn - swap.base, thread);
      else allocator.put(pfn, thread);
    }
  }
}
