/** The TASK objects of an OpenVZ file: the threads that the notes of an mm tell of. */
import type { ProcessInNotes } from '../../../shared/formats/elf/notes/decode-process.ts';
import { FPREGSET_BYTES } from '../../../shared/formats/elf/notes/fpregset.ts';
import { NOTE_TYPE, readableNotes } from '../../../shared/formats/elf/notes/note.ts';
import { PRSTATUS_BYTES } from '../../../shared/formats/elf/notes/prstatus.ts';
import {
  CONTENT,
  encodeBits,
  encodeRegisters,
  encodeTask,
  FPU_BYTES,
  REFERENCE,
} from '../../../shared/formats/openvz/records.ts';
import { node, refer, type TreeNode } from './object-tree.ts';

/** What all tasks refer to. */
export interface TaskParts {
  readonly mm: TreeNode;
  readonly files: TreeNode;
  readonly fs: TreeNode;
  readonly handlers: TreeNode;
  readonly namespace: TreeNode;
}

/** Control and status words of an FPU that nobody has used. */
function freshFpu(): Uint8Array {
  const state = new Uint8Array(FPU_BYTES);
  state.set([0x7f, 0x03]);
  state.set([0x80, 0x1f], 24);
  return state;
}

/** FXSAVE areas of the threads, in the order of their NT_PRSTATUS. */
function fpuStates(notes: Uint8Array): Uint8Array[] {
  const states: Uint8Array[] = [];
  for (const { owner, type, payload } of readableNotes(notes)) {
    if (owner !== 'CORE') continue;
    if (type === NOTE_TYPE.PRSTATUS && payload.length === PRSTATUS_BYTES) states.push(freshFpu());
    else if (
      type === NOTE_TYPE.FPREGSET &&
      payload.length === FPREGSET_BYTES &&
      states.length > 0
    ) {
      states[states.length - 1] = payload;
    }
  }
  return states;
}

/** One task per thread, or one without registers. Ids that are not known count from `nextId`. */
export function taskObjects(
  { process, threads }: ProcessInNotes,
  notes: Uint8Array,
  parts: TaskParts,
  nextId: number,
): TreeNode[] {
  const tgid = process?.pid ?? threads[0]?.status.tid ?? nextId;
  const name = process?.name ?? '';
  const states = fpuStates(notes);
  const known = threads.map(({ status }, index) => {
    const { tid, ppid, pgrp, sid, registers } = status;
    const task = { pid: tid, tgid, ppid, pgrp, session: sid, name };
    return taskObject(encodeTask(task), registers, states[index]!, parts);
  });
  if (known.length > 0) return known;
  const task = { pid: tgid, tgid, ppid: process?.ppid ?? 0, pgrp: tgid, session: tgid, name };
  return [taskObject(encodeTask(task), new Map(), freshFpu(), parts)];
}

function taskObject(
  record: Uint8Array,
  registers: ReadonlyMap<string, bigint>,
  fpu: Uint8Array,
  { mm, files, fs, handlers, namespace }: TaskParts,
): TreeNode {
  const children = [node(encodeRegisters(registers)), node(encodeBits(CONTENT.STACK, fpu))];
  const task = node(record, children);
  refer(task, REFERENCE.TASK_MM, mm);
  refer(task, REFERENCE.TASK_FILES, files);
  refer(task, REFERENCE.TASK_FS, fs);
  refer(task, REFERENCE.TASK_SIGHAND, handlers);
  refer(task, REFERENCE.TASK_NAMESPACE, namespace);
  return task;
}
