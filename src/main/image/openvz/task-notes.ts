/** The ELF notes of an address space, made of the tasks of an OpenVZ 6 container file. */

import { NOTES_MAX_BYTES } from '../../../shared/formats/cpt/records.ts';
import { FPREGSET_BYTES } from '../../../shared/formats/elf/notes/fpregset.ts';
import { encodeNote, joinBytes, NOTE_TYPE } from '../../../shared/formats/elf/notes/note.ts';
import { emptyProcess, PRPSINFO } from '../../../shared/formats/elf/notes/prpsinfo.ts';
import { encodePrstatus, PRSTATUS_BYTES } from '../../../shared/formats/elf/notes/prstatus.ts';
import type { FoundTask, Unread } from './container.ts';

const NO_TIMES = { user: 0, system: 0, childrenUser: 0, childrenSystem: 0 };
const NO_SIGNAL = { signal: 0, signalCode: 0, signalErrno: 0, pending: 0n, blocked: 0n };
/** More than the notes of a thread take, with those of a process. */
const PER_TASK = PRSTATUS_BYTES + FPREGSET_BYTES + PRPSINFO.SIZE + 64;

/**
 * The notes of these tasks, padded to 8 bytes. The first one that has registers comes first, as
 * the one that a debugger shows. Null if the tasks tell neither registers nor a name.
 */
export function notesOf(tasks: readonly FoundTask[], unread: Unread): Uint8Array | null {
  const most = Math.floor(NOTES_MAX_BYTES / PER_TASK);
  for (const { registers } of tasks.slice(most)) {
    if (registers !== null) unread.add('registers of a task beyond the room for notes', PER_TASK);
  }
  const [first] = tasks;
  if (first === undefined) return null;
  const notes: Uint8Array[] = [];
  for (const task of tasks.slice(0, most)) {
    if (task.registers === null) continue;
    const { pid: tid, ppid, pgrp, session: sid, registers, fpu } = task;
    const status = { tid, ppid, pgrp, sid, ...NO_SIGNAL };
    const payload = encodePrstatus(ints(status), NO_TIMES, registers, fpu !== null);
    notes.push(encodeNote('CORE', NOTE_TYPE.PRSTATUS, payload));
    if (notes.length === 1) notes.push(processNote(first));
    if (fpu !== null) notes.push(encodeNote('CORE', NOTE_TYPE.FPREGSET, fpu));
  }
  if (notes.length === 0 && first.name === '') return null;
  if (notes.length === 0) notes.push(processNote(first));
  const bytes = joinBytes(notes);
  return joinBytes([bytes, new Uint8Array(-bytes.length & 7)]);
}

/** The ids are u32 in the file, and i32 in the note. */
function ints<T extends { readonly tid: number; readonly ppid: number }>(
  status: T & { readonly pgrp: number; readonly sid: number },
): T & { readonly pgrp: number; readonly sid: number } {
  const { tid, ppid, pgrp, sid } = status;
  return { ...status, tid: tid | 0, ppid: ppid | 0, pgrp: pgrp | 0, sid: sid | 0 };
}

function processNote({ tgid, ppid, pgrp, session, name }: FoundTask): Uint8Array {
  const note = emptyProcess(name);
  note.writeInt32LE(tgid | 0, PRPSINFO.PID);
  note.writeInt32LE(ppid | 0, PRPSINFO.PPID);
  note.writeInt32LE(pgrp | 0, PRPSINFO.PGRP);
  note.writeInt32LE(session | 0, PRPSINFO.SID);
  return encodeNote('CORE', NOTE_TYPE.PRPSINFO, note);
}
