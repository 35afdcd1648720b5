/** The shared memory of a machine, as it is posted from thread to thread. */
import type { WasmMemory } from './wasm.ts';

/**
 * Up to 2 GiB of a memory of the caller, whose frames a machine has adopted: one bank of its
 * physical memory (mmu/physical/adopted.ts).
 */
export interface AdoptedPart {
  /**
   * The memory. It is a SharedArrayBuffer if no kernel can work in it, and null if it is not shared:
   * only the thread that created the machine reaches it (mmu/physical/unshared.ts).
   */
  readonly memory: WasmMemory | SharedArrayBuffer | null;
  /** The byte of the memory at which the part begins: a multiple of 2 GiB. */
  readonly at: number;
  /** Number of frames. Every part is 2 GiB long, except the last part of a memory. */
  readonly pages: number;
  /** The owner's marks, one byte for each page of the whole memory: in its first part only. */
  readonly marks?: Uint8Array | undefined;
}

/** Everything that another thread needs to attach to a machine. It can be posted to a thread. */
export interface MachineHandle {
  /** What this is a handle of. */
  readonly kind: 'machine';
  /** @internal Frames of physical memory, up to 2 GiB in each bank. */
  readonly banks: readonly WasmMemory[];
  /**
   * Number of frames in `banks`. The memory of a bank may be longer than its frames, because reservations lie
   * behind them (mmu/physical/reservation.ts).
   *
   * @internal
   */
  readonly frames: number;
  /**
   * Memory of the caller, whose frames follow those of `banks` from the next full bank on. Empty if
   * there is none.
   *
   * @internal
   */
  readonly adopted: readonly AdoptedPart[];
  /**
   * Swap slots, in banks like those of physical memory. Empty if the machine has no swap.
   *
   * @internal
   */
  readonly swapBanks: readonly WasmMemory[];
  /** @internal Number of swap slots. */
  readonly slots: number;
  /** @internal For each swap slot, how many entries refer to it. */
  readonly swapMap: SharedArrayBuffer;
  /** @internal Page structs. */
  readonly pages: SharedArrayBuffer;
  /** @internal Thread table, freeze gate, allocators and other words of the whole machine. */
  readonly control: SharedArrayBuffer;
  /** @internal Slots of address spaces. */
  readonly mms: SharedArrayBuffer;
  /** @internal File records. */
  readonly files: SharedArrayBuffer;
  /** @internal Paths and contents of files, auxiliary vectors and notes. */
  readonly store: SharedArrayBuffer;
  /** @internal Whether locks and changes are checked against the lock order and the gate. */
  readonly checks: boolean;
}
