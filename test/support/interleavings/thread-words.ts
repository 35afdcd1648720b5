/**
 * The words of a thread table that systems of threads use, and the ways in which a thread may die.
 */
import {
  THREAD_HEADER,
  THREAD_SLOT,
  THREAD_TABLE_WORDS,
} from '../../../src/shared/sync/thread-layout.ts';
import { DEAD, DORMANT, RUNS, SLEEPS, type View } from './system.ts';

export const POISON_WORD = THREAD_HEADER.POISON;
export const HIGH_WATER_WORD = THREAD_HEADER.HIGH_WATER;
const LIVE = 1;
/** Bits of the word POISON that give the reason. The others say that the machine was closed. */
const REASONS = 3;

/** How a thread died: without a change; while taking or giving back; in the middle of a change. */
export const DIED_OUTSIDE = 1;
export const DIED_BETWEEN = 2;
export const DIED_INSIDE = 3;

export function slotWord(id: number): number {
  return THREAD_HEADER.WORDS + id * THREAD_SLOT.WORDS;
}

export function heldWord(id: number): number {
  return slotWord(id) + THREAD_SLOT.HELD;
}

/** Returns the words of a table with this many living threads. */
export function threadWords(threads: number): Map<number, number> {
  const words = new Map<number, number>([
    [POISON_WORD, 0],
    [THREAD_HEADER.POISONED_BY, 0],
    [HIGH_WATER_WORD, threads],
    [THREAD_HEADER.WAITERS, 0],
    [THREAD_HEADER.FREED, 0],
  ]);
  for (let id = 0; id < threads; id++) {
    words.set(slotWord(id) + THREAD_SLOT.STATE, LIVE);
    words.set(heldWord(id), 0);
    words.set(slotWord(id) + THREAD_SLOT.GATE, 0);
    words.set(slotWord(id) + THREAD_SLOT.LOOKS, 0);
    words.set(slotWord(id) + THREAD_SLOT.OS_START, 0);
    words.set(slotWord(id) + THREAD_SLOT.LIVES, 0);
  }
  return words;
}

/** Words that hand out and name thread ids: no program here does that, so no other thread looks. */
export function isOfIds(at: number): boolean {
  if (at < THREAD_HEADER.WORDS) return at === THREAD_HEADER.WAITERS || at === THREAD_HEADER.FREED;
  const field = (at - THREAD_HEADER.WORDS) % THREAD_SLOT.WORDS;
  const isSlot = at < THREAD_TABLE_WORDS;
  return isSlot && (field === THREAD_SLOT.OS_START || field === THREAD_SLOT.LIVES);
}

export function isInside(view: View, thread: number): boolean {
  return view.status(thread) === RUNS && view.node(thread).where !== '';
}

/**
 * Returns the sleepers if all threads rest: inside for any length of time, between calls, at the
 * end, dead, or asleep. Returns none if any thread can move. Threads from number `threads` on are
 * hosts, which rest only after they have done their work.
 */
export function sleepersAtRest(view: View, threads: number): number[] {
  const sleepers: number[] = [];
  for (let thread = 0; thread < view.count; thread++) {
    const status = view.status(thread);
    if (status === DEAD || status === DORMANT) continue;
    if (status === SLEEPS) {
      sleepers.push(thread);
      continue;
    }
    if (status !== RUNS) return [];
    const { where, isFresh, op } = view.node(thread);
    if (thread >= threads ? op !== undefined : where === '' && !isFresh) return [];
  }
  return sleepers;
}

/** Returns what is wrong at the end of a run with regard to death and poison, or undefined. */
export function wrongPoison(view: View): string | undefined {
  const isPoisoned = (view.word(POISON_WORD) & REASONS) !== 0;
  if (isPoisoned && view.death < DIED_BETWEEN) return 'poison: nobody died in a change';
  if (!isPoisoned && view.death === DIED_INSIDE) return 'poison: a writer died, nobody is told';
  return undefined;
}

export function sleepsForEver(view: View, threads: number): string | undefined {
  for (let thread = 0; thread < threads; thread++) {
    if (view.status(thread) === SLEEPS) return `deadlock: ${thread} sleeps for ever`;
  }
  return undefined;
}
