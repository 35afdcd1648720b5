/**
 * Runs a system once with nothing folded, merged or forgotten: the real code with the complete log
 * of its results, on a real SharedArrayBuffer with the real Atomics. Only sleeping is simulated.
 * The automata run along, and must predict the same at every step.
 */

import { isSameOp, NOT_EQUAL, type Op, replay, TIMED_OUT, WOKEN } from './recorded-atomics.ts';
import type { System } from './system.ts';
import type { Node } from './thread-automaton.ts';

interface Walker {
  readonly log: number[];
  /** The automaton's possible nodes: it may not know which turn of a counted loop is the last. */
  places: readonly Node[];
  /** The word that it sleeps on, or -1. */
  sleepsOn: number;
  isStopped: boolean;
}

const YIELD_MS = 1;

class UnfoldedRun {
  readonly #system: System;
  readonly #memory: Int32Array;
  readonly #walkers: Walker[];
  steps = 0;

  constructor(system: System) {
    this.#system = system;
    const words = Math.max(...system.words.keys(), ...system.counters) + 1;
    this.#memory = new Int32Array(new SharedArrayBuffer(words * 4));
    for (const [at, value] of system.words) this.#memory[at] = value;
    this.#walkers = system.threads.map(({ nodes }, thread) => ({
      log: [],
      places: [nodes[0]!],
      sleepsOn: -1,
      isStopped: thread === system.host,
    }));
  }

  runnable(): number[] {
    return this.#walkers.flatMap(({ places, sleepsOn, isStopped }, thread) =>
      sleepsOn < 0 && !isStopped && places[0]!.op !== undefined ? [thread] : [],
    );
  }

  kill(): void {
    const { victim, host } = this.#system;
    if (victim === undefined || host === undefined) return;
    const dead = this.#walkers[victim]!;
    if (dead.isStopped || dead.places[0]!.op === undefined) return;
    dead.isStopped = true;
    dead.sleepsOn = -1;
    this.#walkers[host]!.isStopped = false;
  }

  async step(thread: number): Promise<void> {
    const walker = this.#walkers[thread]!;
    const { op } = await replay(this.#system.threads[thread]!.program, walker.log);
    walker.places = walker.places.filter((place) => this.#isSame(place.op, op));
    if (walker.places.length === 0 || op === undefined) {
      throw new Error(`the automaton of ${thread} does not go on with ${JSON.stringify(op)}`);
    }
    const result = this.#perform(op);
    this.steps++;
    if (result === undefined) walker.sleepsOn = op.at;
    else await this.#advance(thread, op, result);
    if (op.kind === 'notify') await this.#wake(op.at);
  }

  async #wake(word: number): Promise<void> {
    for (const [thread, walker] of this.#walkers.entries()) {
      if (walker.sleepsOn !== word || walker.isStopped) continue;
      walker.sleepsOn = -1;
      await this.#advance(thread, walker.places[0]!.op!, WOKEN);
    }
  }

  async #advance(thread: number, op: Op, result: number): Promise<void> {
    const walker = this.#walkers[thread]!;
    walker.log.push(result);
    // The automaton sees only zeros in counters; the result of a wait does not show their value.
    const isCount = this.#system.counters.has(op.at) && op.kind !== 'wait';
    const told = isCount ? 0 : result;
    const next = new Set<Node>();
    for (const place of walker.places) {
      if (!place.next.has(told)) await this.#system.threads[thread]!.grow(place, told);
      for (const node of place.next.get(told)!) next.add(node);
    }
    walker.places = [...next];
    const run = await replay(this.#system.threads[thread]!.program, walker.log);
    walker.places = walker.places.filter(
      ({ op: expected, outcome, where, call }) =>
        this.#isSame(expected, run.op) &&
        outcome === run.outcome &&
        where === run.where &&
        (call === run.call || run.op === undefined), // the place where a thread ended is forgotten
    );
    if (walker.places.length > 0) return;
    throw new Error(`the automaton of ${thread} is not at ${JSON.stringify(run.op)}`);
  }

  #isSame(expected: Op | undefined, op: Op | undefined): boolean {
    if (expected === undefined || op === undefined || !this.#system.counters.has(op.at)) {
      return isSameOp(expected, op);
    }
    return isSameOp({ ...expected, a: 0 }, { ...op, a: 0 });
  }

  #perform({ kind, at, a, b }: Op): number | undefined {
    const words = this.#memory;
    switch (kind) {
      case 'pause':
        return 0;
      case 'notify':
        return this.#walkers.filter((one) => one.sleepsOn === at && !one.isStopped).length;
      case 'wait':
        if (Atomics.load(words, at) !== a) return NOT_EQUAL;
        return b < YIELD_MS ? TIMED_OUT : undefined;
      case 'compareExchange':
        return Atomics.compareExchange(words, at, a, b);
      case 'load':
        return Atomics.load(words, at);
      default:
        return Atomics[kind](words, at, a);
    }
  }
}

/** Runs with this schedule; returns the number of steps. Throws when an automaton is wrong. */
export async function runUnfolded(
  system: System,
  choices: readonly number[],
  killAt: number,
): Promise<number> {
  const run = new UnfoldedRun(system);
  for (const choice of choices) {
    if (run.steps >= killAt) run.kill();
    const runnable = run.runnable();
    if (runnable.length === 0) break;
    await run.step(runnable[choice % runnable.length]!);
  }
  return run.steps;
}
