/** What `mmdump inspect` shows of the notes of an mm: its process, and the threads of it. */

import {
  decodeProcess,
  type ProcessInNotes,
  type ThreadNotes,
} from '../../shared/formats/elf/notes/decode-process.ts';
import { printable } from '../../shared/printable.ts';
import type { Image } from '../image/image.ts';

export type DecodedNotes = ProcessInNotes;

export async function decodedNotes(image: Image, mm: number): Promise<DecodedNotes> {
  return decodeProcess(await image.notes({ mm }));
}

/** The keys `process` and `threads` of an mm; they are a contract. */
export function notesJson(notes: DecodedNotes): object {
  return { process: notes.process, threads: notes.threads.map((each) => threadJson(each, notes)) };
}

function threadJson(thread: ThreadNotes, notes: DecodedNotes): object {
  const { tid, signal, pending, blocked, registers } = thread.status;
  return {
    tid,
    name: nameOf(thread, notes),
    signal: thread.signal ?? (signal === 0 ? null : { signal, errno: 0, code: 0, address: null }),
    pendingSignals: hex(pending),
    blockedSignals: hex(blocked),
    registers: Object.fromEntries([...registers].map(([name, value]) => [name, hex(value)])),
    floatingPoint: thread.floatingPoint,
    extendedBytes: thread.extendedBytes,
  };
}

/** One line for the process, and one per thread. */
export function notesLines(notes: DecodedNotes): string[] {
  const { process, threads } = notes;
  const lines: string[] = [];
  if (process !== null) {
    const { pid, name, arguments: words } = process;
    lines.push(`process ${pid} (${printable(name)}): ${printable(words)}`);
  }
  for (const thread of threads) {
    const { tid, signal, registers } = thread.status;
    const name = nameOf(thread, notes);
    const shown = ['rip', 'rsp', 'rbp'].map((each) => `${each} ${hex(registers.get(each) ?? 0n)}`);
    const before = signal === 0 ? '' : `, before signal ${signal}`;
    lines.push(
      `thread ${tid}${name === null ? '' : ` (${printable(name)})`}: ${shown.join(', ')}${before}`,
    );
  }
  return lines;
}

/** The notes tell the name of the process only, which is that of its leader. */
function nameOf({ status }: ThreadNotes, { process }: DecodedNotes): string | null {
  return process !== null && process.pid === status.tid ? process.name : null;
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
