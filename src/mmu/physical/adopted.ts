/**
 * Adopted memory: physical memory that is the caller's own, such as the guest RAM of an emulator.
 * Stores of the caller through views of its own and stores of a simulated mm change the same bytes.
 * Memory that is not shared can be adopted, too; only one thread reaches it (`unshared.ts`).
 *
 * The frames of it carry PG.ADOPTED. They have page structs as all frames do, but the allocator
 * does not own them, so they are never handed out, freed or zeroed. A leaf that `mapFrames` has
 * installed shows its frame until it is removed: the frame is not copied on write, not merged, not
 * swapped out, and no fork shares it (a child gets copies, as Linux does for pinned pages).
 */
import type { Check } from '../../shared/arguments/checks.ts';
import { isInstance, read } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import type { AdoptedPart } from '../../shared/machine-handle.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import { Instance, Memory, Module, type WasmMemory, type WasmModule } from '../../shared/wasm.ts';
import { AdoptedMarks } from './adopted-marks.ts';
import type { PageStructs } from './page-struct.ts';
import { BANK_FRAMES } from './physical-memory.ts';
import { isUnshared, type UnsharedMemory } from './unshared.ts';

/**
 * Memory that a machine can adopt: a WebAssembly.Memory or an ArrayBuffer, shared or not. Every
 * thread reaches shared memory; other memory is reached by the thread that creates the machine.
 */
export type AdoptableMemory =
  | SharedArrayBuffer
  | ArrayBuffer
  | {
      /** The buffer of the WebAssembly.Memory. */
      readonly buffer: ArrayBufferLike;
    };

/** Memory that a machine can adopt, with marks of the pages that its owner writes. */
export interface MarkedMemory {
  /** The memory. */
  readonly memory: AdoptableMemory;
  /**
   * One byte per page of the memory, over a SharedArrayBuffer. The owner stores a page first and
   * then any value but 0 in its byte. `mm.dirty.take()` lists the page, and stores 0.
   */
  readonly dirty: Uint8Array;
}

/** An element of `banks` that ADOPTABLE has checked. */
export interface CheckedMemory {
  readonly memory: WasmMemory | SharedArrayBuffer | UnsharedMemory;
  readonly marks: Uint8Array | undefined;
}

const EXPECTED = 'a WebAssembly.Memory, an ArrayBuffer or a SharedArrayBuffer';

const MARKED: Shape<MarkedMemory> = {
  memory: (_what, value) => value as AdoptableMemory, // `memoryOf` checks it
  dirty: (what, value) => {
    const isMarks = isInstance(value, Uint8Array) && isInstance(value.buffer, SharedArrayBuffer);
    if (!isMarks) throw refusal(what, value, 'a Uint8Array over a SharedArrayBuffer');
    return value;
  },
};

/** Checks one element of `banks`. Throws OPTION_INVALID. */
export const ADOPTABLE: Check<CheckedMemory> = (what, value) => {
  const isMarked =
    typeof value === 'object' && value !== null && read(value, 'memory') !== undefined;
  if (!isMarked) return { memory: memoryOf(what, value), marks: undefined };
  const { memory: given, dirty: marks } = optionsOf(what, value as MarkedMemory, MARKED);
  const memory = memoryOf(`${what}.memory`, given);
  const pages = bytesOfMemory(memory) / PAGE_SIZE;
  if (marks.length !== pages) {
    throw refusal(`${what}.dirty: bytes`, marks.length, `${pages}: one for each page`);
  }
  return { memory, marks };
};

function bytesOfMemory(memory: CheckedMemory['memory']): number {
  return 'buffer' in memory ? memory.buffer.byteLength : memory.byteLength;
}

function memoryOf(what: string, value: unknown): CheckedMemory['memory'] {
  const isMemory = isInstance(value, Memory);
  const buffer: unknown = isMemory ? value.buffer : value;
  const isShared = isInstance(buffer, SharedArrayBuffer);
  if (!isShared && !isInstance(buffer, ArrayBuffer)) throw refusal(what, value, EXPECTED);
  const { byteLength } = buffer;
  if (byteLength === 0 || byteLength % PAGE_SIZE !== 0) {
    throw refusal(`${what}: bytes`, byteLength, `a multiple of ${PAGE_SIZE}, and not 0`);
  }
  if (!isShared) return (isMemory ? value : buffer) as UnsharedMemory;
  return isMemory && isReachable(value) ? value : buffer;
}

/** The parts of adopted memories as they are posted, and the memories that cannot be posted. */
export interface AdoptedParts {
  readonly parts: AdoptedPart[];
  /** For each part its memory if it is not shared, or null. */
  readonly unshared: (UnsharedMemory | null)[];
}

/** Splits the memories into parts of at most 2 GiB, each of which is one bank. */
export function adoptedParts(memories: readonly CheckedMemory[]): AdoptedParts {
  const parts: AdoptedPart[] = [];
  const unshared: (UnsharedMemory | null)[] = [];
  for (const { memory, marks } of memories) {
    const all = bytesOfMemory(memory) / PAGE_SIZE;
    const isShared = !isUnshared(memory);
    for (let first = 0; first < all; first += BANK_FRAMES) {
      const pages = Math.min(all - first, BANK_FRAMES);
      const isMarked = first === 0 && marks !== undefined;
      const at = first * PAGE_SIZE;
      parts.push({ memory: isShared ? memory : null, at, pages, ...(isMarked ? { marks } : {}) });
      unshared.push(isShared ? null : memory);
    }
  }
  return { parts, unshared };
}

/** A memory of the caller as a machine sees it. */
export interface AdoptedBank {
  /** Number of the first frame. The frames of the bank follow each other. */
  readonly pfn: number;
  /** Number of frames. */
  readonly pages: number;
}

/** The banks that `createMachine` was given, in their order. `own`: banks of the machine itself. */
export function adoptedBanks(own: number, parts: readonly AdoptedPart[]): AdoptedBank[] {
  const banks: AdoptedBank[] = [];
  for (const [index, { at, pages }] of parts.entries()) {
    const bank = at === 0 ? undefined : banks.pop();
    const pfn = bank?.pfn ?? (own + index) * BANK_FRAMES;
    banks.push({ pfn, pages: (bank?.pages ?? 0) + pages });
  }
  return banks;
}

/** The marks of the banks, or undefined if the machine has adopted no memory. */
export function adoptedMarks(
  own: number,
  parts: readonly AdoptedPart[],
  pages: PageStructs,
): AdoptedMarks | undefined {
  if (parts.length === 0) return undefined;
  const firsts = parts.filter(({ at }) => at === 0);
  const banks = adoptedBanks(own, parts);
  const marked = banks.map((bank, index) => ({ ...bank, marks: firsts[index]!.marks }));
  return new AdoptedMarks(marked, pages);
}

let probe: WasmModule | undefined;

/**
 * Whether the kernels, whose addresses have 32 bits, can work in the memory. A memory with
 * addresses of 64 bits is used as a plain SharedArrayBuffer.
 */
function isReachable(memory: WasmMemory): boolean {
  probe ??= new Module(PROBE);
  try {
    new Instance(probe, { mmdump: { frames: memory } });
    return true;
  } catch {
    return false; // a LinkError
  }
}

/**
 * The smallest module that imports a memory as the kernels do:
 * (module (import "mmdump" "frames" (memory 0 65536 shared)))
 */
const PROBE = new Uint8Array([
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00], // magic number, version
  ...[0x02, 0x15, 0x01], //                                import section, its bytes, one import
  ...[0x06, ...Buffer.from('mmdump'), 0x06, ...Buffer.from('frames')],
  ...[0x02, 0x03, 0x00, 0x80, 0x80, 0x04], //              a memory, shared, 0 to 65536 pages
]);
