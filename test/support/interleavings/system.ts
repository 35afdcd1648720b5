/** Threads, what they share, and what must hold: the input of an exploration. */
import type { Op } from './recorded-atomics.ts';
import type { Node, ThreadAutomaton } from './thread-automaton.ts';

export const RUNS = 0;
export const SLEEPS = 1;
export const WAS_WOKEN = 2;
export const DEAD = 3;
/** A host whose thread has not died. */
export const DORMANT = 4;

export interface System {
  readonly threads: readonly ThreadAutomaton[];
  /** Words that the threads use, and what they hold at first. */
  readonly words: ReadonlyMap<number, number>;
  /**
   * Words that only grow, and of which the code only wants to know whether they have grown since it
   * looked: they are always 0 here, and a thread remembers whether what it has seen is out of date.
   */
  readonly counters: ReadonlySet<number>;
  /** Nobody else can tell whether the thread has done this already. */
  isPrivate(thread: number, op: Op): boolean;
  readonly victim?: number;
  /** The thread that cleans up after the victim. */
  readonly host?: number;
  /** What the victim's death was like; seen by the checks as `view.death`. Not 0. */
  deathOf?(view: View): number;
  /** Threads that may be told, while they sleep, to give up. */
  readonly abortable?: readonly number[];
  /** Waits end by themselves, any time. */
  readonly wakesByItself?: boolean;
  /** A complaint about a state, or undefined. */
  check(view: View): string | undefined;
  /** A complaint about the step that has brought `thread` to a pause. */
  entered?(view: View, thread: number): string | undefined;
  /** A complaint about a state in which nobody can do anything. */
  ended(view: View): string | undefined;
}

/** One state, as the checks see it. */
export interface View {
  readonly count: number;
  node(thread: number): Node;
  status(thread: number): number;
  word(at: number): number;
  /** 0 while the victim lives. */
  readonly death: number;
}
