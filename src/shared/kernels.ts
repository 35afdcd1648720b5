/** The compiled kernels of src/workers/kernels, as they travel to the workers. */
import type { WasmModule } from './wasm.ts';

export interface KernelModules {
  /** Frames of a bank to another place of the same memory. */
  readonly inside: WasmModule;
  /** From one memory to another; undefined where Node knows one memory only (20). */
  readonly between: WasmModule | undefined;
}
