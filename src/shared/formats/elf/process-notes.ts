/** Notes about the process and its threads: NT_PRSTATUS and NT_PRPSINFO of x86-64, NT_AUXV. */
import { ImageProblem } from '../problem.ts';
import { u64At, viewOf } from './words.ts';

/** The fields of struct elf_prstatus that are used here, by their offsets in bytes. */
export const PRSTATUS = {
  CURSIG: 12, //  u16: signal that the thread got
  PID: 32, //     u32: the thread's id
  PPID: 36, //    u32
  RIP: 240, //    u64
  RSP: 264, //    u64
  FS_BASE: 280, // u64: where its thread-local variables are
  SIZE: 336,
} as const;

/** Bytes of struct elf_prpsinfo. */
export const PRPSINFO_BYTES = 136;
const FNAME_AT = 40;
const FNAME_BYTES = 16;

/** The most bytes of an auxiliary vector. */
export const AUXV_MAX = 0x1_0000;

/** Values of the type of an entry of the auxiliary vector. */
export const AUXV_TYPE = {
  NULL: 0,
  PHDR: 3,
  PHENT: 4,
  PHNUM: 5,
  RANDOM: 25,
  EXECFN: 31,
  SYSINFO_EHDR: 33,
} as const;

/** What a thread was doing, from NT_PRSTATUS. */
export interface ThreadStatus {
  readonly id: number;
  readonly signal: number;
  readonly instruction: number;
  readonly stack: number;
}

/** Decodes NT_PRSTATUS. Undefined if it is too short to be that of x86-64. */
export function decodeThread(payload: Uint8Array): ThreadStatus | undefined {
  if (payload.length < PRSTATUS.SIZE) return undefined;
  const view = viewOf(payload);
  return {
    id: view.getUint32(PRSTATUS.PID, true),
    signal: view.getUint16(PRSTATUS.CURSIG, true),
    instruction: u64At(view, PRSTATUS.RIP),
    stack: u64At(view, PRSTATUS.RSP),
  };
}

/** NT_PRSTATUS of a thread of which only the id is known: all registers are zero. */
export function emptyThread(id: number): Uint8Array {
  const payload = new Uint8Array(PRSTATUS.SIZE);
  viewOf(payload).setUint32(PRSTATUS.PID, id, true);
  return payload;
}

/** The id of the process, from NT_PRPSINFO. Undefined if it is too short to be that of x86-64. */
export function decodeProcessId(payload: Uint8Array): number | undefined {
  return payload.length < PRPSINFO_BYTES ? undefined : viewOf(payload).getUint32(24, true);
}

/** NT_PRPSINFO of a process of which only a name is known. Its state is R. */
export function emptyProcess(name: string): Uint8Array {
  const payload = new Uint8Array(PRPSINFO_BYTES);
  payload[1] = 'R'.charCodeAt(0);
  const bytes = new TextEncoder().encode(name).subarray(0, FNAME_BYTES - 1);
  payload.set(bytes, FNAME_AT);
  payload.set(bytes, FNAME_AT + FNAME_BYTES);
  return payload;
}

/** The value of an entry of the auxiliary vector; 0 if it has none. */
export function auxvValue(auxv: Uint8Array, type: number): number {
  const view = viewOf(auxv);
  for (let at = 0; at + 16 <= auxv.length; at += 16) {
    const found = u64At(view, at);
    if (found === type) return u64At(view, at + 8);
    if (found === AUXV_TYPE.NULL) return 0;
  }
  return 0;
}

/** Throws an ImageProblem unless these can be the bytes of an auxiliary vector. */
export function assertAuxv(payload: Uint8Array, position: number): void {
  const { length } = payload;
  if (length % 16 === 0 && length <= AUXV_MAX) return;
  const text = `NT_AUXV: ${length} bytes, expected pairs of u64 and at most ${AUXV_MAX} bytes`;
  throw new ImageProblem('IMAGE_CORRUPT', position, text);
}
