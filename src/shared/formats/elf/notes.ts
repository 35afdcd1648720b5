/**
 * Notes of ELF core files: a list of entries, each with the name of its owner, a type and bytes.
 *
 *   u32 name length | u32 length | u32 type | name, NUL, padding | bytes, padding
 *
 * Everything is padded to a multiple of 4. Notes of unknown types are kept as they are.
 */
import { ImageProblem } from '../problem.ts';
import { viewOf } from './words.ts';

/** Values of the type of a note whose owner is CORE or, from X86_XSTATE on, LINUX. */
export const CORE_NOTE_TYPE = {
  PRSTATUS: 1, //           registers of a thread; the notes after it belong to the same thread
  FPREGSET: 2, //           its floating-point registers
  PRPSINFO: 3, //           the process: its name, arguments and ids
  AUXV: 6, //               the auxiliary vector
  X86_XSTATE: 0x202, //     its extended registers
  FILE: 0x4649_4c45, //     which mappings show which files
  SIGINFO: 0x5349_4749, //  the signal that ended the process
} as const;

/** Bytes of the three numbers before the name. */
const HEADER = 12;

/** A note, as it lies in the bytes of all notes. */
export interface Note {
  readonly owner: string;
  readonly type: number;
  /** The whole note, with its header and all padding: bytes [at, end). */
  readonly at: number;
  readonly end: number;
  /** Its bytes, without padding. */
  readonly payload: Uint8Array;
}

/**
 * Lists the notes in `bytes`, which lie at byte `position` of the file. Throws an ImageProblem if a
 * length leads beyond their end.
 */
export function listNotes(bytes: Uint8Array, position: number): Note[] {
  const view = viewOf(bytes);
  const notes: Note[] = [];
  for (let at = 0; at < bytes.length; ) {
    const left = bytes.length - at;
    if (left < HEADER) {
      if (isZero(bytes.subarray(at))) return notes; // padding behind the last note
      throw broken(position + at, `${left} bytes are left for a note, which has ${HEADER} or more`);
    }
    const nameBytes = view.getUint32(at, true);
    const length = view.getUint32(at + 4, true);
    const from = HEADER + padded(nameBytes);
    if (nameBytes > left || from > left || length > left - from) {
      const lengths = `a name of ${nameBytes} and ${length} bytes`;
      throw broken(position + at, `a note has ${lengths}, and ${left - HEADER} are left`);
    }
    const end = at + Math.min(left, from + padded(length)); // the last one may lack its padding
    notes.push({
      owner: text(bytes.subarray(at + HEADER, at + HEADER + nameBytes)),
      type: view.getUint32(at + 8, true),
      at,
      end,
      payload: bytes.subarray(at + from, at + from + length),
    });
    at = end;
  }
  return notes;
}

/** Encodes a note with everything around its payload. */
export function encodeNote(owner: string, type: number, payload: Uint8Array): Uint8Array {
  const from = HEADER + padded(owner.length + 1);
  const bytes = new Uint8Array(from + padded(payload.length));
  const view = viewOf(bytes);
  view.setUint32(0, owner.length + 1, true);
  view.setUint32(4, payload.length, true);
  view.setUint32(8, type, true);
  for (let at = 0; at < owner.length; at++) bytes[HEADER + at] = owner.charCodeAt(at);
  bytes.set(payload, from);
  return bytes;
}

/** The first note of a type that the kernel owns, if there is one. */
export function findNote(notes: readonly Note[], type: number): Note | undefined {
  return notes.find((note) => isCore(note) && note.type === type);
}

/** Whether the note belongs to what every core of Linux has. */
export function isCore({ owner }: Note): boolean {
  return owner === 'CORE';
}

/**
 * Notes that were padded to multiples of 8 (`align`), as others write them, or of 4. Throws as
 * `listNotes` does.
 */
export function normalNotes(bytes: Uint8Array, align: number, position: number): Uint8Array {
  if (align !== 8) return withPadding(bytes);
  const view = viewOf(bytes);
  const notes: Uint8Array[] = [];
  for (let at = 0; at + HEADER <= bytes.length; ) {
    const nameBytes = view.getUint32(at, true);
    const length = view.getUint32(at + 4, true);
    const from = roundUp(HEADER + nameBytes, 8);
    const left = bytes.length - at;
    if (from > left || length > left - from) {
      const lengths = `a name of ${nameBytes} and ${length} bytes`;
      throw broken(position + at, `a note has ${lengths}, and ${left - HEADER} are left`);
    }
    const owner = text(bytes.subarray(at + HEADER, at + HEADER + nameBytes));
    const payload = bytes.subarray(at + from, at + from + length);
    notes.push(encodeNote(owner, view.getUint32(at + 8, true), payload));
    at += roundUp(from + length, 8);
  }
  return joinBytes(notes);
}

/** The bytes, with the padding that the last note may lack. */
function withPadding(bytes: Uint8Array): Uint8Array {
  if (bytes.length % 4 === 0) return bytes;
  return joinBytes([bytes, new Uint8Array(padded(bytes.length) - bytes.length)]);
}

/** One after the other. */
export function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

function padded(bytes: number): number {
  return roundUp(bytes, 4);
}

function roundUp(bytes: number, unit: number): number {
  return Math.ceil(bytes / unit) * unit;
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

/** The name up to its NUL. Nobody compares names longer than this. */
function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return String.fromCharCode(...bytes.subarray(0, Math.min(64, end < 0 ? bytes.length : end)));
}

function broken(offset: number, message: string): ImageProblem {
  return new ImageProblem('IMAGE_CORRUPT', offset, message);
}
