/**
 * The compiled kernels of src/workers/kernels, as they are posted to workers: either those of
 * frames.wat or those of xxh3.wat.mjs.
 */
import type { WasmModule } from './wasm.ts';

/** The two modules that the build makes of one source. */
export interface KernelModules {
  /** Works inside one memory, such as that of a bank: its frames and what lies behind them. */
  readonly inside: WasmModule;
  /** Works from frames to another memory. Undefined if Node supports one memory only (Node 20). */
  readonly between: WasmModule | undefined;
}
