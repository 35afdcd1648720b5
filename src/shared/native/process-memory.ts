/**
 * Reads the memory of another process (process_vm_readv(2)), without opening a file. Imports do not
 * use it: it gives the process copies of its own of pages that it shares with a fork or that KSM
 * merged (docs/decisions/native-calls.md).
 */
import { addressOfView, hasNativeCalls, lastErrno, nativeFunction } from './library.ts';

const READV =
  'long process_vm_readv(int pid, uintptr_t local, unsigned long locals, uintptr_t remote, ' +
  'unsigned long remotes, unsigned long flags)';

/** Words of two struct iovec: where the bytes go, and where they come from. */
const IOVECS = {
  LOCAL: 0, //         address, two words
  LOCAL_LENGTH: 2, //  bytes, two words
  REMOTE: 4, //        address, two words
  REMOTE_LENGTH: 6, // bytes, two words
  WORDS: 8,
} as const;
const { LOCAL, LOCAL_LENGTH, REMOTE, REMOTE_LENGTH, WORDS } = IOVECS;

/** What came of a read. */
export interface ProcessRead {
  /** The bytes that were read: all that were asked for, unless there is an errno. */
  readonly bytes: number;
  /** Why no more could be read, as the name of the error; undefined if all was read. */
  readonly errno: string | undefined;
}

interface Call {
  readonly readv: ReturnType<typeof nativeFunction>;
  readonly iovecs: Uint32Array;
  readonly address: number;
}

let call: Call | undefined;

/**
 * Fills view[at, at + length) with the memory of the process from `remote` on. Unlike reads of
 * /proc/PID/mem it cannot read what the process itself may not read (EFAULT). ENOSYS if there are
 * no native calls.
 *
 * Preconditions: the process may be traced; [at, at + length) lies inside the view.
 */
export function readProcess(
  pid: number,
  remote: number,
  view: Uint8Array,
  at: number,
  length: number,
): ProcessRead {
  if (length === 0) return { bytes: 0, errno: undefined };
  if (!hasNativeCalls()) return { bytes: 0, errno: 'ENOSYS' };
  call ??= makeCall();
  const { readv, iovecs, address } = call;
  const local = addressOfView(view) + at;
  for (let done = 0; done < length; ) {
    setNumber(iovecs, LOCAL, local + done);
    setNumber(iovecs, LOCAL_LENGTH, length - done);
    setNumber(iovecs, REMOTE, remote + done);
    setNumber(iovecs, REMOTE_LENGTH, length - done);
    const count = readv(pid, address, 1, address + REMOTE * 4, 1, 0);
    if (count < 0) return { bytes: done, errno: lastErrno() };
    if (count === 0) return { bytes: done, errno: 'EIO' };
    done += count;
  }
  return { bytes: length, errno: undefined };
}

function makeCall(): Call {
  const iovecs = new Uint32Array(new ArrayBuffer(WORDS * 4)); // a buffer that V8 does not move
  return { readv: nativeFunction(READV), iovecs, address: addressOfView(iovecs) };
}

/** Sets two words, the low one first. Both architectures that have native calls do so. */
function setNumber(words: Uint32Array, at: number, value: number): void {
  words[at] = value % 0x1_0000_0000;
  words[at + 1] = Math.floor(value / 0x1_0000_0000);
}
