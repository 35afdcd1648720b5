/**
 * Room in the memory of a bank, beyond its frames. A wasm kernel works inside one memory, so what it
 * is to fill has to lie in the memory of the frames. Room is committed by the system as it is touched,
 * and goes when the machine goes: it cannot be given back before.
 *
 * Growing a memory is atomic, so whoever grows it owns what was added; no lock, and nothing to repair
 * when a thread dies.
 */
import { WASM_PAGE, type WasmMemory } from '../../shared/wasm.ts';

/** Adds room for `bytes`; returns its first byte in the memory, or -1 if there is none left. */
export function takeRoom(bank: WasmMemory, bytes: number): number {
  try {
    return bank.grow(Math.ceil(bytes / WASM_PAGE)) * WASM_PAGE;
  } catch {
    return -1; // beyond 4 GiB, or the system has no memory: it goes without
  }
}
