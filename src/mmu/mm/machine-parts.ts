/**
 * A simulated machine: physical memory, page structs, files and mms, all in shared memory.
 *
 *   banks      frames                    WebAssembly.Memory, 2 GiB each
 *   swapBanks  swapped pages             the same; `swapMap` counts the references to each slot
 *   pages      page structs              32 bytes per frame
 *   control    threads, gate, allocator  below
 *   mms        slots of address spaces   `mm-struct.ts`
 *   files      file records              `file-table.ts`
 *   store      paths, contents of files  `store.ts`, auxiliary vectors and notes of mms
 *
 * The handle carries these buffers, and each thread makes its own views of them (MachineParts).
 * Physical memory consists of frame 0, which is not used, frame 1, the zero page, the frames of the
 * allocator, and at the top the device memory.
 */
import { randomInt } from 'node:crypto';
import { flag, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { MmdumpError, reasonOf } from '../../shared/errors.ts';
import type { MachineHandle } from '../../shared/machine-handle.ts';
import { GiB, MiB, PAGE_SIZE, type Pfn } from '../../shared/page.ts';
import { FREEZE_GATE, FreezeGate } from '../../shared/sync/freeze-gate.ts';
import { ATTACHED, NO_THREAD, THREAD_TABLE_WORDS } from '../../shared/sync/thread-layout.ts';
import { ThreadQueue } from '../../shared/sync/thread-queue.ts';
import { ThreadTable } from '../../shared/sync/thread-table.ts';
import { FILES_MAX, FileTable, fileTableWords } from '../files/file-table.ts';
import { HostFiles } from '../files/host-files.ts';
import { Store } from '../files/store.ts';
import { STORE } from '../files/store-blocks.ts';
import { ALLOCATOR, FrameAllocator } from '../physical/frame-allocator.ts';
import { hugeZeroPage } from '../physical/huge-zero.ts';
import {
  FIRST_FREE_PFN,
  PAGE_STRUCT,
  PageStructs,
  PG,
  ZERO_PAGE_PFN,
} from '../physical/page-struct.ts';
import { createBanks, PhysicalMemory } from '../physical/physical-memory.ts';
import { SWAP_SLOTS_MAX, SwapArea, swapMapBytes } from '../swap/swap-area.ts';
import { MmCache } from './mm.ts';
import { MM_WORDS } from './mm-struct.ts';
import { MmTurns } from './mm-turns.ts';
import { threadGone } from './thread-gone.ts';

/** Words of the control block. The parts that have tables of their own follow. */
const CONTROL = {
  ANON_VMAS: 0, //     anon_vma ids handed out; Atomics only
  DEVICE_FIRST: 1, //  first frame of the device memory; immutable after init
  DEVICE_FRAMES: 2, // its size; immutable after init
  HUGE_ZERO: 3, //     first frame of the huge zero page, 0 = not allocated yet; Atomics only
  RECLAIM_SLOT: 4, //  next slot to reclaim from, modulo their number; a hint, Atomics only
  ID_LOW: 5, //        64 random bits that name the machine; immutable after init
  ID_HIGH: 6, //       … high word
  ZERO_PAGE: 7, //     1 = read faults map the zero page, 0 = fresh pages; immutable after init
  THREADS: 16, //      the thread table
} as const;
const GATE_AT = CONTROL.THREADS + THREAD_TABLE_WORDS;
const ALLOCATOR_AT = GATE_AT + FREEZE_GATE.WORDS;
const STORE_AT = ALLOCATOR_AT + ALLOCATOR.WORDS;
/** Number of words of the control block. */
export const CONTROL_WORDS: number = STORE_AT + STORE.WORDS;

/** Options of `createMachine`. Sizes are bytes. */
export interface MachineOptions {
  /**
   * Bytes of physical memory, page tables included: 1 MiB to 256 GiB, rounded up to a multiple of
   * 64 KiB. They are committed only as they are touched.
   */
  readonly memory: number;
  /**
   * Bytes of device memory, which only device mappings map. It is a part of `memory`, and at most
   * half of it. Default 0.
   */
  readonly deviceMemory?: number | undefined;
  /**
   * Bytes of swap, to which anonymous pages go when memory runs out: at most 62 GiB, rounded up to
   * a multiple of 64 KiB. Default 0: no swap.
   */
  readonly swap?: number | undefined;
  /**
   * Bytes of the store, which keeps paths and contents of simulated files, auxiliary vectors and
   * notes: 4 KiB to 4 GiB. What is deleted frees its bytes. Default 64 MiB.
   */
  readonly store?: number | undefined;
  /** The most address spaces that can live at the same time, 1 to 1024. Default 64. */
  readonly maxAddressSpaces?: number | undefined;
  /**
   * What a read of anonymous memory maps where nothing was written yet. With true it is the zero
   * page or the huge zero page, read-only. With false it is a fresh page of zeros, as in Linux
   * where `mm_forbids_zeropage()` holds, and no page table of the machine maps a zero page. Default
   * true.
   */
  readonly zeroPage?: boolean | undefined;
  /**
   * Whether to assert that every lock is taken in the lock order and that every change is made
   * inside the freeze gate. Default false.
   */
  readonly checks?: boolean | undefined;
}

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

const MEMORY_UNIT = 0x10000; // bytes of a wasm page
/** The most bytes of physical memory that a machine can have. */
export const MAX_MEMORY: number = 256 * GiB;
/** The largest value of `maxAddressSpaces`. */
export const MAX_ADDRESS_SPACES = 1024;

const MACHINE_OPTIONS: Shape<MachineOptions> = {
  memory: wholeNumber(MiB, MAX_MEMORY),
  deviceMemory: optional(wholeNumber(0, MAX_MEMORY / 2)),
  swap: optional(wholeNumber(0, SWAP_SLOTS_MAX * PAGE_SIZE)),
  store: optional(wholeNumber(PAGE_SIZE, 4 * GiB)),
  maxAddressSpaces: optional(wholeNumber(1, MAX_ADDRESS_SPACES)),
  zeroPage: optional(flag),
  checks: optional(flag),
};

/** Checks for the options of `attach`. */
export const ATTACH_OPTIONS: Shape<AttachOptions> = {
  thread: optional(wholeNumber(0)),
  mayBlock: optional(flag),
};

/**
 * Allocates and initialises the shared memory of a machine. Throws OPTION_INVALID for invalid
 * options, and MACHINE_TOO_LARGE when the operating system refuses the memory.
 */
export function createMachineHandle(options: MachineOptions): MachineHandle {
  const checked = optionsOf('createMachine', options, MACHINE_OPTIONS);
  const { memory, deviceMemory = 0, swap = 0, checks = false } = checked;
  const { store = 64 * MiB, maxAddressSpaces = 64 } = checked;
  if (deviceMemory > memory / 2) {
    throw refusal('deviceMemory', deviceMemory, `at most half of the ${memory} bytes of memory`);
  }
  const frames = (Math.ceil(memory / MEMORY_UNIT) * MEMORY_UNIT) / PAGE_SIZE;
  const slots = (Math.ceil(swap / MEMORY_UNIT) * MEMORY_UNIT) / PAGE_SIZE;
  const handle: MachineHandle = {
    kind: 'machine',
    banks: createBanks(frames),
    frames,
    swapBanks: createBanks(slots),
    slots,
    swapMap: shared('swap map', swapMapBytes(slots)),
    pages: shared('page structs', frames * PAGE_STRUCT.WORDS * 4),
    control: shared('control block', CONTROL_WORDS * 4),
    mms: shared('address spaces', maxAddressSpaces * MM_WORDS * 4),
    files: shared('file table', fileTableWords(FILES_MAX) * 4),
    store: shared('store', store),
    checks,
  };
  initialise(handle, Math.ceil(deviceMemory / PAGE_SIZE), checked.zeroPage ?? true);
  return handle;
}

/** Allocates a shared buffer. Throws MACHINE_TOO_LARGE. */
function shared(what: string, bytes: number): SharedArrayBuffer {
  try {
    return new SharedArrayBuffer(bytes);
  } catch (error) {
    throw new MmdumpError(
      'MACHINE_TOO_LARGE',
      `the system refused ${Math.ceil(bytes / MiB)} MiB for the machine's ${what}: ${reasonOf(error)}`,
      {},
      error,
    );
  }
}

function initialise(handle: MachineHandle, deviceFrames: number, zeroPage: boolean): void {
  const { frames } = handle;
  const control = new Int32Array(handle.control);
  control[CONTROL.DEVICE_FIRST] = frames - deviceFrames;
  control[CONTROL.DEVICE_FRAMES] = deviceFrames;
  control[CONTROL.ID_LOW] = randomInt(2 ** 32);
  control[CONTROL.ID_HIGH] = randomInt(2 ** 32);
  control[CONTROL.ZERO_PAGE] = zeroPage ? 1 : 0;
  const machine = new MachineParts(handle, { mayBlock: false, thread: NO_THREAD });
  machine.pages.setFlags(0, PG.RESERVED);
  machine.pages.setFlags(ZERO_PAGE_PFN, PG.RESERVED | PG.ZERO);
  for (let pfn = frames - deviceFrames; pfn < frames; pfn++) {
    machine.pages.setFlags(pfn, PG.RESERVED);
  }
  machine.allocator.initialise(FIRST_FREE_PFN, frames - deviceFrames);
  machine.swap.initialise();
  machine.store.initialise();
  const thread = machine.threads.register();
  machine.gate.tryEnter(thread); // always succeeds: no other thread knows the machine yet
  machine.files.initialise(randomInt(2 ** 32) | 0, thread);
  machine.gate.leave(thread);
  machine.threads.release(thread);
}

/** The thread table of a machine, for code that has no MachineParts of it yet. */
export function threadsOf(handle: MachineHandle): ThreadTable {
  return new ThreadTable(new Int32Array(handle.control), CONTROL.THREADS, handle.checks);
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
  readonly allocator: FrameAllocator;
  readonly store: Store;
  readonly files: FileTable;
  readonly hostFiles: HostFiles = new HostFiles();
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
    this.memory = new PhysicalMemory(handle);
    this.pages = new PageStructs(handle.pages);
    this.threads = threadsOf(handle);
    this.queue = new ThreadQueue(this.threads);
    this.swap = new SwapArea(handle.swapMap, this.memory.swapBase, this.threads);
    this.gate = new FreezeGate(control, GATE_AT, this.threads);
    const { memory, pages, threads, mayBlock } = this;
    this.allocator = new FrameAllocator(control, ALLOCATOR_AT, memory, pages, threads, mayBlock);
    this.store = new Store(control, STORE_AT, handle.store, threads, mayBlock);
    const fileWords = new Int32Array(handle.files);
    this.files = new FileTable(fileWords, 0, FILES_MAX, this.store, threads, mayBlock);
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
    this.memory.dropViews();
    this.pages.dropViews();
    this.store.dropViews();
    this.files.dropViews();
    this.mms.clear();
    this.mmWords = new Int32Array();
    this.hasDroppedViews = true;
    this.#handle = {
      ...this.#handle,
      banks: [],
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
