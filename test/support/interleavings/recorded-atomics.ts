/**
 * Runs real lock code one memory operation at a time, without a thread.
 *
 * Code that shares only words of memory is a function of the results of its operations. The code is
 * therefore run from its start with a log of earlier results, and an exception stops it at the
 * first operation that has no result in the log: the thread performs that operation next. During a
 * run `globalThis.Atomics` reads the log, and a proxy replaces the words so that plain accesses are
 * seen as well. The clock stands still.
 */

export type OpKind =
  | 'load'
  | 'store'
  | 'add'
  | 'sub'
  | 'and'
  | 'or'
  | 'exchange'
  | 'compareExchange'
  | 'wait'
  | 'notify'
  | 'pause'; // no access: the thread stays inside a lock for any length of time

/**
 * One operation on one word. `a` and `b` are its operands, in the order of the Atomics arguments.
 */
export interface Op {
  readonly kind: OpKind;
  readonly at: number;
  readonly a: number;
  readonly b: number;
}

/** Results of `wait` as numbers, because a log holds only numbers. */
export const NOT_EQUAL = 0;
export const WOKEN = 1;
export const TIMED_OUT = 2;
export const ABORTED = 3;
const WAIT_RESULTS = ['not-equal', 'ok', 'timed-out'] as const;

/** What a program may use: the shared words, and calls that mark its position. */
export interface ProgramContext {
  readonly words: Int32Array;
  /** Aborted when a `wait` in the log returns ABORTED. */
  readonly signal: AbortSignal;
  /** Begins a call of a lock operation; the operations that follow belong to it. */
  begin(call: string): void;
  /** Pauses the thread. The checks see `where`. */
  pause(where: string): void;
}

/** The code of one thread. Its outcome is its return value, or the code of the error it throws. */
export type Program = (context: ProgramContext) => string | undefined | Promise<string | undefined>;

export interface Step {
  readonly op: Op;
  readonly result: number;
  readonly call: number;
}

export interface Run {
  /** The next operation of the thread; undefined when it has ended. */
  readonly op: Op | undefined;
  readonly outcome: string;
  readonly call: string;
  /** Number of calls begun so far. */
  readonly calls: number;
  /** Where the thread pauses, if `op` is a pause. */
  readonly where: string;
  readonly steps: readonly Step[];
}

class Stopped extends Error {}

class Recorder implements ProgramContext {
  readonly words: Int32Array;
  readonly steps: Step[] = [];
  op: Op | undefined;
  call = 'start';
  calls = 0;
  where = '';
  readonly #answer: (op: Op, index: number) => number | undefined;
  readonly #controller = new AbortController();

  constructor(answer: (op: Op, index: number) => number | undefined) {
    this.#answer = answer;
    this.words = new Proxy([] as unknown as Int32Array, {
      get: (_, key) => this.perform('load', Number(key)),
      set: (_, key, value: number) => {
        this.perform('store', Number(key), value);
        return true;
      },
    });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  begin(call: string): void {
    if (this.op !== undefined) throw new Stopped();
    this.call = call;
    this.calls++;
  }

  pause(where: string): void {
    if (this.op === undefined) this.where = where;
    this.perform('pause', -1);
  }

  perform(kind: OpKind, at: number, a = 0, b = 0): number {
    // A stopped run passes through catch and finally blocks; their operations have not happened
    // yet.
    if (this.op !== undefined) throw new Stopped();
    const op = { kind, at, a, b };
    const result = this.#answer(op, this.steps.length);
    if (result === undefined) {
      this.op = op;
      throw new Stopped();
    }
    this.steps.push({ op, result, call: this.calls });
    return result;
  }

  waitAsync(at: number, seen: number, bound: number): unknown {
    const result = this.perform('wait', at, seen, bound);
    if (result === NOT_EQUAL) return { async: false, value: 'not-equal' };
    if (result !== ABORTED) return { async: true, value: Promise.resolve(WAIT_RESULTS[result]) };
    queueMicrotask(() => this.#controller.abort());
    return { async: true, value: new Promise(() => {}) };
  }

  atomics(): unknown {
    const two = (kind: OpKind) => (_: unknown, at: number, a: number) => this.perform(kind, at, a);
    return {
      load: (_: unknown, at: number) => this.perform('load', at),
      store: two('store'),
      add: two('add'),
      sub: two('sub'),
      and: two('and'),
      or: two('or'),
      exchange: two('exchange'),
      compareExchange: (_: unknown, at: number, a: number, b: number) =>
        this.perform('compareExchange', at, a, b),
      notify: (_: unknown, at: number, count?: number) => {
        if (count !== undefined) throw new Error('to wake some, not all, is not simulated');
        return this.perform('notify', at);
      },
      wait: (_: unknown, at: number, seen: number, bound: number) =>
        WAIT_RESULTS[this.perform('wait', at, seen, bound)],
      waitAsync: (_: unknown, at: number, seen: number, bound: number) =>
        this.waitAsync(at, seen, bound),
    };
  }
}

async function outcomeOf(program: Program, recorder: Recorder): Promise<string> {
  const { Atomics: real } = globalThis;
  const { now } = performance;
  globalThis.Atomics = recorder.atomics() as typeof Atomics;
  performance.now = () => 0;
  try {
    return (await program(recorder)) ?? 'done';
  } catch (error) {
    if (error instanceof Stopped || recorder.op !== undefined) return 'stopped';
    const { code } = error as { code?: string };
    if (code === undefined) throw error;
    return code;
  } finally {
    globalThis.Atomics = real;
    performance.now = now;
  }
}

/** Runs the program to its end, or until `answer` has no result for an operation. */
export async function replayWith(
  program: Program,
  answer: (op: Op, index: number) => number | undefined,
): Promise<Run> {
  const recorder = new Recorder(answer);
  const outcome = await outcomeOf(program, recorder);
  const { op, call, calls, where, steps } = recorder;
  return { op, outcome, call, calls, where: op?.kind === 'pause' ? where : '', steps };
}

export function replay(program: Program, log: readonly number[]): Promise<Run> {
  return replayWith(program, (_, index) => log[index]);
}

export function isSameOp(one: Op | undefined, other: Op | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  return one.kind === other.kind && one.at === other.at && one.a === other.a && one.b === other.b;
}
