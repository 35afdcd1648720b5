/** Makes the shared memory of a machine (`machine-parts.ts` draws it), and initialises it. */
import { randomInt } from 'node:crypto';
import { type Check, flag, list, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { MmdumpError, reasonOf } from '../../shared/errors.ts';
import type { MachineHandle } from '../../shared/machine-handle.ts';
import { GiB, MiB, PAGE_SIZE } from '../../shared/page.ts';
import { NO_THREAD } from '../../shared/sync/thread-layout.ts';
import { FILES_MAX, fileTableWords } from '../files/file-table.ts';
import {
  ADOPTABLE,
  type AdoptableMemory,
  adoptedParts,
  type CheckedMemory,
  type MarkedMemory,
} from '../physical/adopted.ts';
import { FIRST_FREE_PFN, PAGE_STRUCT, PG, ZERO_PAGE_PFN } from '../physical/page-struct.ts';
import {
  adviseHugeBanks,
  BANK_FRAMES,
  createBanks,
  frameLimit,
} from '../physical/physical-memory.ts';
import { keepUnshared } from '../physical/unshared.ts';
import { SWAP_SLOTS_MAX, swapMapBytes } from '../swap/swap-area.ts';
import { CONTROL, CONTROL_WORDS } from './control-block.ts';
import { MachineParts } from './machine-parts.ts';
import { MM_WORDS } from './mm-struct.ts';

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
   * Memory of the caller that becomes physical memory of the machine, such as the guest RAM of an
   * emulator: each a WebAssembly.Memory, an ArrayBuffer or a SharedArrayBuffer, of whole pages.
   * `mapFrames` maps it, and only that. It stays the caller's: the machine never hands it out, and
   * closing the machine leaves it as it is. If it is not shared, only the calling thread reaches it.
   * A MarkedMemory brings marks of the pages that the caller writes. Default: none.
   */
  readonly banks?: readonly (AdoptableMemory | MarkedMemory)[] | undefined;
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
   * inside the freeze gate and under its lock. Default false.
   */
  readonly checks?: boolean | undefined;
}

const MEMORY_UNIT = 0x10000; // bytes of a wasm page
/** The most bytes of physical memory that a machine can have. */
export const MAX_MEMORY: number = 256 * GiB;
/** The largest value of `maxAddressSpaces`. */
export const MAX_ADDRESS_SPACES = 1024;

const MACHINE_OPTIONS: Shape<MachineOptions> = {
  memory: wholeNumber(MiB, MAX_MEMORY),
  deviceMemory: optional(wholeNumber(0, MAX_MEMORY / 2)),
  banks: optional(list(ADOPTABLE)) as unknown as Check<MachineOptions['banks']>,
  swap: optional(wholeNumber(0, SWAP_SLOTS_MAX * PAGE_SIZE)),
  store: optional(wholeNumber(PAGE_SIZE, 4 * GiB)),
  maxAddressSpaces: optional(wholeNumber(1, MAX_ADDRESS_SPACES)),
  zeroPage: optional(flag),
  checks: optional(flag),
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
  // ADOPTABLE has replaced the elements.
  const banks = (checked.banks ?? []) as unknown as CheckedMemory[];
  const { parts: adopted, unshared } = adoptedParts(banks);
  assertRoom(frames, adopted.length);
  const own = { banks: createBanks(frames), frames, adopted };
  const handle: MachineHandle = {
    kind: 'machine',
    ...own,
    swapBanks: createBanks(slots),
    slots,
    swapMap: shared('swap map', swapMapBytes(slots)),
    pages: shared('page structs', frameLimit(own) * PAGE_STRUCT.WORDS * 4),
    control: shared('control block', CONTROL_WORDS * 4),
    mms: shared('address spaces', maxAddressSpaces * MM_WORDS * 4),
    files: shared('file table', fileTableWords(FILES_MAX) * 4),
    store: shared('store', store),
    checks,
  };
  if (unshared.some((memory) => memory !== null)) keepUnshared(handle.control, unshared);
  const deviceFrames = Math.ceil(deviceMemory / PAGE_SIZE);
  adviseHugeBanks(handle.banks, frames - deviceFrames); // device memory may be touched anywhere
  adviseHugeBanks(handle.swapBanks, slots);
  initialise(handle, deviceFrames, checked.zeroPage ?? true);
  return handle;
}

/** Throws OPTION_INVALID if the machine's own banks and the adopted ones are too many. */
function assertRoom(frames: number, adopted: number): void {
  const room = MAX_MEMORY / (BANK_FRAMES * PAGE_SIZE) - Math.ceil(frames / BANK_FRAMES);
  if (adopted <= room) return;
  throw refusal(
    'banks: parts of 2 GiB',
    adopted,
    `at most ${room} beside the machine's own memory`,
  );
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
  for (const { pfn, pages } of machine.adopted) {
    for (let at = pfn; at < pfn + pages; at++) machine.pages.setFlags(at, PG.ADOPTED);
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
