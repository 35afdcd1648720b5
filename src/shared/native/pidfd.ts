/**
 * Descriptors of processes (pidfd_open(2), Linux 5.3). A pid may belong to another process once the
 * first has ended; a descriptor never does. Precondition of everything here but `openPidfd`: a
 * descriptor that `openPidfd` returned.
 */
import { addressOfView, hasNativeCalls, nativeFunction } from './library.ts';

const SYSCALL = 'long syscall(long number, long first, long second, long third, long fourth)';
const POLL = 'int poll(uintptr_t entries, ulong count, int timeout)';
/** Numbers of system calls; they are the same on x86-64 and arm64. */
const CALL = { PIDFD_SEND_SIGNAL: 424, PIDFD_OPEN: 434 } as const;
const POLLIN = 1;

/** A descriptor of the process with this pid, which must not be a thread's; -1 without one. */
export function openPidfd(pid: number): number {
  if (!hasNativeCalls()) return -1;
  return nativeFunction(SYSCALL)(CALL.PIDFD_OPEN, pid, 0, 0, 0);
}

/** Whether the process has ended. It may still be a zombie. */
export function hasEnded(pidfd: number): boolean {
  const entry = Buffer.from(new SharedArrayBuffer(8)); // struct pollfd
  entry.writeInt32LE(pidfd, 0);
  entry.writeInt16LE(POLLIN, 4);
  return nativeFunction(POLL)(addressOfView(entry), 1, 0) > 0;
}

/** Sends a signal to the process. Returns whether it was sent. */
export function sendSignal(pidfd: number, signal: number): boolean {
  return nativeFunction(SYSCALL)(CALL.PIDFD_SEND_SIGNAL, pidfd, signal, 0, 0) === 0;
}
