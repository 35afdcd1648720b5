/**
 * Room for an image in the memory of a machine, beyond its frames (mmu/physical/room.ts): there the
 * kernels of a Node that knows one memory only reach it. Room never leaves its machine; what one sink
 * lets go, the next one of this thread takes.
 */
import type { Machine } from '../../mmu/machine/machine.ts';
import { takeRoom } from '../../mmu/physical/room.ts';
import type { ImageChunk } from '../../shared/dump/tasks.ts';
import { MiB } from '../../shared/page.ts';
import type { WasmMemory } from '../../shared/wasm.ts';

interface Room {
  readonly at: number;
  readonly bytes: number;
}

/** Images of a machine differ a little from one to the next. Untouched room costs nothing. */
const STEP = 16 * MiB;

/** Rooms that were let go, by bank. */
const free = new WeakMap<WasmMemory, Room[]>();

export class MachineRoom {
  readonly #memory: WasmMemory | undefined;
  #room: Room | undefined;

  /** Of a machine with several banks there is none: an image takes frames of all. */
  constructor({ handle }: Machine) {
    this.#memory = handle.banks.length === 1 ? handle.banks[0] : undefined;
  }

  /** Room for `bytes`, the same as before if that is enough; undefined where there is none. */
  reserve(bytes: number): ImageChunk | undefined {
    const memory = this.#memory;
    if (memory === undefined) return undefined;
    if (this.#room === undefined || this.#room.bytes < bytes) {
      this.release();
      this.#room = take(memory, Math.ceil(bytes / STEP) * STEP);
    }
    return this.#room && { buffer: memory.buffer, ...this.#room, memory };
  }

  release(): void {
    const memory = this.#memory;
    if (memory === undefined || this.#room === undefined) return;
    free.set(memory, [...(free.get(memory) ?? []), this.#room]);
    this.#room = undefined;
  }
}

/** The smallest room that was let go and is large enough, or the last one made longer, or a new one. */
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
  if (last !== undefined) rooms.push(last); // another thread was quicker, or there is no more
  if (at < 0) return undefined;
  if (last === undefined) return { at, bytes };
  rooms.push({ at, bytes: bytes - last.bytes });
  return undefined;
}
