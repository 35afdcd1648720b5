/** Faults on a worker (`src/shared/faults.ts`): carries out what a test has asked for. */
import { threadId } from 'node:worker_threads';
import { type FrameAllocator, outOfMemory } from '../../mmu/physical/frame-allocator.ts';
import type { PhaseTask } from '../../shared/dump/tasks.ts';
import {
  type ArmedFaults,
  type FaultAction,
  type FaultPoint,
  faultAt,
  GATE,
  type PhaseName,
  systemError,
} from '../../shared/faults.ts';

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

  /** A unit of a pass was sized, its size is not published. */
  whenSized(): void {
    const action = this.#at('sized');
    if (action !== undefined) carryOut(action, 'a sized unit');
  }

  /** A unit of a pass has its place, nothing of it is written. */
  whenPlaced(): void {
    const action = this.#at('placed');
    if (action !== undefined) carryOut(action, 'a placed unit');
  }

  /** A write of `wanted` bytes is about to be made; returns how many it may write. */
  beforeWrite(wanted: number): number {
    const action = this.#at('write');
    if (action?.kind === 'short') return Math.min(wanted, action.bytes);
    if (action !== undefined) carryOut(action, 'write');
    return wanted;
  }

  /** The leaf of a running machine was pinned: its table is locked, the pin is written down. */
  afterLeaf(): void {
    const action = this.#at('leaf');
    if (action !== undefined) carryOut(action, 'a leaf');
  }

  /** Passes the point 'frame' at every request to this thread's own view of the allocator. */
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

/** Ends the thread: it has little heap when a test asks for this. */
function fillHeap(): void {
  for (const kept: unknown[] = []; ; ) kept.push(new Array(0x1_0000).fill(kept.length));
}

/** Says that it is there and waits until the test opens the gate, or ends this thread. */
function waitAtGate(gate: SharedArrayBuffer): void {
  const words = new Int32Array(gate);
  Atomics.store(words, GATE.ARRIVED, threadId);
  Atomics.notify(words, GATE.ARRIVED);
  Atomics.wait(words, GATE.OPEN, 0);
}
