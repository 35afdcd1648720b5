/**
 * What an operation on an mm works with: the parts of the machine and of the mm as the calling
 * thread sees them. Made once per attached thread and mm; a pending asynchronous operation has one
 * of its own, with its own thread id.
 */
import type { Pfn } from '../shared/page.ts';
import { Mutex } from '../shared/sync/mutex.ts';
import { RwLock } from '../shared/sync/rw-lock.ts';
import { RANK } from '../shared/sync/thread-table.ts';
import type { CacheContext } from './files/page-cache.ts';
import type { MachineParts } from './machine-parts.ts';
import { MM_FIELD, MM_LOCK_AT, MmStruct, VMA_TABLE_AT } from './mm-struct.ts';
import { PageCursor } from './tables/page-table.ts';
import { VmaTable } from './vma/vma-table.ts';

/** The parts of one mm, in shared memory. */
export interface MmParts {
  readonly struct: MmStruct;
  readonly vmas: VmaTable;
  /** The mmap lock. Everything in `vmas` and the mm's fields is protected by it. */
  readonly lock: RwLock;
  readonly ldtLock: Mutex;
}

export interface Mm extends CacheContext, MmParts {
  readonly machine: MachineParts;
  readonly slot: number;
  readonly pgd: Pfn;
  /** Scratch of this thread. Valid until the next walk. */
  readonly cursor: PageCursor;
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
  };
}
