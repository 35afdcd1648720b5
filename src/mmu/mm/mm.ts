/**
 * What an operation on an mm works with: the parts of the machine and of the mm as the calling
 * thread sees them. An attached thread has one such object per mm. A pending asynchronous operation
 * has one of its own, with its own thread id.
 */
import { MmdumpError } from '../../shared/errors.ts';
import type { Pfn } from '../../shared/page.ts';
import { RANK } from '../../shared/sync/held-locks.ts';
import { Mutex } from '../../shared/sync/mutex.ts';
import { RwLock } from '../../shared/sync/rw-lock.ts';
import type { CacheContext } from '../files/page-cache.ts';
import { allocateTable, PageCursor } from '../tables/page-table.ts';
import { VmaTable } from '../vma/vma-table.ts';
import type { FaultKind } from './fault-log.ts';
import type { MachineParts } from './machine-parts.ts';
import { MM_ADDRESS, MM_FIELD, MM_LOCK_AT, MmStruct, VMA_TABLE_AT } from './mm-struct.ts';
import type { TranslationUser } from './translation-user.ts';

/** The parts of one mm, in shared memory. */
export interface MmParts {
  readonly struct: MmStruct;
  readonly vmas: VmaTable;
  /** The mmap lock. It protects the VMAs and the fields of the mm. */
  readonly lock: RwLock;
  /** The LDT lock. It protects the entries of the LDT and their number. */
  readonly ldtLock: Mutex;
}

/** The pages [from, to), which are to be faulted in. */
export interface Populate {
  readonly from: number;
  readonly to: number;
}

/** An mm, with the machine and the thread that works on it. */
export interface Mm extends CacheContext, MmParts {
  readonly machine: MachineParts;
  readonly slot: number;
  /** The level-4 page table. */
  readonly pgd: Pfn;
  /** Where the last walk ended. Every walk with this object overwrites it. */
  readonly cursor: PageCursor;
  /**
   * Pages that the operation wants to have faulted in after it has released the mm (mm_populate).
   */
  readonly toPopulate: Populate[];
  /**
   * How often faults of this object have moved the epoch of the mm on, for one page each. Whoever
   * is interested sets it to 0.
   */
  revokedPages: number;
  /** What the fault that is being handled has done so far; undefined if nothing. */
  faulted: FaultKind | undefined;
  /** Whether a page of a file was read in for it. */
  hasRead: boolean;
  /** What uses translations of the mm in this thread, if anything does. */
  user: TranslationUser | undefined;
}

/** Makes the accessors of the mm in a slot, whatever the state of the slot is. */
export function mmParts(machine: MachineParts, slot: number): MmParts {
  const { mmWords: words, threads } = machine;
  const struct = new MmStruct(words, slot);
  return {
    struct,
    vmas: new VmaTable(words, struct.base + VMA_TABLE_AT),
    lock: new RwLock(words, struct.base + MM_LOCK_AT, threads),
    ldtLock: new Mutex(words, struct.base + MM_FIELD.LDT_LOCK, RANK.LDT, threads, 'the LDT'),
  };
}

/** mmap_base without randomisation: 128 MiB below the end of user space, for the stack. */
const MMAP_BASE = 0x7fff_f7ff_f000;
/** Start of the heap, as of a position-independent program without randomisation. */
const START_BRK = 0x5555_5556_0000;

/**
 * Takes a slot for a new mm, which has nothing but a level-4 table, and returns the slot
 * (mm_alloc). The caller fills the mm and publishes it, or frees it with `freeMm`. Throws ENOMEM
 * when all slots or all frames are taken. The thread is inside the freeze gate.
 */
export function claimMm(machine: MachineParts, thread: number): number {
  machine.threads.assertInside(thread, 'a new address space');
  for (let slot = 0; slot < machine.maxAddressSpaces; slot++) {
    const struct = new MmStruct(machine.mmWords, slot);
    if (!struct.claim()) continue;
    try {
      struct.clearFields();
      const { memory, pages, allocator, threads, mayBlock } = machine;
      const context = { memory, pages, allocator, threads, thread, mayBlock };
      struct.set(MM_FIELD.PGD, allocateTable(context, 4));
    } catch (error) {
      struct.vacate();
      throw error;
    }
    struct.set64(MM_FIELD.MMAP_BASE, MMAP_BASE);
    struct.set64(MM_ADDRESS.start_brk, START_BRK);
    struct.set64(MM_ADDRESS.brk, START_BRK);
    mmParts(machine, slot).vmas.clear();
    return slot;
  }
  throw new MmdumpError(
    'ENOMEM',
    `all ${machine.maxAddressSpaces} address spaces of the machine are taken (maxAddressSpaces)`,
  );
}

/**
 * Frees an mm that has no mappings: its bytes in the store, its slot and its level-4 table
 * (mmdrop). If it was published, its mmap lock is held for writing.
 */
export function freeMm(mm: Mm): void {
  const { struct, machine, thread } = mm;
  for (const field of [MM_FIELD.AUXV_AT, MM_FIELD.NOTES_AT]) {
    machine.store.put(struct.get64(field), thread);
  }
  struct.vacate();
  mm.allocator.put(mm.pgd, thread);
}

/** Makes the object for operations of `thread` on the mm in a slot that is NEW or LIVE. */
export function mmOf(machine: MachineParts, slot: number, thread: number): Mm {
  const parts = mmParts(machine, slot);
  return {
    ...parts,
    machine,
    slot,
    thread,
    memory: machine.memory,
    pages: machine.pages,
    allocator: machine.allocator,
    threads: machine.threads,
    mayBlock: machine.mayBlock,
    files: machine.files,
    hostFiles: machine.hostFiles,
    backings: machine.backings,
    pgd: parts.struct.get(MM_FIELD.PGD) as Pfn,
    cursor: new PageCursor(),
    toPopulate: [],
    revokedPages: 0,
    faulted: undefined,
    hasRead: false,
    user: undefined,
  };
}

/**
 * The Mm objects of a thread's own operations, by slot, each for the latest life of its slot. They
 * are kept here and not in the objects of users, so that a closed machine can drop them.
 */
export class MmCache {
  readonly #mms: ({ readonly generation: number; readonly mm: Mm } | undefined)[] = [];

  /** The Mm object for one life of a slot, which is made if need be. */
  of(machine: MachineParts, slot: number, generation: number): Mm {
    const known = this.#mms[slot];
    if (known?.generation === generation) return known.mm;
    const mm = mmOf(machine, slot, machine.thread);
    // The latest life is kept. An operation on an earlier one fails with MM_GONE under the lock.
    if (known === undefined || known.generation < generation) this.#mms[slot] = { generation, mm };
    return mm;
  }

  /** Drops all objects once the machine is closed. */
  clear(): void {
    for (const known of this.#mms) known?.mm.user?.dropViews();
    this.#mms.length = 0;
  }
}
