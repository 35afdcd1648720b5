/**
 * The automaton of one thread, built from its real code (recorded-atomics.ts). A node is a point of
 * the program together with all that the code knows there; an edge is a result of the operation at
 * that point.
 *
 * Points at which the code knows the same are merged: where it pauses, between calls, at the head
 * of a wait or spin loop (earlier turns are forgotten), and after results that it does not
 * distinguish. The scenario says which these are (`Knowledge`). The tests also run the code with
 * complete logs, which exposes a wrong scenario. A loop that counts its turns and gives up has two
 * heads: one for any turn but the last, and one for the last turn, which may come at any time
 * because a thread may spin for long while the others stand still.
 */
import {
  isSameOp,
  type Op,
  type Program,
  type Run,
  replay,
  replayWith,
} from './recorded-atomics.ts';

export interface Head {
  /** The loop counts its turns and ends after a fixed number of them. */
  readonly isCounted: boolean;
}

export interface Knowledge {
  /**
   * Returns the loop head if the next operation is the head of a loop that forgets earlier turns.
   */
  findHead(run: Run): Head | undefined;
  /**
   * Results that the code may not distinguish from this one. If several qualify, the first one that
   * leads to the same next operation is taken.
   */
  alike(op: Op, result: number): readonly number[];
  /**
   * What the code remembers, besides its position, at a point where it forgets its turns. By
   * default it remembers nothing.
   */
  remembers?(run: Run): string;
  /** The last `add` to this word in a call returns the ticket of that call. */
  readonly ticketWord: number;
}

export interface Node {
  readonly id: number;
  readonly op: Op | undefined;
  readonly outcome: string;
  readonly call: string;
  /** The code has forgotten everything but its position. */
  readonly forgets: boolean;
  /** The call has not done anything yet, or the thread has ended. */
  readonly isFresh: boolean;
  /** Where the thread pauses; '' when the next operation is no pause. */
  readonly where: string;
  /** What the last `add` of this call to the automaton's ticket word returned, or -1. */
  readonly ticket: number;
  readonly log: readonly number[];
  /** Loop heads that this call has passed. */
  readonly heads: ReadonlySet<string>;
  readonly next: Map<number, readonly Node[]>;
}

/** An upper bound: no loop counts more turns than this. */
const TURNS_MAX = 100_000;

export class ThreadAutomaton {
  readonly program: Program;
  readonly nodes: Node[] = [];
  readonly #knows: Knowledge;
  readonly #merged = new Map<string, Node>();
  readonly #lastTurns = new Map<Node, Node>();

  private constructor(program: Program, knows: Knowledge) {
    this.program = program;
    this.#knows = knows;
  }

  static async of(program: Program, knows: Knowledge): Promise<ThreadAutomaton> {
    const automaton = new ThreadAutomaton(program, knows);
    automaton.#add(await replay(program, []), [], new Set(), true);
    return automaton;
  }

  /** Sets where the thread may be after `result`. Extends the automaton if this place is new. */
  async grow(node: Node, result: number): Promise<void> {
    const run = await replay(this.program, [...node.log, result]);
    for (const other of this.#knows.alike(node.op!, result)) {
      if (other === result) break; // only results before this one: it may itself represent others
      if (!node.next.has(other)) await this.grow(node, other);
      const next = node.next.get(other)!;
      if (!isSameOp(run.op, next[0]!.op) || run.outcome !== next[0]!.outcome) continue;
      node.next.set(result, next);
      return;
    }
    node.next.set(result, await this.#place(node, [...node.log, result], run));
  }

  async #place(node: Node, log: number[], run: Run): Promise<readonly Node[]> {
    const isFresh = run.op === undefined || run.steps.at(-1)?.call !== run.calls;
    const head = this.#knows.findHead(run);
    if (!isFresh && head === undefined && run.where === '') {
      return [this.#add(run, log, node.heads, false)];
    }
    const key = this.#keyOf(run);
    const known = this.#merged.get(key);
    if (known === undefined) {
      const added = this.#add(run, log, isFresh ? new Set() : new Set([...node.heads, key]), true);
      this.#merged.set(key, added);
      return [added];
    }
    if (head?.isCounted !== true || !node.heads.has(key)) return [known];
    return [known, await this.#lastTurn(known, run)];
  }

  /** What the code knows at a point where it forgets: its position and its ticket. */
  #keyOf(run: Run): string {
    if (run.op === undefined) return run.outcome;
    const { kind, at, a, b } = run.op;
    const memory = this.#knows.remembers?.(run) ?? '';
    return `${run.calls} ${kind} ${at} ${a} ${b} ${this.#ticketOf(run)} ${memory}`;
  }

  #ticketOf(run: Run): number {
    const taken = run.steps.findLast(
      ({ op: { kind, at }, call }) =>
        call === run.calls && kind === 'add' && at === this.#knows.ticketWord,
    );
    return taken?.result ?? -1;
  }

  #add(run: Run, log: readonly number[], heads: ReadonlySet<string>, forgets: boolean): Node {
    const { op, outcome, call, where, steps } = run;
    const node: Node = {
      id: this.nodes.length,
      op,
      outcome,
      call,
      isFresh: op === undefined || steps.at(-1)?.call !== run.calls,
      where,
      forgets,
      ticket: this.#ticketOf(run),
      log,
      heads,
      next: new Map(),
    };
    this.nodes.push(node);
    return node;
  }

  /** The head of the last turn: repeats the turn that `run` has just made until the loop ends. */
  async #lastTurn(first: Node, run: Run): Promise<Node> {
    const known = this.#lastTurns.get(first);
    if (known !== undefined) return known;
    const start = first.log.length;
    const turn = run.steps.slice(start);
    let stopped = false;
    const long = await replayWith(this.program, (op, index) => {
      if (index < start) return first.log[index];
      const step = turn[(index - start) % turn.length]!;
      stopped ||= !isSameOp(step.op, op) || index > TURNS_MAX * turn.length;
      return stopped ? undefined : step.result;
    });
    const turns = Math.floor((long.steps.length - start) / turn.length);
    if (turns >= TURNS_MAX) throw new Error('a loop that was said to count its turns does not');
    const log = long.steps.slice(0, start + (turns - 1) * turn.length).map(({ result }) => result);
    const node = this.#add(await replay(this.program, log), log, first.heads, true);
    this.#lastTurns.set(first, node);
    return node;
  }
}
