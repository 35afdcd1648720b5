/** The shared memory of a machine, as it travels from thread to thread. */
import type { WasmMemory } from './wasm.ts';

/** Everything that another thread needs to attach to a machine; can be posted to it. */
export interface MachineHandle {
  readonly kind: 'machine';
  readonly banks: readonly WasmMemory[];
  /** Frames of physical memory: the memory of a bank may be longer (mmu/physical/room.ts). */
  readonly frames: number;
  /** Swap slots, in banks like those of physical memory. Empty when the machine has no swap. */
  readonly swapBanks: readonly WasmMemory[];
  /** Swap slots. */
  readonly slots: number;
  readonly swapMap: SharedArrayBuffer;
  readonly pages: SharedArrayBuffer;
  readonly control: SharedArrayBuffer;
  readonly mms: SharedArrayBuffer;
  readonly files: SharedArrayBuffer;
  readonly store: SharedArrayBuffer;
  readonly checks: boolean;
}
