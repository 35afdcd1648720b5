/**
 * A simulated machine: physical memory, page structs, files and mms, all in shared memory.
 *
 *   banks      frames                    WebAssembly.Memory, 2 GiB each
 *   swapBanks  swapped pages             the same; `swapMap` counts the references to each slot
 *   pages      page structs              32 bytes per frame
 *   control    threads, gate, allocator  `control-block.ts`
 *   mms        slots of address spaces   `mm-struct.ts`
 *   files      file records              `file-table.ts`
 *   store      paths, contents of files  `store.ts`, auxiliary vectors and notes of mms
 *
 * The handle carries these buffers, and each thread makes its own views of them (MachineParts).
 * Physical memory consists of frame 0, which is not used, frame 1, the zero page, the frames of the
 * allocator, and at the top the device memory.
 */
import type { MachineHandle } from '../../shared/machine-handle.ts';
import type { Pfn } from '../../shared/page.ts';
import { FreezeGate } from '../../shared/sync/freeze-gate.ts';
import { ATTACHED, NO_THREAD } from '../../shared/sync/thread-layout.ts';
import { ThreadQueue } from '../../shared/sync/thread-queue.ts';
import type { ThreadTable } from '../../shared/sync/thread-table.ts';
import { Translations } from '../../shared/sync/translations.ts';
import { BackingTable } from '../backing/backing-table.ts';
import { FILES_MAX, FileTable } from '../files/file-table.ts';
import { HostFiles } from '../files/host-files.ts';
import { Store } from '../files/store.ts';
import { type AdoptedBank, adoptedBanks, adoptedMarks } from '../physical/adopted.ts';
import { type AdoptedMarks, LAST_STEP } from '../physical/adopted-marks.ts';
import { FrameAllocator } from '../physical/frame-allocator.ts';
import { hugeZeroPage } from '../physical/huge-zero.ts';
import { PAGE_STRUCT, PageStructs, PG } from '../physical/page-struct.ts';
import { PhysicalMemory } from '../physical/physical-memory.ts';
import { dropUnshared, unsharedOf } from '../physical/unshared.ts';
import { SwapArea } from '../swap/swap-area.ts';
import {
  ALLOCATOR_AT,
  BACKINGS_AT,
  CONTROL,
  GATE_AT,
  STORE_AT,
  threadsOf,
} from './control-block.ts';
import { FaultLog } from './fault-log.ts';
import { MmCache } from './mm.ts';
import { MM_WORDS } from './mm-struct.ts';
import { MmTurns } from './mm-turns.ts';
import { threadGone } from './thread-gone.ts';

/** The frames at the top of physical memory that only device mappings map. */
export interface DeviceMemory {
  readonly first: number; // pfn
  readonly frames: number;
}

/** Options of `attach`. */
export interface AttachOptions {
  /**
   * A thread id that another thread took for this one with `registerThread`. Default: a new one.
   */
  readonly thread?: number | undefined;
  /**
   * Whether this thread may sleep while it waits. Default true, on a main thread as well; a main
   * thread that must not block passes false.
   */
  readonly mayBlock?: boolean | undefined;
}

/**
 * The parts of a machine as one thread sees them. The state of the machine lies in shared memory.
 * This object adds the id of the thread, and what the thread keeps for itself: its Mm objects, the
 * turns of its asynchronous operations, and its open host files.
 */
export class MachineParts {
  #handle: MachineHandle;
  /** Id of this thread. If the thread dies, `threadGone` is told this id. */
  readonly thread: number;
  /** The life of that id: another thread may have the same id later. */
  #life: number;
  /** Whether this thread may sleep while it waits. */
  readonly mayBlock: boolean;
  /** Whether the machine was closed, so that this object shows nothing but its control block. */
  hasDroppedViews = false;
  readonly memory: PhysicalMemory;
  readonly pages: PageStructs;
  readonly swap: SwapArea;
  readonly threads: ThreadTable;
  readonly queue: ThreadQueue;
  readonly mmTurns: MmTurns = new MmTurns();
  /** The mms of this thread's own operations. */
  readonly mms: MmCache = new MmCache();
  readonly gate: FreezeGate;
  /** Who uses translations without a lock, and how they are taken away. */
  readonly translations: Translations;
  readonly allocator: FrameAllocator;
  readonly store: Store;
  readonly files: FileTable;
  /** Where pages lie that are in no frame. */
  readonly backings: BackingTable;
  /** Marks of adopted memory. Undefined if there is none, and once the machine is closed. */
  adoptedMarks: AdoptedMarks | undefined;
  readonly hostFiles: HostFiles = new HostFiles();
  /** Who listens to the page faults of this thread. */
  readonly faults: FaultLog = new FaultLog();
  /** Whether reads of untouched anonymous memory map a zero page (not mm_forbids_zeropage). */
  readonly hasZeroPage: boolean;
  /** Words of all mm slots. */
  mmWords: Int32Array;
  readonly maxAddressSpaces: number;
  readonly #control: Int32Array;

  constructor(handle: MachineHandle, options: AttachOptions = {}) {
    this.#handle = handle;
    this.mayBlock = options.mayBlock ?? true;
    const control = new Int32Array(handle.control);
    this.#control = control;
    this.hasZeroPage = control[CONTROL.ZERO_PAGE] !== 0;
    this.memory = new PhysicalMemory({ ...handle, unshared: unsharedOf(handle.control) });
    this.pages = new PageStructs(handle.pages);
    this.adoptedMarks = adoptedMarks(handle.banks.length, handle.adopted, this.pages);
    this.threads = threadsOf(handle);
    this.queue = new ThreadQueue(this.threads);
    this.swap = new SwapArea(handle.swapMap, this.memory.swapBase, this.threads);
    this.gate = new FreezeGate(control, GATE_AT, this.threads);
    this.translations = new Translations(control, GATE_AT, this.gate, this.threads);
    const { memory, pages, threads, mayBlock } = this;
    this.allocator = new FrameAllocator(control, ALLOCATOR_AT, memory, pages, threads, mayBlock);
    this.store = new Store(control, STORE_AT, handle.store, threads, mayBlock);
    const fileWords = new Int32Array(handle.files);
    this.files = new FileTable(fileWords, 0, FILES_MAX, this.store, threads, mayBlock);
    this.backings = new BackingTable(control, BACKINGS_AT, this.store, this.id);
    this.mmWords = new Int32Array(handle.mms);
    this.maxAddressSpaces = this.mmWords.length / MM_WORDS;
    const view = new WeakRef(this); // the table may outlive this object, and must not keep it alive
    this.threads.onEnded = (id, seen) => {
      const machine = view.deref();
      if (machine !== undefined) threadGone(machine, id, seen);
    };
    this.thread = options.thread ?? this.#register();
    this.#life = this.thread === NO_THREAD ? 0 : this.threads.lifeOf(this.thread);
  }

  /** The life of the thread id, as ThreadTable.lifeOf returns it. */
  get life(): number {
    return this.#life;
  }

  /**
   * Makes the thread id, which another thread registered, that of the calling thread. Throws
   * OPTION_INVALID if it is not registered.
   */
  adopt(): void {
    this.threads.adopt(this.thread);
    this.#life = this.threads.lifeOf(this.thread);
  }

  /**
   * Takes an id that this thread keeps until it ends. Waits for one if the thread may sleep, since
   * operations give theirs back. Throws TOO_MANY_THREADS when there is none.
   */
  #register(): number {
    return this.mayBlock ? this.queue.takeBlocking(ATTACHED) : this.threads.register();
  }

  /** What another thread needs to attach to the machine. */
  get handle(): MachineHandle {
    return this.#handle;
  }

  /**
   * Closes the host files and drops every view of the memory once the machine is closed. So the
   * memory can be freed even if a user still holds this object.
   */
  dropViews(): void {
    const none = new SharedArrayBuffer(0);
    this.hostFiles.close();
    dropUnshared(this.#handle.control);
    this.memory.dropViews();
    this.pages.dropViews();
    this.store.dropViews();
    this.backings.dropViews();
    this.files.dropViews();
    this.mms.clear();
    this.adoptedMarks = undefined;
    this.faults.clear();
    this.mmWords = new Int32Array();
    this.hasDroppedViews = true;
    this.#handle = {
      ...this.#handle,
      banks: [],
      adopted: [],
      swapBanks: [],
      swapMap: none,
      pages: none,
      mms: none,
      files: none,
      store: none,
    };
  }

  /** The device memory of the machine. */
  get device(): DeviceMemory {
    return {
      first: this.#control[CONTROL.DEVICE_FIRST]!,
      frames: this.#control[CONTROL.DEVICE_FRAMES]!,
    };
  }

  /** The memories of the caller that the machine has adopted. */
  get adopted(): AdoptedBank[] {
    return adoptedBanks(this.#handle.banks.length, this.#handle.adopted);
  }

  /** A name that no other machine has: 64 random bits in hexadecimal. */
  get id(): string {
    const low = this.#control[CONTROL.ID_LOW]! >>> 0;
    const high = this.#control[CONTROL.ID_HIGH]! >>> 0;
    return `${high.toString(16)}-${low.toString(16)}`;
  }

  /**
   * Whether both are views of one machine. Their buffers do not tell, since a buffer that is posted
   * is a new object each time.
   */
  isSameMachine({ id }: MachineParts): boolean {
    return this.id === id;
  }

  /**
   * First frame of the huge zero page, which is allocated on first use; 0 when no block of 512
   * frames is free.
   */
  hugeZeroPage(thread: number): Pfn {
    return hugeZeroPage(this.#control, CONTROL.HUGE_ZERO, this.allocator, this.pages, thread);
  }

  /** Slot of the mm from which to reclaim next. Every call moves on by one slot. */
  nextReclaimSlot(): number {
    return (Atomics.add(this.#control, CONTROL.RECLAIM_SLOT, 1) >>> 0) % this.maxAddressSpaces;
  }

  /** A new anon_vma id, which is at least 1. */
  nextAnonVma(): number {
    return Atomics.add(this.#control, CONTROL.ANON_VMAS, 1) + 1;
  }

  /** A new id of a snapshot, which is not 0. */
  nextSnapshot(): number {
    return Atomics.add(this.#control, CONTROL.SNAPSHOTS, 1) + 1 || this.nextSnapshot();
  }

  /** A new step at which changes of adopted memory are looked at (`adopted-marks.ts`). */
  nextAdoptedStep(): number {
    const at = CONTROL.ADOPTED_STEPS;
    if (Atomics.load(this.#control, at) >>> 0 >= LAST_STEP) return LAST_STEP;
    return Math.min(LAST_STEP, (Atomics.add(this.#control, at, 1) >>> 0) + 1);
  }

  /** Whether the thread, which is dead, still owns a page-table lock. Looks at all page structs. */
  holdsTableLock(thread: number): boolean {
    const words = this.pages.words;
    const { FLAGS, NEXT, WORDS } = PAGE_STRUCT;
    for (let at = 0; at < words.length; at += WORDS) {
      if ((words[at + FLAGS]! & PG.TABLE) !== 0 && words[at + NEXT] === thread + 1) return true;
    }
    return false;
  }

  /** Releases the page-table locks that a dead onlooker still owns. Looks at all page structs. */
  breakTableLocks(thread: number): void {
    const words = this.pages.words;
    const { FLAGS, NEXT, WORDS } = PAGE_STRUCT;
    for (let at = 0; at < words.length; at += WORDS) {
      if ((words[at + FLAGS]! & PG.TABLE) === 0) continue;
      Atomics.compareExchange(words, at + NEXT, thread + 1, 0);
    }
  }

  /** Gives back the thread id, unless that life of it has ended, and closes the host files. */
  detach(): void {
    this.hostFiles.close();
    if (this.threads.lifeOf(this.thread) === this.life) this.threads.release(this.thread);
  }
}
