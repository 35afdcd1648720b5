/**
 * Tracing of threads (ptrace(2)) on x86-64: a seized thread is interrupted, its registers are read,
 * and it is let go. It gets no signal, and its parent hears nothing of it.
 *
 * All calls for one thread must come from the thread of ours that has seized it. When that thread
 * ends, in whatever way, the kernel lets go of all that it has seized.
 *
 * Stops are looked at and left where they are (WNOWAIT). So if this process is killed, the kernel
 * still delivers a signal whose delivery was stopped. Precondition of everything here but
 * `canTrace`: `canTrace()`.
 */
import { addressOfView, hasNativeCalls, lastErrno, nativeFunction } from './library.ts';

const PTRACE = 'long ptrace(long request, int tid, uintptr_t address, uintptr_t data)';
const WAITID = 'int waitid(int kind, uint32_t id, uintptr_t info, int options)';

/** Numbers of the requests. */
const REQUEST = {
  DETACH: 17,
  GETEVENTMSG: 0x4201,
  GETSIGINFO: 0x4202,
  GETREGSET: 0x4204,
  SEIZE: 0x4206,
  INTERRUPT: 0x4207,
} as const;

const P_PID = 1;
const WNOHANG = 1;
const WSTOPPED = 2;
const WEXITED = 4;
const WNOWAIT = 0x100_0000;
const WALL = 0x4000_0000; // threads other than leaders, too
const CLD_TRAPPED = 4;

/** Fields of siginfo_t that are used here. */
const WAIT_INFO = {
  CODE: 8, //    i32
  PID: 16, //    i32
  STATUS: 24, // i32
  SIZE: 128,
} as const;

/** Room for the largest state of a processor: with AMX it has 11 KiB. */
const REGISTERS_MAX_BYTES = 0x1_0000;

/** Shared memory has an address that stays. A thread makes these few bytes when it first traces. */
let scratch: { readonly info: Buffer; readonly vector: Buffer; readonly data: Buffer } | undefined;

function memory(): NonNullable<typeof scratch> {
  scratch ??= {
    info: Buffer.from(new SharedArrayBuffer(WAIT_INFO.SIZE)),
    vector: Buffer.from(new SharedArrayBuffer(16)), // struct iovec
    data: Buffer.from(new SharedArrayBuffer(REGISTERS_MAX_BYTES)),
  };
  return scratch;
}

/** Whether there are calls with which to trace. The kernel may still refuse each of them. */
export function canTrace(): boolean {
  return process.arch === 'x64' && hasNativeCalls();
}

/** Seizes a thread, which goes on. Returns 0 or the errno. */
export function seize(tid: number): number {
  return request(REQUEST.SEIZE, tid, 0, 0);
}

/** Asks a seized thread to stop. `stopOf` tells when it has. Returns 0 or the errno. */
export function interrupt(tid: number): number {
  return request(REQUEST.INTERRUPT, tid, 0, 0);
}

/**
 * Lets go of a seized thread that is in a stop, and delivers `signal` to it unless that is 0.
 * Returns 0 or the errno: ESRCH if it is in no stop.
 */
export function detach(tid: number, signal: number): number {
  return request(REQUEST.DETACH, tid, 0, signal);
}

/** Whether a seized thread is in a stop, so that it runs no code before it is let go. */
export function isInStop(tid: number): boolean {
  const { data } = memory();
  return request(REQUEST.GETEVENTMSG, tid, 0, addressOfView(data)) === 0;
}

/** What has become of a seized thread. `signal` is the one whose delivery was stopped, or 0. */
export type ThreadStop =
  | { readonly kind: 'running' | 'ended' }
  | { readonly kind: 'stopped'; readonly signal: number };

/**
 * Looks at a seized thread. If it has ended, this is the last that can be said of it: its real
 * parent hears of the end only now.
 */
export function stopOf(tid: number): ThreadStop {
  const { info } = memory();
  if (!look(tid, WSTOPPED | WEXITED | WNOWAIT)) return { kind: 'ended' };
  if (info.readInt32LE(WAIT_INFO.PID) === 0) return { kind: 'running' };
  if (info.readInt32LE(WAIT_INFO.CODE) !== CLD_TRAPPED) {
    look(tid, WEXITED);
    return { kind: 'ended' };
  }
  const status = info.readInt32LE(WAIT_INFO.STATUS);
  const isEvent = status >> 8 !== 0; // PTRACE_EVENT_STOP: the interrupt, or a group stop
  return { kind: 'stopped', signal: isEvent ? 0 : status };
}

/** Fills `info`. False if there is no such thread, or it is not seized. */
function look(tid: number, options: number): boolean {
  const { info } = memory();
  info.fill(0);
  const flags = options | WNOHANG | WALL;
  return nativeFunction(WAITID)(P_PID, tid, addressOfView(info), flags) === 0;
}

/** A copy of a set of registers of a stopped thread, by its note type; undefined without it. */
export function registerSet(tid: number, type: number): Buffer | undefined {
  const { vector, data } = memory();
  vector.writeBigUInt64LE(BigInt(addressOfView(data)), 0);
  vector.writeBigUInt64LE(BigInt(data.length), 8);
  if (request(REQUEST.GETREGSET, tid, type, addressOfView(vector)) !== 0) return undefined;
  return Buffer.from(data.subarray(0, Number(vector.readBigUInt64LE(8))));
}

/** A copy of the siginfo_t of a stopped thread; undefined without it. */
export function signalInfo(tid: number): Buffer | undefined {
  const { data } = memory();
  if (request(REQUEST.GETSIGINFO, tid, 0, addressOfView(data)) !== 0) return undefined;
  return Buffer.from(data.subarray(0, WAIT_INFO.SIZE));
}

function request(kind: number, tid: number, address: number, data: number): number {
  return nativeFunction(PTRACE)(kind, tid, address, data) === -1 ? lastErrno() : 0;
}
