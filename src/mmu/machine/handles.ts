/**
 * Checks of the handles that `attach` is given. A handle is a plain object, and can be incomplete
 * or damaged. A handle whose buffers are shorter than the thread would read is refused before the
 * thread attaches.
 */
import {
  type Check,
  flag,
  instanceOf,
  isInstance,
  list,
  oneOf,
  optional,
  wholeNumber,
} from '../../shared/arguments/checks.ts';
import { optionsOf, record, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import type { AdoptedPart, MachineHandle } from '../../shared/machine-handle.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import { Memory, type WasmMemory } from '../../shared/wasm.ts';
import { FILES_MAX, fileTableWords } from '../files/file-table.ts';
import { CONTROL_WORDS } from '../mm/control-block.ts';
import { MAX_ADDRESS_SPACES, MAX_MEMORY } from '../mm/create-machine.ts';
import { MM_WORDS } from '../mm/mm-struct.ts';
import { PAGE_STRUCT } from '../physical/page-struct.ts';
import { BANK_FRAMES, bytesOfBank, frameLimit } from '../physical/physical-memory.ts';
import { SWAP_SLOTS_MAX, swapMapBytes } from '../swap/swap-area.ts';

/** A handle of an address space. Post it to another thread, which passes it to `attach`. */
export interface MmHandle {
  /** Tells this handle from the handle of a machine. */
  readonly kind: 'mm';
  /** The machine of the address space. */
  readonly machine: MachineHandle;
  /** The slot of the address space, an index from 0. */
  readonly slot: number;
  /** The life of the slot. Slots are used again, so it tells earlier address spaces apart. */
  readonly generation: number;
}

const BUFFER = instanceOf(SharedArrayBuffer, 'a SharedArrayBuffer');
const BANKS: Check<WasmMemory[]> = list(instanceOf(Memory, 'a WebAssembly.Memory'));

const ADOPTED: Shape<AdoptedPart> = {
  memory: (what, value) => {
    return value === null || isInstance(value, Memory) ? value : BUFFER(what, value);
  },
  at: wholeNumber(0),
  pages: wholeNumber(1, BANK_FRAMES),
  marks: optional(instanceOf(Uint8Array, 'a Uint8Array')),
};

const MACHINE_HANDLE: Shape<MachineHandle> = {
  kind: oneOf(['machine']),
  banks: BANKS,
  frames: wholeNumber(1, MAX_MEMORY / PAGE_SIZE),
  adopted: list(record(ADOPTED)),
  swapBanks: BANKS,
  slots: wholeNumber(0, SWAP_SLOTS_MAX),
  swapMap: BUFFER,
  pages: BUFFER,
  control: BUFFER,
  mms: BUFFER,
  files: BUFFER,
  store: BUFFER,
  checks: flag,
};

const MM_HANDLE: Shape<MmHandle> = {
  kind: oneOf(['mm']),
  machine: machineHandle,
  slot: wholeNumber(0, MAX_ADDRESS_SPACES - 1),
  generation: wholeNumber(0),
};

/** Checks a MachineHandle. Throws OPTION_INVALID for any other value. */
export function machineHandle(what: string, value: unknown): MachineHandle {
  const handle = optionsOf(what, value, MACHINE_HANDLE);
  assertBanks(`${what}.banks`, handle.banks, handle.frames);
  assertParts(`${what}.adopted`, handle.adopted);
  assertBanks(`${what}.swapBanks`, handle.swapBanks, handle.slots);
  assertBytes(`${what}.swapMap`, handle.swapMap, swapMapBytes(handle.slots));
  assertBytes(`${what}.pages`, handle.pages, frameLimit(handle) * PAGE_STRUCT.WORDS * 4);
  assertBytes(`${what}.control`, handle.control, CONTROL_WORDS * 4);
  assertBytes(`${what}.files`, handle.files, fileTableWords(FILES_MAX) * 4);
  if (handle.store.byteLength < PAGE_SIZE) {
    throw refusal(`${what}.store`, handle.store.byteLength, `at least ${PAGE_SIZE} bytes`);
  }
  const slots = handle.mms.byteLength / (MM_WORDS * 4);
  wholeNumber(1, MAX_ADDRESS_SPACES)(`${what}.mms: number of slots`, slots);
  return handle;
}

/** Checks an MmHandle. Throws OPTION_INVALID for any other value. */
export function mmHandle(what: string, value: unknown): MmHandle {
  const handle = optionsOf(what, value, MM_HANDLE);
  const slots = handle.machine.mms.byteLength / (MM_WORDS * 4);
  wholeNumber(0, slots - 1)(`${what}.slot`, handle.slot);
  return handle;
}

/** Checks that the banks have the bytes of `pages` frames or swap slots. */
function assertBanks(what: string, banks: readonly WasmMemory[], pages: number): void {
  const isWhole =
    banks.length === Math.ceil(pages / BANK_FRAMES) &&
    banks.every(({ buffer }, bank) => buffer.byteLength >= bytesOfBank(pages, bank));
  if (!isWhole) throw refusal(what, banks, `memories for ${pages} pages`);
}

/** Checks that the memories have the bytes of their parts, and that only last parts are short. */
function assertParts(what: string, parts: readonly AdoptedPart[]): void {
  for (const [index, { memory, at, pages }] of parts.entries()) {
    const bytes = memory === null ? Number.POSITIVE_INFINITY : bytesOf(memory);
    const before = at === 0 ? 0 : (parts[index - 1]?.at ?? -1) + BANK_FRAMES * PAGE_SIZE;
    const isWhole = at === before && at + pages * PAGE_SIZE <= bytes;
    if (!isWhole) throw refusal(`${what}[${index}]`, memory, `a memory with ${pages} more pages`);
  }
}

function bytesOf(memory: WasmMemory | SharedArrayBuffer): number {
  return 'buffer' in memory ? memory.buffer.byteLength : memory.byteLength;
}

function assertBytes(what: string, { byteLength }: SharedArrayBuffer, expected: number): void {
  if (byteLength !== expected) throw refusal(what, byteLength, `${expected} bytes`);
}
