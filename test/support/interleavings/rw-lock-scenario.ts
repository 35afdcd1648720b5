/**
 * Systems of threads that use one readers-writer lock, and the properties that they must have.
 *
 * A program is a list of calls: `R` and `W` lock, stay and unlock; `tR` and `tW` try to lock; `aR`
 * and `aW` wait asynchronously and may be aborted; `P` poisons the machine, as the host does for a
 * thread that died elsewhere. The checks learn what they need from the programs (where they pause)
 * and from tickets; they read the lock's own words only to learn whether a thread is in the queue.
 */

import { RANK } from '../../../src/shared/sync/held-locks.ts';
import type { RwLock } from '../../../src/shared/sync/rw-lock.ts';
import { RW_LOCK } from '../../../src/shared/sync/rw-lock-layout.ts';
import { THREAD_TABLE_WORDS } from '../../../src/shared/sync/thread-layout.ts';
import { ThreadTable } from '../../../src/shared/sync/thread-table.ts';
import { DIED_WRITING } from '../../../src/shared/sync/trust.ts';
import type { Op, Program, ProgramContext, Run } from './recorded-atomics.ts';
import { DEAD, SLEEPS, type System, type View } from './system.ts';
import { type Head, type Knowledge, ThreadAutomaton } from './thread-automaton.ts';
import {
  DIED_BETWEEN,
  DIED_INSIDE,
  DIED_OUTSIDE,
  HIGH_WATER_WORD,
  heldWord,
  isInside,
  isOfIds,
  POISON_WORD,
  sleepersAtRest,
  sleepsForEver,
  threadWords,
  wrongPoison,
} from './thread-words.ts';

export type RwLockClass = typeof RwLock;

export interface RwOptions {
  /** The threads' programs: calls separated by spaces. */
  readonly programs: readonly string[];
  readonly lockClass: RwLockClass;
  /** This thread may die; an additional thread then cleans up. */
  readonly victim?: number;
  /** How the host cleans up. */
  readonly reap?: Reap;
  readonly wakesByItself?: boolean;
  /** Checks to skip, named by the first word of their complaints. */
  readonly without?: readonly string[];
  /** The first ticket that the lock hands out. */
  readonly firstTicket?: number;
}

export type Reap = (table: ThreadTable, lock: RwLock, victim: number) => void;

const LOCK_AT = THREAD_TABLE_WORDS;
const { NEXT_TICKET, CHANGES, WAITERS, WRITERS, ENTRIES, ENTRY_WORDS } = RW_LOCK;
const TICKET_WORD = LOCK_AT + NEXT_TICKET;
const CHANGES_WORD = LOCK_AT + CHANGES;
const HELD_BIT = 8;
const WRITER_BIT = 4;

function entryWord(id: number): number {
  return LOCK_AT + ENTRIES + id * ENTRY_WORDS;
}

/** Does what `threadGone` does for one lock, in the same order. */
export const reapAsThreadGone: Reap = (table, lock, victim) => {
  if (!table.declareDead(victim)) return;
  if (table.diedWriting(victim) || lock.isWriting(victim)) table.poison(DIED_WRITING, victim);
  lock.abandon(victim);
  table.bury(victim);
};

function locks(context: ProgramContext, lockClass: RwLockClass) {
  const table = new ThreadTable(context.words, 0, true);
  return { table, lock: new lockClass(context.words, LOCK_AT, table) };
}

function programOf(text: string, id: number, lockClass: RwLockClass): Program {
  const calls = text.split(' ');
  return async (context) => {
    const { table, lock } = locks(context, lockClass);
    let given = 'done';
    for (const call of calls) {
      const mode = call.endsWith('W') ? 'write' : 'read';
      context.begin(call);
      given = 'done'; // the outcome is that of the last call: a program remembers nothing else
      if (call === 'P') {
        table.poison(DIED_WRITING, id);
        lock.wakeAll();
        continue;
      }
      if (call.startsWith('a')) await lock.lockAsync(id, mode, context.signal);
      else if (!call.startsWith('t')) lock.lock(id, mode);
      else if (!lock.tryLock(id, mode)) {
        given = 'refused';
        continue;
      }
      context.pause(mode);
      lock.unlock(id);
    }
    return given;
  };
}

/** The wait loop begins by reading CHANGES; the spin loop of tryLock by reading HIGH_WATER. */
function findHead({ op, call, calls, steps }: Run): Head | undefined {
  if (op?.kind !== 'load') return undefined;
  if (op.at === CHANGES_WORD) return { isCounted: false };
  if (op.at !== HIGH_WATER_WORD || !call.startsWith('t')) return undefined;
  const hasTicket = steps.some((step) => step.call === calls && step.op.at === TICKET_WORD);
  return hasTicket ? { isCounted: true } : undefined;
}

/** Entries that a scan treats alike: one that excludes everybody, and none. */
const EXCLUDES_ALL = HELD_BIT | WRITER_BIT | 2;
const CHOOSING = 1;

/**
 * What the code distinguishes: whether a word is 0, or the kind of an entry; of `add`, only
 * tickets.
 */
function alike({ kind, at }: Op, result: number, id: number): readonly number[] {
  if (kind === 'store' || kind === 'notify' || kind === 'sub' || kind === 'wait') return [0];
  if (kind === 'add' && at !== TICKET_WORD) return [0];
  if (kind === 'or' || kind === 'and') return [0];
  if (kind !== 'load') return [];
  if (at === LOCK_AT + WAITERS || at === LOCK_AT + WRITERS) return result === 0 ? [] : [1];
  if (at === entryWord(id)) return [result & 0xf];
  const isEntry = at >= LOCK_AT + ENTRIES;
  return isEntry && (result & CHOOSING) === 0 ? [0, EXCLUDES_ALL] : [];
}

function knowledge(id: number): Knowledge {
  return {
    findHead,
    alike: (op, result) => alike(op, result, id),
    ticketWord: TICKET_WORD,
  };
}

function initialWords(threads: number, firstTicket: number): Map<number, number> {
  const words = threadWords(threads)
    .set(TICKET_WORD, firstTicket)
    .set(LOCK_AT + WAITERS, 0)
    .set(LOCK_AT + WRITERS, 0);
  for (let id = 0; id < threads; id++) words.set(entryWord(id), 0);
  return words;
}

export async function rwSystem(options: RwOptions): Promise<System> {
  const { programs, lockClass, victim, reap = reapAsThreadGone, without = [] } = options;
  const all = programs.map((text, id) => programOf(text, id, lockClass));
  if (victim !== undefined) {
    all.push((context) => {
      const { table, lock } = locks(context, lockClass);
      reap(table, lock, victim);
      return undefined;
    });
  }
  const threads: ThreadAutomaton[] = [];
  for (const program of all) {
    threads.push(await ThreadAutomaton.of(program, knowledge(threads.length)));
  }
  const mayPoison = victim !== undefined || programs.includes('P');
  const heeded = (complaint: string | undefined): string | undefined =>
    without.some((word) => complaint?.startsWith(word)) ? undefined : complaint;
  const abortable = programs.flatMap((text, id) => (text.includes('a') ? [id] : []));
  return {
    threads,
    words: initialWords(programs.length, options.firstTicket ?? 0),
    counters: new Set([CHANGES_WORD]),
    isPrivate: (thread, op) => isPrivate(thread, op, victim, mayPoison),
    abortable,
    wakesByItself: options.wakesByItself === true,
    ...(victim === undefined ? {} : { victim, host: programs.length }),
    deathOf: (view) => deathOf(view, victim!),
    check: (view) => exclusion(view, programs.length) ?? heeded(lostWakeUp(view, programs.length)),
    entered: (view, thread) => heeded(entered(view, thread, programs.length)),
    ended: (view) =>
      ended(view, programs.length) ?? (programs.includes('P') ? undefined : wrongPoison(view)),
  };
}

/** Reads of words that no other thread writes, and a thread's private state. */
function isPrivate(
  thread: number,
  { kind, at }: Op,
  victim: number | undefined,
  mayPoison: boolean,
): boolean {
  if (at === HIGH_WATER_WORD) return kind === 'load';
  if (isOfIds(at)) return true;
  if (at === POISON_WORD) return !mayPoison;
  if (at === entryWord(thread)) return kind === 'load';
  return at === heldWord(thread) && thread !== victim;
}

function deathOf(view: View, victim: number): number {
  const { where } = view.node(victim);
  const entry = view.word(entryWord(victim));
  if ((entry & WRITER_BIT) === 0 || (entry & HELD_BIT) === 0) {
    const isNoted = (view.word(heldWord(victim)) & RANK.MMAP_WRITE) !== 0;
    return isNoted ? DIED_BETWEEN : DIED_OUTSIDE;
  }
  return where === 'write' ? DIED_INSIDE : DIED_BETWEEN;
}

function modeOf(view: View, thread: number): string {
  const { where, call } = view.node(thread);
  return where !== '' ? where : call.endsWith('W') ? 'write' : 'read';
}

function isLive(view: View, thread: number): boolean {
  return view.status(thread) !== DEAD;
}

function conflict(one: string, other: string): boolean {
  return one === 'write' || other === 'write';
}

function exclusion(view: View, threads: number): string | undefined {
  for (let one = 0; one < threads; one++) {
    if (!isInside(view, one)) continue;
    for (let other = one + 1; other < threads; other++) {
      if (isInside(view, other) && conflict(modeOf(view, one), modeOf(view, other))) {
        return `exclusion: ${one} and ${other} are inside`;
      }
    }
  }
  return undefined;
}

/**
 * Whether a thread is queued: it has a ticket, does not show that it owns the lock, and has not
 * gone.
 */
function isQueued(view: View, thread: number): boolean {
  if (!isLive(view, thread) || view.node(thread).ticket < 0) return false;
  const entry = view.word(entryWord(thread));
  return entry !== 0 && (entry & HELD_BIT) === 0;
}

/**
 * When all threads rest (inside for any length of time, between calls, or asleep), each sleeper
 * waits for a thread that is inside, or for a sleeper with an earlier ticket.
 */
function lostWakeUp(view: View, threads: number): string | undefined {
  for (const thread of sleepersAtRest(view, threads)) {
    if (view.word(POISON_WORD) !== 0) return `untold: ${thread} sleeps on a poisoned machine`;
    if (hasReason(view, thread, threads)) continue;
    return `lost wake-up: ${thread} sleeps although its turn has come`;
  }
  return undefined;
}

function hasReason(view: View, sleeper: number, threads: number): boolean {
  for (let other = 0; other < threads; other++) {
    if (other === sleeper || !conflict(modeOf(view, sleeper), modeOf(view, other))) continue;
    if (isInside(view, other)) return true;
    const isEarlier = view.node(other).ticket < view.node(sleeper).ticket;
    if (view.status(other) === SLEEPS && isEarlier) return true;
  }
  return false;
}

function entered(view: View, thread: number, threads: number): string | undefined {
  if (view.death === DIED_INSIDE) {
    return `half-changed: ${thread} enters after a writer died`;
  }
  const mine = view.node(thread).ticket;
  for (let other = 0; other < threads; other++) {
    if (other === thread || !conflict(modeOf(view, thread), modeOf(view, other))) continue;
    if (isQueued(view, other) && view.node(other).ticket < mine) {
      return `overtaking: ${thread} with ticket ${mine} enters before ${other}`;
    }
  }
  return undefined;
}

function ended(view: View, threads: number): string | undefined {
  for (let thread = 0; thread < threads; thread++) {
    if (view.word(entryWord(thread)) !== 0) return `rest: the entry of ${thread} is not empty`;
  }
  if (view.death === 0 && view.word(LOCK_AT + WAITERS) !== 0) return 'rest: WAITERS is not 0';
  if (view.word(LOCK_AT + WRITERS) !== 0) return 'rest: WRITERS is not 0';
  return sleepsForEver(view, threads);
}
