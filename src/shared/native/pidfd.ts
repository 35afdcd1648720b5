/** Descriptors of processes (pidfd_open(2)): they mean the same process until they are closed. */
import { hasNativeCalls, lastErrno, nativeFunction } from './library.ts';

/** The C libraries of older systems have no function for it. It takes the same registers. */
const SYSCALL = 'long syscall(long number, long first, long second)';
const SYS_PIDFD_OPEN = 434; // on x64 and arm64

/**
 * Opens a descriptor of the process, which becomes readable when the process ends, or returns the
 * name of the error: ESRCH if there is no such process, ENOSYS if there are no native calls.
 * Whoever opens it closes it.
 */
export function openPidfd(
  pid: number,
):
  | { readonly fd: number; readonly errno?: never }
  | { readonly errno: string; readonly fd?: never } {
  if (!hasNativeCalls()) return { errno: 'ENOSYS' };
  const fd = nativeFunction(SYSCALL)(SYS_PIDFD_OPEN, pid, 0);
  return fd < 0 ? { errno: lastErrno() } : { fd };
}
