/**
 * Systems of threads that use one lock of a single word, the spin lock or the mutex.
 *
 * A program is a list of calls: `L` locks, stays and unlocks; `aL` waits asynchronously and may be
 * aborted (mutex only); `end` releases the thread's slot.
 */

import { RANK } from '../../../src/shared/sync/held-locks.ts';
import { Mutex } from '../../../src/shared/sync/mutex.ts';
import { spinLock, spinUnlock } from '../../../src/shared/sync/spin-lock.ts';
import { THREAD_TABLE_WORDS } from '../../../src/shared/sync/thread-layout.ts';
import { ThreadTable } from '../../../src/shared/sync/thread-table.ts';
import { DIED_WRITING } from '../../../src/shared/sync/trust.ts';
import type { Op, Program, ProgramContext, Run } from './recorded-atomics.ts';
import type { System, View } from './system.ts';
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

const LOCK_WORD = THREAD_TABLE_WORDS;
/** The owner's bits of a mutex word; a spin lock has no other bits. */
const OWNER_BITS = 0x1fff_ffff;
const { PAGE_TABLE, LDT } = RANK;

/** One of the two locks, built on the words of a context. */
export interface WordLock {
  lock(id: number): void;
  unlock(id: number): void;
  lockAsync?(id: number, signal: AbortSignal): Promise<void>;
  /** Wakes all waiters. */
  wakeAll?(): void;
}

export interface WordLockKind {
  on(words: Int32Array, table: ThreadTable): WordLock;
  findHead(run: Run): Head | undefined;
}

/** `spin` has the functions of spin-lock.ts or of a mutant of it. */
export function spinLockKind(
  spin: { spinLock: typeof spinLock; spinUnlock: typeof spinUnlock } = { spinLock, spinUnlock },
): WordLockKind {
  return {
    on: (words, table) => ({
      lock: (id) => spin.spinLock(words, LOCK_WORD, id, PAGE_TABLE, table, true),
      unlock: (id) => spin.spinUnlock(words, LOCK_WORD, id, PAGE_TABLE, table),
    }),
    // The spin loop reads the word again and again, and at times checks who the owner is.
    findHead: ({ op, steps }) => {
      const isLook = op?.kind === 'load' && op.at === LOCK_WORD;
      return isLook && steps.at(-1)?.op.at !== POISON_WORD ? { isCounted: true } : undefined;
    },
  };
}

export function mutexKind(mutexClass: typeof Mutex = Mutex): WordLockKind {
  return {
    on: (words, table) => {
      const mutex = new mutexClass(words, LOCK_WORD, LDT, table, 'the mutex');
      return {
        lock: (id) => mutex.lock(id, true),
        unlock: (id) => mutex.unlock(id),
        lockAsync: (id, signal) => mutex.lockAsync(id, signal),
        wakeAll: () => mutex.wakeAll(),
      };
    },
    findHead: ({ op }) =>
      op?.kind === 'compareExchange' && op.a === 0 ? { isCounted: false } : undefined,
  };
}

export interface WordLockOptions {
  readonly kind: WordLockKind;
  readonly programs: readonly string[];
  readonly victim?: number;
}

function programOf(text: string, id: number, kind: WordLockKind): Program {
  return async (context) => {
    const { table, lock } = parts(context, kind);
    for (const call of text.split(' ')) {
      context.begin(call);
      if (call === 'end') {
        table.release(id);
        continue;
      }
      if (call === 'aL') await lock.lockAsync!(id, context.signal);
      else lock.lock(id);
      context.pause('owner');
      lock.unlock(id);
    }
    return undefined;
  };
}

function parts(context: ProgramContext, kind: WordLockKind) {
  const table = new ThreadTable(context.words, 0, true);
  return { table, lock: kind.on(context.words, table) };
}

/** Does what `threadGone` does for one such lock. */
function reap(context: ProgramContext, options: WordLockOptions): void {
  const victim = options.victim!;
  const { table, lock } = parts(context, options.kind);
  if (!table.declareDead(victim)) return;
  const owner = (Atomics.load(context.words, LOCK_WORD) & OWNER_BITS) - 1;
  const isWriting = table.diedWriting(victim) || owner === victim;
  if (isWriting) table.poison(DIED_WRITING, victim);
  lock.wakeAll?.();
  table.bury(victim);
}

export async function wordLockSystem(options: WordLockOptions): Promise<System> {
  const { programs, kind, victim } = options;
  const all = programs.map((text, id) => programOf(text, id, kind));
  if (victim !== undefined) {
    all.push((context) => {
      reap(context, options);
      return undefined;
    });
  }
  const knowledge: Knowledge = { findHead: kind.findHead, alike, ticketWord: -1 };
  const threads: ThreadAutomaton[] = [];
  for (const program of all) threads.push(await ThreadAutomaton.of(program, knowledge));
  return {
    threads,
    words: threadWords(programs.length).set(LOCK_WORD, 0),
    counters: new Set(),
    isPrivate: (thread, { kind: op, at }: Op) =>
      at === HIGH_WATER_WORD
        ? op === 'load'
        : isOfIds(at) || (at === heldWord(thread) && thread !== victim),
    abortable: programs.flatMap((text, id) => (text.includes('a') ? [id] : [])),
    ...(victim === undefined ? {} : { victim, host: programs.length }),
    deathOf: (view) => deathOf(view, victim!),
    check: (view) => exclusion(view, programs.length) ?? lostWakeUp(view, programs.length),
    entered: (view, thread) =>
      view.death === DIED_INSIDE ? `half-changed: ${thread} enters after a death` : undefined,
    ended: (view) => sleepsForEver(view, programs.length) ?? wrongPoison(view),
  };
}

/** The code ignores the results of these operations. */
function alike({ kind }: Op): readonly number[] {
  return kind === 'store' || kind === 'notify' || kind === 'wait' ? [0] : [];
}

function deathOf(view: View, victim: number): number {
  if ((view.word(LOCK_WORD) & OWNER_BITS) !== victim + 1) return DIED_OUTSIDE;
  return view.node(victim).where === 'owner' ? DIED_INSIDE : DIED_BETWEEN;
}

function exclusion(view: View, threads: number): string | undefined {
  const inside: number[] = [];
  for (let thread = 0; thread < threads; thread++) {
    if (isInside(view, thread)) inside.push(thread);
  }
  return inside.length > 1 ? `exclusion: ${inside.join(' and ')} are inside` : undefined;
}

/** When all threads rest, each sleeper waits for an owner. */
function lostWakeUp(view: View, threads: number): string | undefined {
  const [sleeper] = sleepersAtRest(view, threads);
  if (sleeper === undefined) return undefined;
  for (let thread = 0; thread < threads; thread++) {
    if (isInside(view, thread)) return undefined;
  }
  return `lost wake-up: ${sleeper} sleeps although nobody owns the lock`;
}
