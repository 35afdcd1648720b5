/** The shared memory of a machine, as it travels from thread to thread. */
import type { WasmMemory } from './wasm.ts';

/** Everything that another thread needs to attach to a machine; can be posted to it. */
export interface MachineHandle {
  /** What it is a handle of. */
  readonly kind: 'machine';
  /** @internal */
  readonly banks: readonly WasmMemory[];
  /**
   * Frames of physical memory: the memory of a bank may be longer (mmu/physical/room.ts).
   *
   * @internal
   */
  readonly frames: number;
  /**
   * Swap slots, in banks like those of physical memory. Empty when the machine has no swap.
   *
   * @internal
   */
  readonly swapBanks: readonly WasmMemory[];
  /** @internal Swap slots. */
  readonly slots: number;
  /** @internal */
  readonly swapMap: SharedArrayBuffer;
  /** @internal */
  readonly pages: SharedArrayBuffer;
  /** @internal */
  readonly control: SharedArrayBuffer;
  /** @internal */
  readonly mms: SharedArrayBuffer;
  /** @internal */
  readonly files: SharedArrayBuffer;
  /** @internal */
  readonly store: SharedArrayBuffer;
  /** @internal */
  readonly checks: boolean;
}
