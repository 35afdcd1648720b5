/** What the notes of an image tell about a process and its threads. */
import { decodeFpregset, FPREGSET_BYTES } from './fpregset.ts';
import { NOTE_TYPE, readableNotes } from './note.ts';
import { decodePrpsinfo, PRPSINFO, type ProcessNote } from './prpsinfo.ts';
import { decodePrstatus, PRSTATUS_BYTES, type ThreadStatus } from './prstatus.ts';
import { decodeSiginfo, SIGINFO_BYTES, type SignalNote } from './siginfo.ts';

/** A thread, from its NT_PRSTATUS and the notes that follow it. */
export interface ThreadNotes {
  readonly status: ThreadStatus & { readonly registers: ReadonlyMap<string, bigint> };
  floatingPoint: { readonly [name: string]: string } | null;
  signal: SignalNote | null;
  /** Bytes of its extended processor state (NT_X86_XSTATE); 0 without it. */
  extendedBytes: number;
}

/** A process; null or empty is what the notes do not tell. */
export interface ProcessInNotes {
  readonly process: ProcessNote | null;
  readonly threads: readonly ThreadNotes[];
}

/** Notes of another owner, type or length are left aside. */
export function decodeProcess(bytes: Uint8Array): ProcessInNotes {
  let process: ProcessNote | null = null;
  const threads: ThreadNotes[] = [];
  for (const { owner, type, payload } of readableNotes(bytes)) {
    const thread = threads.at(-1);
    const bytesOf = (size: number): boolean => owner === 'CORE' && payload.length === size;
    if (type === NOTE_TYPE.PRSTATUS && bytesOf(PRSTATUS_BYTES)) {
      const status = decodePrstatus(payload);
      threads.push({ status, floatingPoint: null, signal: null, extendedBytes: 0 });
    } else if (type === NOTE_TYPE.PRPSINFO && bytesOf(PRPSINFO.SIZE)) {
      process = decodePrpsinfo(payload);
    } else if (thread === undefined) {
    } else if (type === NOTE_TYPE.FPREGSET && bytesOf(FPREGSET_BYTES)) {
      thread.floatingPoint = decodeFpregset(payload);
    } else if (type === NOTE_TYPE.SIGINFO && bytesOf(SIGINFO_BYTES)) {
      thread.signal = decodeSiginfo(payload);
    } else if (type === NOTE_TYPE.X86_XSTATE && owner === 'LINUX') {
      thread.extendedBytes = payload.length;
    }
  }
  return { process, threads };
}
