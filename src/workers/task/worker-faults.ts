/** Faults on a worker (`src/shared/faults.ts`): carries out the actions that a test has planned. */
import { threadId } from 'node:worker_threads';
import { type FrameAllocator, outOfMemory } from '../../mmu/physical/frame-allocator.ts';
import type { PhaseTask } from '../../shared/dump/tasks/phase-task.ts';
import {
  type ArmedFaults,
  type FaultAction,
  type FaultPoint,
  faultAt,
  GATE,
  type PhaseName,
  systemError,
} from '../../shared/faults.ts';

/** The faults of one task. */
export class WorkerFaults {
  readonly #armed: ArmedFaults;
  readonly #phase: PhaseName;
  readonly #worker: number;

  private constructor(armed: ArmedFaults, phase: PhaseName, worker: number) {
    this.#armed = armed;
    this.#phase = phase;
    this.#worker = worker;
  }

  /** The faults of this task; undefined in production. */
  static of({ tests, worker }: PhaseTask): WorkerFaults | undefined {
    if (tests?.faults === undefined) return undefined;
    return new WorkerFaults(tests.faults, tests.phase, worker);
  }

  /** A unit is about to begin. */
  beforeUnit(): void {
    const action = this.#at('unit');
    if (action !== undefined) carryOut(action, 'a unit');
  }

  /** A unit of a pass was sized, but its size is not published yet. */
  whenSized(): void {
    const action = this.#at('sized');
    if (action !== undefined) carryOut(action, 'a sized unit');
  }

  /** A unit of a pass has its place, but nothing of it is written yet. */
  whenPlaced(): void {
    const action = this.#at('placed');
    if (action !== undefined) carryOut(action, 'a placed unit');
  }

  /** A write of `wanted` bytes is about to be made. Returns how many bytes it may write. */
  beforeWrite(wanted: number): number {
    const action = this.#at('write');
    if (action?.kind === 'short') return Math.min(wanted, action.bytes);
    if (action !== undefined) carryOut(action, 'write');
    return wanted;
  }

  /** A leaf of a running machine was pinned. Its table is still locked, and the pin is stored. */
  afterLeaf(): void {
    const action = this.#at('leaf');
    if (action !== undefined) carryOut(action, 'a leaf');
  }

  /** Adds the point 'frame' to every request for frames. `allocator` is this thread's own view. */
  watch(allocator: FrameAllocator): void {
    const { allocate, allocateZeroed, allocateRun, tryAllocateHuge } = allocator;
    const before = (): void => {
      const action = this.#at('frame');
      if (action !== undefined) carryOut(action, 'a frame');
    };
    allocator.allocate = (thread) => {
      before();
      return allocate.call(allocator, thread);
    };
    allocator.allocateZeroed = (thread) => {
      before();
      return allocateZeroed.call(allocator, thread);
    };
    allocator.allocateRun = (wanted, thread) => {
      before();
      return allocateRun.call(allocator, wanted, thread);
    };
    allocator.tryAllocateHuge = (thread, zeroed) => {
      before();
      return tryAllocateHuge.call(allocator, thread, zeroed);
    };
  }

  #at(point: FaultPoint): FaultAction | undefined {
    return faultAt(this.#armed, point, this.#phase, this.#worker);
  }
}

function carryOut(action: FaultAction, what: string): void {
  switch (action.kind) {
    case 'errno':
      throw systemError(action.errno, what);
    case 'deny':
      throw outOfMemory();
    case 'throw':
      throw new Error(`a test lets ${what} fail`);
    case 'exit':
      process.exit(1);
      break;
    case 'memory':
      fillHeap();
      break;
    case 'hold':
      waitAtGate(action.gate);
      break;
    case 'short': // only a write can be short
  }
}

/** Ends the thread by filling its heap, which is small when a test asks for this. */
function fillHeap(): void {
  for (const kept: unknown[] = []; ; ) kept.push(new Array(0x1_0000).fill(kept.length));
}

/** Reports that this thread has arrived, and waits until the test opens the gate or ends it. */
function waitAtGate(gate: SharedArrayBuffer): void {
  const words = new Int32Array(gate);
  Atomics.store(words, GATE.ARRIVED, threadId);
  Atomics.notify(words, GATE.ARRIVED);
  Atomics.wait(words, GATE.OPEN, 0);
}
