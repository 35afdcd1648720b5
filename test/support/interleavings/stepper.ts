/**
 * Performs one step of one thread of a system, from any state. The words of shared memory are
 * sequentially consistent, as those of Atomics are. `Atomics.wait` sleeps without a time limit
 * until it is notified; a wait of less than a millisecond only yields and never sleeps.
 */
import { ABORTED, NOT_EQUAL, type Op, TIMED_OUT, WOKEN } from './recorded-atomics.ts';
import { DEAD, DORMANT, RUNS, SLEEPS, type System, type View, WAS_WOKEN } from './system.ts';
import type { Node } from './thread-automaton.ts';

/** An `Atomics.wait` of fewer ms than this does not sleep. */
const YIELD_MS = 1;

/** Thrown when an edge is missing; the step is repeated once the edge has been added. */
export class Missing {
  readonly thread: number;
  readonly node: Node;
  readonly result: number;
  constructor(thread: number, node: Node, result: number) {
    this.thread = thread;
    this.node = node;
    this.result = result;
  }
}

/** The thread has not read the counter. */
const NOTHING = 0;
const LATEST = 1;
const OUTDATED = 2;

/**
 * A state consists of its words, then three numbers per thread: its node (or its death), its
 * status, and what it has seen of the counter.
 */
const STRIDE = 3;
class StateView implements View {
  state: Int32Array;
  readonly count: number;
  readonly #system: System;
  readonly #slots: ReadonlyMap<number, number>;
  readonly #threadsAt: number;

  constructor(system: System, slots: ReadonlyMap<number, number>, state: Int32Array) {
    this.#system = system;
    this.#slots = slots;
    this.#threadsAt = system.words.size;
    this.count = system.threads.length;
    this.state = state;
  }

  node(thread: number): Node {
    return this.#system.threads[thread]!.nodes[this.state[this.#threadsAt + STRIDE * thread]!]!;
  }

  status(thread: number): number {
    return this.state[this.#threadsAt + STRIDE * thread + 1]!;
  }

  word(at: number): number {
    return this.state[this.#slots.get(at)!]!;
  }

  get death(): number {
    const { victim } = this.#system;
    if (victim === undefined || this.status(victim) !== DEAD) return 0;
    return this.state[this.#threadsAt + STRIDE * victim]!;
  }
}

export class Stepper {
  readonly #system: System;
  readonly #slots = new Map<number, number>();
  readonly #threadsAt: number;
  readonly #view: StateView;
  readonly first: Int32Array;
  /** Describes the step in progress, for the report of a violation. */
  story: string[] | undefined;

  constructor(system: System) {
    this.#system = system;
    this.#threadsAt = system.words.size;
    this.first = new Int32Array(system.words.size + STRIDE * system.threads.length);
    for (const [at, value] of system.words) {
      this.first[this.#slots.size] = value;
      this.#slots.set(at, this.#slots.size);
    }
    this.#view = new StateView(system, this.#slots, this.first);
    if (system.host !== undefined) this.first[this.#threadsAt + STRIDE * system.host + 1] = DORMANT;
  }

  view(state: Int32Array): View {
    this.#view.state = state;
    return this.#view;
  }

  #slot(word: number): number {
    const slot = this.#slots.get(word);
    if (slot === undefined) throw new Error(`a thread uses word ${word}, which is not watched`);
    return slot;
  }

  /** Performs the operation; returns its result, or undefined if the thread falls asleep. */
  #perform(state: Int32Array, thread: number, op: Op): number | undefined {
    const { kind, at, a, b } = op;
    if (kind === 'pause') return 0;
    if (this.#system.counters.has(at)) return this.#performOnCounter(state, thread, op);
    const slot = this.#slot(at);
    const old = state[slot]!;
    switch (kind) {
      case 'store':
      case 'exchange':
        state[slot] = a;
        return kind === 'store' ? a : old;
      case 'add':
        state[slot] = old + a;
        return old;
      case 'sub':
        state[slot] = old - a;
        return old;
      case 'and':
        state[slot] = old & a;
        return old;
      case 'or':
        state[slot] = old | a;
        return old;
      case 'compareExchange':
        if (old === a) state[slot] = b;
        return old;
      case 'notify':
        return this.#notify(state, at);
      case 'wait':
        if (old !== a) return NOT_EQUAL;
        return b < YIELD_MS ? TIMED_OUT : undefined;
      default:
        return old;
    }
  }

  #performOnCounter(state: Int32Array, thread: number, { kind, at }: Op): number | undefined {
    const mine = this.#threadsAt + STRIDE * thread + 2;
    switch (kind) {
      case 'load':
        state[mine] = LATEST;
        return 0;
      case 'add':
        for (let seen = this.#threadsAt + 2; seen < state.length; seen += STRIDE) {
          if (state[seen] === LATEST) state[seen] = OUTDATED;
        }
        return 0;
      case 'wait':
        return state[mine] === LATEST ? undefined : NOT_EQUAL;
      case 'notify':
        return this.#notify(state, at);
      default:
        throw new Error(`a counter is changed by ${kind}`);
    }
  }

  #notify(state: Int32Array, word: number): number {
    const { threads } = this.#system;
    let woken = 0;
    for (let thread = 0; thread < threads.length; thread++) {
      const at = this.#threadsAt + STRIDE * thread;
      if (state[at + 1] !== SLEEPS || threads[thread]!.nodes[state[at]!]!.op!.at !== word) continue;
      state[at + 1] = WAS_WOKEN;
      woken++;
    }
    return woken;
  }

  /** Collects all states that one step of `thread` may lead to. */
  steps(state: Int32Array, thread: number, into: Int32Array[]): void {
    const status = state[this.#threadsAt + STRIDE * thread + 1];
    if (status === WAS_WOKEN) {
      this.#follow(state.slice(), thread, WOKEN, false, into);
    } else if (status === SLEEPS) {
      const { wakesByItself, abortable } = this.#system;
      if (wakesByItself) this.#follow(state.slice(), thread, TIMED_OUT, false, into);
      // The abort is a step of its own: the thread may react to it much later.
      if (abortable?.includes(thread)) this.#follow(state.slice(), thread, ABORTED, true, into);
    } else if (status === RUNS) {
      this.#go(state.slice(), thread, false, into);
    }
  }

  /**
   * Performs one visible operation (unless it was already performed), with the private ones before
   * and after it. Changes the state in place.
   */
  #go(state: Int32Array, thread: number, isDone: boolean, into: Int32Array[]): void {
    const at = this.#threadsAt + STRIDE * thread;
    const node = this.#system.threads[thread]!.nodes[state[at]!]!;
    const { op } = node;
    const isPrivate = op !== undefined && this.#system.isPrivate(thread, op);
    if (op === undefined || (isDone && (!isPrivate || node.isFresh))) {
      if (isDone) into.push(state);
      return;
    }
    const result = this.#perform(state, thread, op);
    this.story?.push(`${thread}: ${opText(op)} = ${result ?? 'asleep'}`);
    if (result === undefined) {
      state[at + 1] = SLEEPS;
      into.push(state);
      return;
    }
    this.#follow(state, thread, result, isDone || !isPrivate, into);
  }

  #follow(
    state: Int32Array,
    thread: number,
    result: number,
    isDone: boolean,
    into: Int32Array[],
  ): void {
    const at = this.#threadsAt + STRIDE * thread;
    const node = this.#system.threads[thread]!.nodes[state[at]!]!;
    const next = node.next.get(result);
    if (next === undefined) throw new Missing(thread, node, result);
    for (let branch = 0; branch < next.length; branch++) {
      const { id, op, forgets } = next[branch]!;
      const after = branch === next.length - 1 ? state : state.slice();
      after[at] = id;
      after[at + 1] = RUNS;
      if (forgets) after[at + 2] = NOTHING;
      // A thread that ends after private steps alone has still made a step.
      this.#go(after, thread, isDone || op === undefined, into);
    }
  }

  /** Kills the victim; returns undefined when it cannot die here. */
  kill(state: Int32Array): Int32Array | undefined {
    const { victim, host, threads } = this.#system;
    if (victim === undefined || host === undefined) return undefined;
    const at = this.#threadsAt + STRIDE * victim;
    if (state[at + 1] === DEAD || threads[victim]!.nodes[state[at]!]!.op === undefined) {
      return undefined;
    }
    const after = state.slice();
    after[at] = this.#system.deathOf?.(this.view(state)) ?? 1;
    after[at + 1] = DEAD;
    after[at + 2] = NOTHING;
    after[this.#threadsAt + STRIDE * host + 1] = RUNS;
    return after;
  }

  /** Whether the step moved the thread to another place. */
  hasMoved(before: Int32Array, after: Int32Array, thread: number): boolean {
    const at = this.#threadsAt + STRIDE * thread;
    return before[at] !== after[at];
  }

  /** Whether a step of `thread` changed a word, or made a counter grow that others have read. */
  hasChanged(before: Int32Array, after: Int32Array, thread: number): boolean {
    for (let at = 0; at < this.#threadsAt; at++) if (before[at] !== after[at]) return true;
    const mine = this.#threadsAt + STRIDE * thread + 2;
    for (let seen = this.#threadsAt + 2; seen < after.length; seen += STRIDE) {
      if (seen !== mine && before[seen] !== after[seen]) return true;
    }
    return false;
  }
}

function opText({ kind, at, a, b }: Op): string {
  return kind === 'pause' ? 'pause' : `${kind}(${at}, ${a}, ${b})`;
}
