/**
 * Explores every interleaving of a few threads, each an automaton of real code. One thread may be
 * killed before any of its steps; its host then starts. States are merged when memory and the
 * places of all threads are the same. An operation that no other thread can distinguish from doing
 * nothing (`System.isPrivate`) happens together with its neighbours.
 */
import { type Edges, findLivelock } from './state-graph.ts';
import { Missing, Stepper } from './stepper.ts';
import { DEAD, RUNS, type System } from './system.ts';

export interface Exploration {
  readonly states: number;
  readonly transitions: number;
  /** Number of states in which a run ends. */
  readonly ends: number;
  /** Every outcome of every thread, `thread: outcome`. */
  readonly outcomes: ReadonlySet<string>;
  readonly violation: { readonly what: string; readonly schedule: readonly string[] } | undefined;
}

const STATES_MAX = 8_000_000;

export class Explorer {
  readonly #system: System;
  readonly #stepper: Stepper;

  constructor(system: System) {
    this.#system = system;
    this.#stepper = new Stepper(system);
  }

  async #successors(state: Int32Array): Promise<{ by: number; state: Int32Array }[]> {
    const { threads } = this.#system;
    for (;;) {
      try {
        return this.#tryAll(state);
      } catch (missing) {
        if (!(missing instanceof Missing)) throw missing;
        await threads[missing.thread]!.grow(missing.node, missing.result);
      }
    }
  }

  #tryAll(state: Int32Array): { by: number; state: Int32Array }[] {
    const all: { by: number; state: Int32Array }[] = [];
    for (let by = 0; by < this.#system.threads.length; by++) {
      const into: Int32Array[] = [];
      this.#stepper.steps(state, by, into);
      for (const after of into) all.push({ by, state: after });
    }
    const killed = this.#stepper.kill(state);
    if (killed !== undefined) all.push({ by: -1, state: killed });
    return all;
  }

  async explore(): Promise<Exploration> {
    const known = new Map<string, number>([[keyOf(this.#stepper.first), 0]]);
    const cameFrom: number[] = [-1];
    const outcomes = new Set<string>();
    const edges: Edges = { from: [], to: [], changes: [] };
    const queue: (Int32Array | undefined)[] = [this.#stepper.first]; // finds short schedules
    let transitions = 0;
    let ends = 0;
    let complaint = this.#system.check(this.#stepper.view(this.#stepper.first));
    let at = 0;
    for (let id = 0; complaint === undefined && id < queue.length; id++) {
      const state = queue[id]!;
      queue[id] = undefined;
      at = id;
      const all = await this.#successors(state);
      if (all.length === 0) {
        ends++;
        this.#noteOutcomes(state, outcomes);
        complaint = this.#system.ended(this.#stepper.view(state));
      }
      for (const { by, state: after } of all) {
        transitions++;
        const key = keyOf(after);
        let next = known.get(key);
        if (next === undefined) {
          next = known.size;
          known.set(key, next);
          cameFrom.push(id);
          queue.push(after);
        }
        edges.from.push(id);
        edges.to.push(next);
        edges.changes.push(this.#stepper.hasChanged(state, after, by) ? 1 : 0);
        complaint ??= this.#complaintAbout(state, after, by);
        if (complaint !== undefined) {
          at = next;
          break;
        }
      }
      if (known.size > STATES_MAX) throw new Error('too many states');
    }
    if (complaint === undefined && this.#system.wakesByItself !== true) {
      const livelock = findLivelock(known.size, edges);
      if (livelock !== undefined) {
        complaint = livelock.what;
        at = livelock.state;
      }
    }
    const violation =
      complaint === undefined
        ? undefined
        : { what: complaint, schedule: await this.#tell(pathTo(at, cameFrom, known)) };
    return { states: known.size, transitions, ends, outcomes, violation };
  }

  #complaintAbout(before: Int32Array, after: Int32Array, by: number): string | undefined {
    const view = this.#stepper.view(after);
    if (by >= 0 && view.status(by) === RUNS && view.node(by).where !== '') {
      const hasMoved = this.#stepper.hasMoved(before, after, by);
      const complaint = hasMoved ? this.#system.entered?.(view, by) : undefined;
      if (complaint !== undefined) return complaint;
    }
    return this.#system.check(view);
  }

  #noteOutcomes(state: Int32Array, outcomes: Set<string>): void {
    const view = this.#stepper.view(state);
    for (let thread = 0; thread < view.count; thread++) {
      const status = view.status(thread);
      if (status === RUNS) outcomes.add(`${thread}: ${view.node(thread).outcome}`);
      else outcomes.add(`${thread}: ${status === DEAD ? 'dead' : 'did not run'}`);
    }
  }

  /** Describes the operations on the path through these states. */
  async #tell(path: readonly string[]): Promise<string[]> {
    const lines: string[] = [];
    let state = this.#stepper.first;
    for (const key of path.slice(1)) {
      for (let by = -1; by < this.#system.threads.length; by++) {
        const story: string[] = [];
        this.#stepper.story = story;
        const into: Int32Array[] = [];
        const killed = by < 0 ? this.#stepper.kill(state) : undefined;
        if (killed !== undefined) into.push(killed);
        if (by >= 0) this.#stepper.steps(state, by, into);
        const after = into.find((one) => keyOf(one) === key);
        if (after === undefined) continue;
        lines.push(...(by < 0 ? [`${this.#system.victim}: is killed`] : story));
        state = after;
        break;
      }
    }
    this.#stepper.story = undefined;
    return lines;
  }
}

/** Encodes a state as a map key: one character per number, and more for numbers that need them. */
function keyOf(state: Int32Array): string {
  let key = '';
  for (let at = 0; at < state.length; at++) {
    const value = state[at]!;
    if (value >= 0 && value < 0xfff0) key += String.fromCharCode(value);
    else key += String.fromCharCode(0xffff, value >>> 16, value & 0xffff);
  }
  return key;
}

function pathTo(
  id: number,
  cameFrom: readonly number[],
  known: ReadonlyMap<string, number>,
): string[] {
  const keys = [...known.keys()];
  const path: string[] = [];
  for (let at = id; at >= 0; at = cameFrom[at]!) path.unshift(keys[at]!);
  return path;
}
