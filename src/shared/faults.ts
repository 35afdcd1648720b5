/**
 * Fault injection: failures that a test requests at named points. Production code has no plan, and
 * then none of this runs. A plan is passed in an option "for tests" of a dumper or a sink.
 *
 * A plan is plain data and a few shared words, so the message of a task can carry it. Each fault
 * counts how often its point was passed, over all threads together. It takes effect at one of these
 * passes, the one that it names.
 */
import { constants } from 'node:os';

/** The phases that run on workers. */
export type PhaseName =
  | 'count'
  | 'copy'
  | 'load'
  | 'verify'
  | 'compare'
  | 'diff'
  | 'scan'
  | 'search';

/** Every point at which a fault can be injected. */
export const FAULT_POINTS = [
  // Points on a worker.
  'unit', //          a unit was claimed; work on it has not begun
  'sized', //         a unit was classified and sized; its size is not published yet
  'placed', //        the place of a unit in the image is known; none of its bytes is written
  'write', //         one write(2) of the copy phase into a file
  'leaf', //          a leaf of a running machine was pinned; the lock of its table is held
  'frame', //         one request to the frame allocator in the load phase; locks may be held
  // Points on the main thread: memory of the dump.
  'table', //         allocation of a shared table of a dump
  'buffer', //        allocation of a chunk of a memory sink, or of the slots of a stream sink
  // Points on the main thread: system calls of sinks that write files, in the order of the calls.
  'look', //          lstat of the output
  'list', //          readdir of its directory, to find parts that exist already
  'directory', //     open of its directory
  'create', //        open of the temporary file, or of the final name where there are no hard links
  'reserve', //       ftruncate
  'sync', //          fsync of the file
  'link', //          link to the output's name
  'rename', //        rename to that name (force, or no hard links), or of old parts out of the way
  'remove', //        unlink, also during cleanup
  'syncDirectory', // fsync of the directory
] as const;

/** The name of a point. */
export type FaultPoint = (typeof FAULT_POINTS)[number];

/** What happens at the point. */
export type FaultAction =
  /** The call fails with this errno name. Points: 'write', and those of sinks that write files. */
  | { readonly kind: 'errno'; readonly errno: string }
  /** The call writes only this many bytes. Point: 'write'. */
  | { readonly kind: 'short'; readonly bytes: number }
  /** The allocation fails. Points: 'frame', 'table', 'buffer'. */
  | { readonly kind: 'deny' }
  /** The task throws, its thread exits, or its heap is filled. Points of a worker. */
  | { readonly kind: 'throw' | 'exit' | 'memory' }
  /** The worker waits until the test opens the gate (`GATE`). Points of a worker. */
  | { readonly kind: 'hold'; readonly gate: SharedArrayBuffer };

/** One fault: where, when and what. */
export interface Fault {
  readonly point: FaultPoint;
  /**
   * The pass at which it takes effect, counted from 1. A number that is never reached only counts.
   */
  readonly nth: number;
  /** Points of workers: restricts the fault to one phase. */
  readonly phase?: PhaseName;
  /** Points of workers: restricts the fault to the worker with this ordinal. */
  readonly worker?: number;
  readonly action: FaultAction;
}

/** Faults in force, and how often each point was passed. */
export interface ArmedFaults {
  readonly faults: readonly Fault[];
  /** One word per fault, which counts the passes of its point. Atomics only. */
  readonly passes: SharedArrayBuffer;
}

/** What a dumper or a sink is given. A test arms it anew for every job. */
export interface FaultPlan {
  armed: ArmedFaults | undefined;
}

/** Puts faults in force, with all counts at 0. */
export function armFaults(faults: readonly Fault[]): ArmedFaults {
  return { faults, passes: new SharedArrayBuffer(Math.max(1, faults.length) * 4) };
}

/** How often the point of the fault with this index was passed. */
export function passesOf({ passes }: ArmedFaults, index: number): number {
  return Atomics.load(new Int32Array(passes), index);
}

/**
 * Counts a pass of a point, and returns the action that is due at this pass, if any. Several faults
 * may share a point; if several are due, the first one in the list wins.
 */
export function faultAt(
  { faults, passes }: ArmedFaults,
  point: FaultPoint,
  phase?: PhaseName,
  worker?: number,
): FaultAction | undefined {
  const words = new Int32Array(passes);
  let due: FaultAction | undefined;
  faults.forEach((fault, index) => {
    if (fault.point !== point) return;
    if (fault.phase !== undefined && fault.phase !== phase) return;
    if (fault.worker !== undefined && fault.worker !== worker) return;
    if (Atomics.add(words, index, 1) + 1 === fault.nth) due ??= fault.action;
  });
  return due;
}

/** The error that Node throws when the system call `call` fails with this errno name. */
export function systemError(errno: string, call: string): Error {
  const number = constants.errno[errno as keyof typeof constants.errno];
  // Only tests come here, and node:util takes every thread some milliseconds to load.
  const { getSystemErrorMap } = process.getBuiltinModule('node:util');
  const words = getSystemErrorMap().get(-number)?.[1] ?? 'unknown error';
  return Object.assign(new Error(`${errno}: ${words}, ${call}`), { code: errno, syscall: call });
}

/** The words of a gate, at which a worker announces itself and waits. */
export const GATE = {
  ARRIVED: 0, // thread id of the worker (`threadId` of node:worker_threads); Atomics only
  OPEN: 1, //    not 0: the worker may go on; Atomics only
  WORDS: 2,
} as const;

/** A closed gate, at which no worker has arrived. */
export function createGate(): SharedArrayBuffer {
  return new SharedArrayBuffer(GATE.WORDS * 4);
}
