/** NT_SIGINFO: the signal that a thread was about to get (siginfo_t). */

/** Fields of siginfo_t that every signal has, and the address that faults have. */
const SIGINFO = {
  SIGNO: 0, //    i32
  ERRNO: 4, //    i32
  CODE: 8, //     i32
  ADDRESS: 16, // u64
  SIZE: 128,
} as const;

export const SIGINFO_BYTES: number = SIGINFO.SIZE;

/** SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV: signals that name an address if the kernel sends them. */
const FAULTS: ReadonlySet<number> = new Set([4, 5, 7, 8, 11]);

/** What the note tells. `address` is null for signals that have none. */
export interface SignalNote {
  readonly signal: number;
  readonly errno: number;
  readonly code: number;
  readonly address: string | null;
}

/** Reads a payload of SIGINFO_BYTES bytes. */
export function decodeSiginfo(note: Buffer): SignalNote {
  const signal = note.readInt32LE(SIGINFO.SIGNO);
  const code = note.readInt32LE(SIGINFO.CODE);
  const isFault = code > 0 && FAULTS.has(signal);
  return {
    signal,
    errno: note.readInt32LE(SIGINFO.ERRNO),
    code,
    address: isFault ? `0x${note.readBigUInt64LE(SIGINFO.ADDRESS).toString(16)}` : null,
  };
}
