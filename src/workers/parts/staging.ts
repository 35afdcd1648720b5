/**
 * Memory of a worker thread where pages are gathered before they go where they belong. It is kept
 * from dump to dump: memory that was touched before is several times quicker.
 *
 * Inside the memory of a bank, if there is room, so that kernels can fill it; a thread takes its room
 * once per machine.
 */
import type { MachineParts } from '../../mmu/machine-parts.ts';
import { takeRoom } from '../../mmu/physical/room.ts';
import { ImageWindow } from './image-window.ts';

interface Room {
  readonly at: number;
  readonly bytes: number;
}

/** What a thread of a long life keeps of machines that may be gone. */
const ROOMS_MAX = 64;

/** By machine, bank and purpose. Of this thread alone. */
const rooms = new Map<string, Room>();
let ordinary: SharedArrayBuffer | undefined;

/** Room for `bytes` in a bank, or undefined. `purpose` keeps apart what is needed at one time. */
export function roomInBank(
  machine: MachineParts,
  bank: number,
  purpose: 'short runs' | 'segment',
  bytes: number,
): ImageWindow | undefined {
  const memory = machine.memory.memories[bank]!;
  const key = `${machine.id} ${bank} ${purpose}`;
  let room = rooms.get(key);
  if (room === undefined || room.bytes < bytes) {
    const at = takeRoom(memory, bytes);
    if (at < 0) return undefined;
    room = { at, bytes };
    rooms.delete(key);
    rooms.set(key, room);
    const oldest = rooms.keys().next().value;
    if (rooms.size > ROOMS_MAX && oldest !== undefined) rooms.delete(oldest);
  }
  return new ImageWindow(memory.buffer, room.at, bytes, memory);
}

/** Memory outside of any machine. */
export function ordinaryStaging(bytes: number): ImageWindow {
  if (ordinary === undefined || ordinary.byteLength < bytes)
    ordinary = new SharedArrayBuffer(bytes);
  return new ImageWindow(ordinary, 0, bytes, undefined);
}
