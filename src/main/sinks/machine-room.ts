/**
 * Reservations for an image in the memory of a machine, behind its frames (mmu/physical/room.ts).
 * The kernels of a Node that knows only one memory per module reach an image nowhere else. A
 * reservation stays with its machine; when a sink releases it, the next sink of this thread can
 * take it.
 */
import type { Machine } from '../../mmu/machine/machine.ts';
import { takeRoom } from '../../mmu/physical/room.ts';
import type { ImageChunk } from '../../shared/dump/tasks.ts';
import { MiB } from '../../shared/page.ts';
import type { WasmMemory } from '../../shared/wasm.ts';

/** A reservation: where it begins in the memory of the bank, and its length, both in bytes. */
interface Room {
  readonly at: number;
  readonly bytes: number;
}

/**
 * Lengths are rounded up to this, since one image of a machine differs a little in length from the
 * next. Memory that is never touched costs nothing.
 */
const STEP = 16 * MiB;

/** Reservations that sinks have released, for each bank. */
const free = new WeakMap<WasmMemory, Room[]>();

export class MachineRoom {
  readonly #memory: WasmMemory | undefined;
  #room: Room | undefined;

  /** A machine with several banks has no reservation, since an image has frames of all banks. */
  constructor({ handle }: Machine) {
    this.#memory = handle.banks.length === 1 ? handle.banks[0] : undefined;
  }

  /**
   * Reserves `bytes` bytes, or keeps the earlier reservation if it is long enough. Returns
   * undefined if the memory of the machine cannot grow by as much, or has several banks.
   */
  reserve(bytes: number): ImageChunk | undefined {
    const memory = this.#memory;
    if (memory === undefined) return undefined;
    if (this.#room === undefined || this.#room.bytes < bytes) {
      this.release();
      this.#room = take(memory, Math.ceil(bytes / STEP) * STEP);
    }
    return this.#room && { buffer: memory.buffer, ...this.#room, memory };
  }

  /** Leaves the reservation to the next sink. */
  release(): void {
    const memory = this.#memory;
    if (memory === undefined || this.#room === undefined) return;
    free.set(memory, [...(free.get(memory) ?? []), this.#room]);
    this.#room = undefined;
  }
}

/**
 * Takes the smallest released reservation that is large enough. If there is none, it extends the
 * released one at the end of the memory, or else makes a new one.
 */
function take(memory: WasmMemory, bytes: number): Room | undefined {
  const rooms = (free.get(memory) ?? []).sort((a, b) => a.bytes - b.bytes);
  const fit = rooms.find((room) => room.bytes >= bytes);
  const end = memory.buffer.byteLength;
  const last = rooms.find((room) => room.at + room.bytes === end);
  const used = fit ?? last;
  if (used !== undefined) rooms.splice(rooms.indexOf(used), 1);
  if (fit !== undefined) return fit;
  const at = takeRoom(memory, last === undefined ? bytes : bytes - last.bytes);
  if (last !== undefined && at === end) return { at: last.at, bytes };
  // Another thread has grown the memory first, or it cannot grow any more.
  if (last !== undefined) rooms.push(last);
  if (at < 0) return undefined;
  if (last === undefined) return { at, bytes };
  rooms.push({ at, bytes: bytes - last.bytes });
  return undefined;
}
