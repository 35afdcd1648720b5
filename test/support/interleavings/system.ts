/** Threads, their shared state, and the properties to hold: the input of an exploration. */
import type { Op } from './recorded-atomics.ts';
import type { Node, ThreadAutomaton } from './thread-automaton.ts';

export const RUNS = 0;
export const SLEEPS = 1;
export const WAS_WOKEN = 2;
export const DEAD = 3;
/** Status of a host whose thread has not died. */
export const DORMANT = 4;

export interface System {
  readonly threads: readonly ThreadAutomaton[];
  /** The words that the threads use, and their initial values. */
  readonly words: ReadonlyMap<number, number>;
  /**
   * Words that only grow, of which the code only asks whether they have grown since it last looked.
   * They are always 0 here, and a thread remembers whether its value is out of date.
   */
  readonly counters: ReadonlySet<number>;
  /** No other thread can tell whether the thread has already performed this operation. */
  isPrivate(thread: number, op: Op): boolean;
  readonly victim?: number;
  /** The thread that cleans up after the victim. */
  readonly host?: number;
  /** How the victim died; the checks see it as `view.death`. Never 0. */
  deathOf?(view: View): number;
  /** Threads that may be aborted while they sleep. */
  readonly abortable?: readonly number[];
  /** Waits may end by themselves at any time. */
  readonly wakesByItself?: boolean;
  /** Returns a complaint about a state, or undefined. */
  check(view: View): string | undefined;
  /** Returns a complaint about the step that brought `thread` to a pause. */
  entered?(view: View, thread: number): string | undefined;
  /** Returns a complaint about a state in which no thread can make a step. */
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
