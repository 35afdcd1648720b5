/**
 * An ELF note segment, as core files of x86-64 Linux have it: a list of notes, each with an owner, a
 * type and a payload (`struct elf64_note`, elf(5)).
 */

/** Numbers of the note types of a process and its threads. */
export const NOTE_TYPE = {
  PRSTATUS: 1,
  FPREGSET: 2,
  PRPSINFO: 3,
  X86_XSTATE: 0x202,
  SIGINFO: 0x5349_4749,
} as const;

/** The owner of the notes that every system has, and of those that only Linux has. */
export type NoteOwner = 'CORE' | 'LINUX';

/** One note of a segment. */
export interface Note {
  readonly owner: string;
  readonly type: number;
  readonly payload: Buffer;
}

/** Fields of the header of a note. The owner, with its NUL, and the payload follow it. */
const NOTE = {
  OWNER_BYTES: 0, //   u32
  PAYLOAD_BYTES: 4, // u32
  TYPE: 8, //          u32
  SIZE: 12,
} as const;

/** Owner and payload are padded to whole words. */
function padded(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

/** The bytes that a note takes. */
export function noteBytes(owner: string, payloadBytes: number): number {
  return NOTE.SIZE + padded(owner.length + 1) + padded(payloadBytes);
}

export function encodeNote(owner: NoteOwner, type: number, payload: Uint8Array): Buffer {
  const note = Buffer.alloc(noteBytes(owner, payload.length));
  note.writeUInt32LE(owner.length + 1, NOTE.OWNER_BYTES);
  note.writeUInt32LE(payload.length, NOTE.PAYLOAD_BYTES);
  note.writeUInt32LE(type, NOTE.TYPE);
  note.write(owner, NOTE.SIZE, 'latin1');
  note.set(payload, NOTE.SIZE + padded(owner.length + 1));
  return note;
}

/**
 * The notes of a segment. What follows a note that is damaged cannot be told apart, and padding has
 * no type: the list ends there.
 */
export function decodeNotes(bytes: Uint8Array): Note[] {
  const segment = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const notes: Note[] = [];
  for (let at = 0; at + NOTE.SIZE <= segment.length; ) {
    const ownerBytes = segment.readUInt32LE(at + NOTE.OWNER_BYTES);
    const payloadBytes = segment.readUInt32LE(at + NOTE.PAYLOAD_BYTES);
    const type = segment.readUInt32LE(at + NOTE.TYPE);
    const start = at + NOTE.SIZE + padded(ownerBytes);
    const end = start + payloadBytes;
    if (ownerBytes === 0 || end > segment.length) break;
    const owner = segment.toString('latin1', at + NOTE.SIZE, at + NOTE.SIZE + ownerBytes);
    notes.push({
      owner: owner.slice(0, owner.indexOf('\0') >>> 0),
      type,
      payload: segment.subarray(start, end),
    });
    at = start + padded(payloadBytes);
  }
  return notes;
}
