/** The shared memory of a machine, as it travels from thread to thread. */

/** A shared WebAssembly.Memory, as far as it matters here. */
export interface Bank {
  readonly buffer: SharedArrayBuffer;
}

/** Everything that another thread needs to attach to a machine; can be posted to it. */
export interface MachineHandle {
  readonly kind: 'machine';
  readonly banks: readonly Bank[];
  /** Swap slots, in banks like those of physical memory. Empty when the machine has no swap. */
  readonly swapBanks: readonly Bank[];
  readonly swapMap: SharedArrayBuffer;
  readonly pages: SharedArrayBuffer;
  readonly control: SharedArrayBuffer;
  readonly mms: SharedArrayBuffer;
  readonly files: SharedArrayBuffer;
  readonly store: SharedArrayBuffer;
  readonly checks: boolean;
}
