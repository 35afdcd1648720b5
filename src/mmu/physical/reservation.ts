/**
 * Reservations in the memory of a bank, after its frames. A wasm kernel works inside one memory,
 * so its output has to lie in the memory that holds the frames. The operating system commits a
 * reservation as it is touched. It lives as long as the machine and cannot be given back before.
 *
 * WebAssembly.Memory.grow is atomic, so the thread that grows a memory owns what was added. This
 * needs no lock, and there is nothing to repair when a thread dies.
 */
import { WASM_PAGE, type WasmMemory } from '../../shared/wasm.ts';

/**
 * Reserves `bytes` bytes, rounded up to wasm pages of 64 KiB. Returns the offset of the reservation
 * in the memory of the bank, in bytes, or -1 when the memory cannot grow so far.
 */
export function takeReservation(bank: WasmMemory, bytes: number): number {
  try {
    return bank.grow(Math.ceil(bytes / WASM_PAGE)) * WASM_PAGE;
  } catch {
    return -1; // beyond 4 GiB, or the system has no memory: the caller works without a reservation
  }
}
