/**
 * What an operation on an mm works with: the parts of the machine and of the mm as the calling
 * thread sees them. Made once per attached thread and mm; a pending asynchronous operation has one
 * of its own, with its own thread id.
 */
import { MmdumpError } from '../../shared/errors.ts';
import type { Pfn } from '../../shared/page.ts';
import { Mutex } from '../../shared/sync/mutex.ts';
import { RwLock } from '../../shared/sync/rw-lock.ts';
import { RANK } from '../../shared/sync/thread-table.ts';
import type { CacheContext } from '../files/page-cache.ts';
import { allocateTable, PageCursor } from '../tables/page-table.ts';
import { VmaTable } from '../vma/vma-table.ts';
import type { MachineParts } from './machine-parts.ts';
import { MM_ADDRESS, MM_FIELD, MM_LOCK_AT, MmStruct, VMA_TABLE_AT } from './mm-struct.ts';

/** The parts of one mm, in shared memory. */
export interface MmParts {
  readonly struct: MmStruct;
  readonly vmas: VmaTable;
  /** The mmap lock. Everything in `vmas` and the mm's fields is protected by it. */
  readonly lock: RwLock;
  readonly ldtLock: Mutex;
}

/** Pages to fault in, by number. */
export interface Populate {
  readonly from: number;
  readonly to: number;
}

export interface Mm extends CacheContext, MmParts {
  readonly machine: MachineParts;
  readonly slot: number;
  readonly pgd: Pfn;
  /** Scratch of this thread. Valid until the next walk. */
  readonly cursor: PageCursor;
  /** Pages that the operation wants faulted in once it has let the mm go (mm_populate). */
  readonly toPopulate: Populate[];
}

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

/** mmap_base without randomisation: below a gap of 128 MiB for the stack. */
const MMAP_BASE = 0x7fff_f7ff_f000;
/** Where the heap begins, as for a position-independent program that is not randomised. */
const START_BRK = 0x5555_5556_0000;

/**
 * Takes a slot for a new mm, empty but for its level-4 table; returns the slot. The caller fills it
 * and publishes it, or vacates it with `freeMm`. ENOMEM when every slot or frame is taken.
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

/** Gives an mm without mappings back: its bytes in the store, its slot and its last table. */
export function freeMm(mm: Mm): void {
  const { struct, machine, thread } = mm;
  for (const field of [MM_FIELD.AUXV_AT, MM_FIELD.NOTES_AT]) {
    machine.store.put(struct.get64(field), thread);
  }
  struct.vacate();
  mm.allocator.put(mm.pgd, thread);
}

/** The mm in a live slot, for operations of `thread`. */
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
    pgd: parts.struct.get(MM_FIELD.PGD) as Pfn,
    cursor: new PageCursor(),
    toPopulate: [],
  };
}

/**
 * The mms of a thread's own operations, by slot, each of its latest life. They are kept here and not in
 * the objects of users, so that a machine that was closed can be let go of.
 */
export class MmCache {
  readonly #mms: ({ readonly generation: number; readonly mm: Mm } | undefined)[] = [];

  of(machine: MachineParts, slot: number, generation: number): Mm {
    const known = this.#mms[slot];
    if (known?.generation === generation) return known.mm;
    const mm = mmOf(machine, slot, machine.thread);
    // One of an earlier life finds out below the lock that it is gone.
    if (known === undefined || known.generation < generation) this.#mms[slot] = { generation, mm };
    return mm;
  }

  letGo(): void {
    this.#mms.length = 0;
  }
}
