/**
 * Faults that a test asks for, at named points. Nothing here is reached in production: a plan comes
 * by an option "for tests" (of a dumper, of a sink), and without one there is no object to ask.
 *
 * A plan is plain data and a few shared words, so it travels in the message of a task. Every fault
 * counts how often its point was passed, in all threads together, and happens at the pass that it
 * names.
 */
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';

/** The phases that run on workers. */
export type PhaseName = 'count' | 'copy' | 'load' | 'verify' | 'compare' | 'scan';

/** Every point at which a fault can be asked for. */
export const FAULT_POINTS = [
  // On a worker.
  'unit', //          a unit was claimed, its work has not begun
  'sized', //         a unit was classified and sized; nobody knows its size yet
  'placed', //        it is known where a unit's bytes begin; none is written yet
  'write', //         one write(2) of the copy phase into a file
  'leaf', //          a leaf of a running machine was pinned, its table is locked
  'frame', //         one request to the frame allocator in the load phase, locks may be held
  // On the main thread: memory of the dump.
  'table', //         a shared table of a dump is asked for
  'buffer', //        a chunk of a memory sink, or the slots of a stream sink
  // On the main thread: the calls of sinks that write files, in the order in which they come.
  'look', //          lstat of the output
  'list', //          readdir of its directory: parts that are there already
  'directory', //     open of its directory
  'create', //        open of the temporary file; of the name itself where there are no hard links
  'reserve', //       ftruncate
  'sync', //          fsync of the file
  'link', //          link to the output's name
  'rename', //        rename to it, with force or without hard links; of old parts out of the way
  'remove', //        unlink, also while cleaning up
  'syncDirectory', // fsync of the directory
] as const;

export type FaultPoint = (typeof FAULT_POINTS)[number];

/** What happens at the point. */
export type FaultAction =
  /** The call fails with this errno name: points 'write' and those of sinks that write files. */
  | { readonly kind: 'errno'; readonly errno: string }
  /** The call writes so many bytes and no more: point 'write'. */
  | { readonly kind: 'short'; readonly bytes: number }
  /** There is no memory: points 'frame', 'table', 'buffer'. */
  | { readonly kind: 'deny' }
  /** Points of a worker: its task throws, its thread ends, its heap is full … */
  | { readonly kind: 'throw' | 'exit' | 'memory' }
  /** … or it waits until a test opens the gate (a `Gate`). */
  | { readonly kind: 'hold'; readonly gate: SharedArrayBuffer };

export interface Fault {
  readonly point: FaultPoint;
  /** At which pass, from 1. A number that never comes just counts. */
  readonly nth: number;
  /** Points of workers: only in this phase. */
  readonly phase?: PhaseName;
  /** Points of workers: only on this one, by ordinal. */
  readonly worker?: number;
  readonly action: FaultAction;
}

/** Faults in force. */
export interface ArmedFaults {
  readonly faults: readonly Fault[];
  /** One word a fault: how often its point was passed; Atomics only. */
  readonly passes: SharedArrayBuffer;
}

/** What a dumper or sink is given; a test arms it anew for every job. */
export interface FaultPlan {
  armed: ArmedFaults | undefined;
}

export function armFaults(faults: readonly Fault[]): ArmedFaults {
  return { faults, passes: new SharedArrayBuffer(Math.max(1, faults.length) * 4) };
}

/** How often the point of fault number `index` was passed. */
export function passesOf({ passes }: ArmedFaults, index: number): number {
  return Atomics.load(new Int32Array(passes), index);
}

/** Passes a point: what has to happen there now, if anything. */
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

/** The error of a system call that fails with this errno name, as Node makes it. */
export function systemError(errno: string, call: string): Error {
  const number = constants.errno[errno as keyof typeof constants.errno];
  const words = getSystemErrorMap().get(-number)?.[1] ?? 'unknown error';
  return Object.assign(new Error(`${errno}: ${words}, ${call}`), { code: errno, syscall: call });
}

/** The words of a gate: where a held worker says that it is there, and what it waits for. */
export const GATE = {
  ARRIVED: 0, // thread id of the worker (`threadId`); Atomics only
  OPEN: 1, //    not 0: go on; Atomics only
  WORDS: 2,
} as const;

export function createGate(): SharedArrayBuffer {
  return new SharedArrayBuffer(GATE.WORDS * 4);
}
