/**
 * A simulated machine: physical memory, page structs, files and mms, all in shared memory.
 *
 *   banks      frames                    WebAssembly.Memory, 2 GiB each
 *   swapBanks  swapped pages             the same; `swapMap` counts who refers to a slot
 *   pages      page structs              32 bytes a frame
 *   control    threads, gate, allocator  below
 *   mms        slots of address spaces   `mm-struct.ts`
 *   files      file records              `file-table.ts`
 *   store      paths, contents of files  `store.ts`, auxiliary vectors and notes of mms
 *
 * The handle carries these buffers; any thread makes views of them (MachineParts). Physical
 * memory: frame 0 unused, frame 1 the zero page, then frames of the allocator, at the top the
 * device memory.
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
import { HostFiles } from '../files/page-cache.ts';
import { STORE, Store } from '../files/store.ts';
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

const CONTROL = {
  ANON_VMAS: 0, //     anon_vma ids handed out; Atomics only
  DEVICE_FIRST: 1, //  first frame of the device memory; immutable after init
  DEVICE_FRAMES: 2, // its size; immutable after init
  HUGE_ZERO: 3, //     first frame of the huge zero page, 0 = not made yet; Atomics only
  RECLAIM_SLOT: 4, //  mm that the next reclaim begins with; a hint, Atomics only
  ID_LOW: 5, //        names the machine, 64 random bits; immutable after init
  ID_HIGH: 6,
  ZERO_PAGE: 7, //     1 = read faults show the zero page, 0 = none does; immutable after init
  THREADS: 16,
} as const;
const GATE_AT = CONTROL.THREADS + THREAD_TABLE_WORDS;
const ALLOCATOR_AT = GATE_AT + FREEZE_GATE.WORDS;
const STORE_AT = ALLOCATOR_AT + ALLOCATOR.WORDS;
/** Words of a machine's control block. */
export const CONTROL_WORDS: number = STORE_AT + STORE.WORDS;

/** Options of `createMachine`. Sizes are bytes. */
export interface MachineOptions {
  /** Physical memory in bytes, page tables included. Committed only as it is touched. */
  readonly memory: number;
  /** Frames, in bytes, that only device mappings show; part of `memory`. Default 0. */
  readonly deviceMemory?: number | undefined;
  /** Swap, in bytes: anonymous pages go there when memory runs out. Default 0: there is none. */
  readonly swap?: number | undefined;
  /**
   * Room, in bytes, for paths and contents of simulated files, auxiliary vectors and notes. What is
   * gone gives its room back. Default 64 MiB.
   */
  readonly store?: number | undefined;
  /** Address spaces that can live at the same time. Default 64. */
  readonly maxAddressSpaces?: number | undefined;
  /**
   * What a read of anonymous memory maps where nothing was written yet. True, the default: the zero
   * page, or the huge zero page, read-only. False: a fresh page of zeros, as on kernels and for
   * processes where `mm_forbids_zeropage()` holds; no page table of the machine shows a zero page then.
   */
  readonly zeroPage?: boolean | undefined;
  /** Assert the lock order at every acquisition. Default false. */
  readonly checks?: boolean | undefined;
}

/** Frames at the top of physical memory that only device mappings show. */
export interface DeviceMemory {
  readonly first: number; // pfn
  readonly frames: number;
}

/** Options of `attach`. */
export interface AttachOptions {
  /** A thread id that the host took with `registerThread`. Default: a new one. */
  readonly thread?: number | undefined;
  /** Whether this thread may sleep while it waits. Default true; false on a main thread. */
  readonly mayBlock?: boolean | undefined;
}

const MEMORY_UNIT = 0x10000; // bytes of a wasm page
/** Bytes of physical memory that a machine can have. */
export const MAX_MEMORY: number = 256 * GiB;
/** The most that `maxAddressSpaces` can be. */
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

export const ATTACH_OPTIONS: Shape<AttachOptions> = {
  thread: optional(wholeNumber(0)),
  mayBlock: optional(flag),
};

/** Allocates and initialises the shared memory of a machine. */
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
  machine.gate.tryEnter(thread); // nobody else knows the machine yet
  machine.files.initialise(randomInt(2 ** 32) | 0, thread);
  machine.gate.leave(thread);
  machine.threads.release(thread);
}

/** The threads of a machine, for who has no view of it yet. */
export function threadsOf(handle: MachineHandle): ThreadTable {
  return new ThreadTable(new Int32Array(handle.control), CONTROL.THREADS, handle.checks);
}

/** The parts of a machine as one thread sees them. No state of its own but the thread id. */
export class MachineParts {
  #handle: MachineHandle;
  /** This thread's id. Its host reports it with `threadGone` should the thread die. */
  readonly thread: number;
  /** Which life of that id. */
  #life: number;
  readonly mayBlock: boolean;
  /** The machine was closed, and nothing but its control block is seen from here. */
  hasLetGo = false;
  readonly memory: PhysicalMemory;
  readonly pages: PageStructs;
  readonly swap: SwapArea;
  readonly threads: ThreadTable;
  readonly queue: ThreadQueue;
  readonly mmTurns: MmTurns = new MmTurns();
  /** Of this thread's own operations. */
  readonly mms: MmCache = new MmCache();
  readonly gate: FreezeGate;
  readonly allocator: FrameAllocator;
  readonly store: Store;
  readonly files: FileTable;
  readonly hostFiles: HostFiles = new HostFiles();
  /** Whether reads of untouched anonymous memory show a zero page (not mm_forbids_zeropage). */
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
    const view = new WeakRef(this); // the table outlives what it is a part of
    this.threads.onEnded = (id, seen) => {
      const machine = view.deref();
      if (machine !== undefined) threadGone(machine, id, seen);
    };
    this.thread = options.thread ?? this.#register();
    this.#life = this.thread === NO_THREAD ? 0 : this.threads.lifeOf(this.thread);
  }

  get life(): number {
    return this.#life;
  }

  /** The thread id was registered by another thread, for this one. */
  adopt(): void {
    this.threads.adopt(this.thread);
    this.#life = this.threads.lifeOf(this.thread);
  }

  /** An id until this thread ends. Waits for one where it may: operations give theirs back. */
  #register(): number {
    return this.mayBlock ? this.queue.takeBlocking(ATTACHED) : this.threads.register();
  }

  get handle(): MachineHandle {
    return this.#handle;
  }

  /** The machine was closed: drops every view of its memory, whoever still holds this object. */
  letGo(): void {
    const none = new SharedArrayBuffer(0);
    this.hostFiles.close();
    this.memory.letGo();
    this.pages.letGo();
    this.store.letGo();
    this.files.letGo();
    this.mms.letGo();
    this.mmWords = new Int32Array();
    this.hasLetGo = true;
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

  get device(): DeviceMemory {
    return {
      first: this.#control[CONTROL.DEVICE_FIRST]!,
      frames: this.#control[CONTROL.DEVICE_FRAMES]!,
    };
  }

  /** Names the machine among all: 64 random bits. */
  get id(): string {
    const low = this.#control[CONTROL.ID_LOW]! >>> 0;
    const high = this.#control[CONTROL.ID_HIGH]! >>> 0;
    return `${high.toString(16)}-${low.toString(16)}`;
  }

  /** Whether both are views of one machine: buffers that were posted are other objects each time. */
  isSameMachine({ id }: MachineParts): boolean {
    return this.id === id;
  }

  /** First frame of the huge zero page, made now if need be; 0 where there is no room for it. */
  hugeZeroPage(thread: number): Pfn {
    return hugeZeroPage(this.#control, CONTROL.HUGE_ZERO, this.allocator, this.pages, thread);
  }

  /** Slot of the mm that the next reclaim begins with; every call moves it on by one. */
  nextReclaimSlot(): number {
    return (Atomics.add(this.#control, CONTROL.RECLAIM_SLOT, 1) >>> 0) % this.maxAddressSpaces;
  }

  nextAnonVma(): number {
    return Atomics.add(this.#control, CONTROL.ANON_VMAS, 1) + 1;
  }

  /** True when the (dead) thread left a page-table lock behind. */
  holdsTableLock(thread: number): boolean {
    const words = this.pages.words;
    const { FLAGS, NEXT, WORDS } = PAGE_STRUCT;
    for (let at = 0; at < words.length; at += WORDS) {
      if ((words[at + FLAGS]! & PG.TABLE) !== 0 && words[at + NEXT] === thread + 1) return true;
    }
    return false;
  }

  /** Opens the page-table locks that a dead onlooker has left behind. */
  breakTableLocks(thread: number): void {
    const words = this.pages.words;
    const { FLAGS, NEXT, WORDS } = PAGE_STRUCT;
    for (let at = 0; at < words.length; at += WORDS) {
      if ((words[at + FLAGS]! & PG.TABLE) === 0) continue;
      Atomics.compareExchange(words, at + NEXT, thread + 1, 0);
    }
  }

  /** Ends this thread's part: its thread id and its host files are given back. */
  detach(): void {
    this.hostFiles.close();
    if (this.threads.lifeOf(this.thread) === this.life) this.threads.release(this.thread);
  }
}
