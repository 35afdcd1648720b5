/**
 * The compiled kernels of src/workers/kernels, as they travel to the workers: those of frames.wat or
 * those of xxh3.wat.mjs.
 */
import type { WasmModule } from './wasm.ts';

export interface KernelModules {
  /** All that they reach lies in one memory: frames of a bank, and other places of it. */
  readonly inside: WasmModule;
  /** From frames to another memory; undefined where Node knows one memory only (20). */
  readonly between: WasmModule | undefined;
}
