/**
 * Memory of a worker thread where pages are gathered before they go where they belong. It is kept
 * from dump to dump: memory that was touched before is several times quicker.
 *
 * Inside the memory of a bank, if there is room, so that kernels can fill it; a thread takes its room
 * once per machine, and remembers it until it is told that the machine has ended: room that was
 * forgotten before would be lost to the machine.
 */
import type { MachineParts } from '../../mmu/machine-parts.ts';
import { takeRoom } from '../../mmu/physical/room.ts';
import { ImageWindow } from './image-window.ts';

interface Room {
  readonly at: number;
  readonly bytes: number;
}

/** By machine, then by bank and purpose. Of this thread alone. */
const rooms = new Map<string, Map<string, Room>>();
let ordinary: SharedArrayBuffer | undefined;

/** Room for `bytes` in a bank, or undefined. `purpose` keeps apart what is needed at one time. */
export function roomInBank(
  machine: MachineParts,
  bank: number,
  purpose: 'short runs' | 'segment',
  bytes: number,
): ImageWindow | undefined {
  const memory = machine.memory.memories[bank]!;
  const { id } = machine;
  const ofMachine = rooms.get(id) ?? new Map<string, Room>();
  rooms.set(id, ofMachine);
  const key = `${bank} ${purpose}`;
  let room = ofMachine.get(key);
  if (room === undefined || room.bytes < bytes) {
    const at = takeRoom(memory, bytes);
    if (at < 0) return undefined;
    room = { at, bytes };
    ofMachine.set(key, room);
  }
  return new ImageWindow(memory.buffer, room.at, bytes, memory);
}

/** The machine has ended. */
export function forgetRooms(machine: string): void {
  rooms.delete(machine);
}

/** Memory outside of any machine. */
export function ordinaryStaging(bytes: number): ImageWindow {
  if (ordinary === undefined || ordinary.byteLength < bytes)
    ordinary = new SharedArrayBuffer(bytes);
  return new ImageWindow(ordinary, 0, bytes, undefined);
}
