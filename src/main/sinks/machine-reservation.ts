/**
 * Reservations for an image in the memory of a machine, behind its frames
 * (mmu/physical/reservation.ts). The kernels of a Node that knows only one memory per module reach
 * an image nowhere else. A reservation stays with its machine; when a sink releases it, the next
 * sink of this thread can take it.
 */
import type { Machine } from '../../mmu/machine/machine.ts';
import { takeReservation } from '../../mmu/physical/reservation.ts';
import type { ImageChunk } from '../../shared/dump/tasks/copy-target.ts';
import { MiB } from '../../shared/page.ts';
import type { WasmMemory } from '../../shared/wasm.ts';

/** A reservation: where it begins in the memory of the bank, and its length, both in bytes. */
interface Reservation {
  readonly at: number;
  readonly bytes: number;
}

/**
 * Lengths are rounded up to this, since one image of a machine differs a little in length from the
 * next. Memory that is never touched costs nothing.
 */
const STEP = 16 * MiB;

/** Reservations that sinks have released, for each bank. */
const free = new WeakMap<WasmMemory, Reservation[]>();

export class MachineReservation {
  readonly #memory: WasmMemory | undefined;
  #reservation: Reservation | undefined;

  /** A machine with several banks has no reservation, since an image has frames of all banks. */
  constructor({ handle }: Machine) {
    const isOneBank = handle.banks.length === 1 && handle.adopted.length === 0;
    this.#memory = isOneBank ? handle.banks[0] : undefined;
  }

  /**
   * Reserves `bytes` bytes, or keeps the earlier reservation if it is long enough. Returns
   * undefined if the memory of the machine cannot grow by as much, or has several banks.
   */
  reserve(bytes: number): ImageChunk | undefined {
    const memory = this.#memory;
    if (memory === undefined) return undefined;
    if (this.#reservation === undefined || this.#reservation.bytes < bytes) {
      this.release();
      this.#reservation = take(memory, Math.ceil(bytes / STEP) * STEP);
    }
    return this.#reservation && { buffer: memory.buffer, ...this.#reservation, memory };
  }

  /** Leaves the reservation to the next sink. */
  release(): void {
    const memory = this.#memory;
    if (memory === undefined || this.#reservation === undefined) return;
    free.set(memory, [...(free.get(memory) ?? []), this.#reservation]);
    this.#reservation = undefined;
  }
}

/**
 * Takes the smallest released reservation that is large enough. If there is none, it extends the
 * released one at the end of the memory, or else makes a new one.
 */
function take(memory: WasmMemory, bytes: number): Reservation | undefined {
  const reservations = (free.get(memory) ?? []).sort((a, b) => a.bytes - b.bytes);
  const fit = reservations.find((reservation) => reservation.bytes >= bytes);
  const end = memory.buffer.byteLength;
  const last = reservations.find((reservation) => reservation.at + reservation.bytes === end);
  const used = fit ?? last;
  if (used !== undefined) reservations.splice(reservations.indexOf(used), 1);
  if (fit !== undefined) return fit;
  const at = takeReservation(memory, last === undefined ? bytes : bytes - last.bytes);
  if (last !== undefined && at === end) return { at: last.at, bytes };
  // Another thread has grown the memory first, or it cannot grow any more.
  if (last !== undefined) reservations.push(last);
  if (at < 0) return undefined;
  if (last === undefined) return { at, bytes };
  reservations.push({ at, bytes: bytes - last.bytes });
  return undefined;
}
