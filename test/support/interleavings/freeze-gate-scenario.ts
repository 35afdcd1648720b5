/**
 * Systems of threads at a freeze gate. A program is a list of calls: `E` enters, stays and leaves;
 * `tE` tries to enter; `F` freezes, stays and thaws; `C` closes the machine and stays until the end
 * of its program. `aE` and `aF` may be aborted while they wait.
 */
import { FREEZE_GATE, type FreezeGate } from '../../../src/shared/sync/freeze-gate.ts';
import { THREAD_SLOT, THREAD_TABLE_WORDS } from '../../../src/shared/sync/thread-layout.ts';
import { ThreadTable } from '../../../src/shared/sync/thread-table.ts';
import type { Op, Program, ProgramContext, Run } from './recorded-atomics.ts';
import { SLEEPS, type System, type View } from './system.ts';
import { type Head, type Knowledge, ThreadAutomaton } from './thread-automaton.ts';
import {
  HIGH_WATER_WORD,
  heldWord,
  isInside,
  isOfIds,
  POISON_WORD,
  sleepersAtRest,
  sleepsForEver,
  slotWord,
  threadWords,
  wrongPoison,
} from './thread-words.ts';

export interface GateOptions {
  readonly programs: readonly string[];
  readonly gateClass: typeof FreezeGate;
  readonly victim?: number;
}

const FREEZERS_WORD = THREAD_TABLE_WORDS + FREEZE_GATE.FREEZERS;
const CHANGES_WORD = THREAD_TABLE_WORDS + FREEZE_GATE.CHANGES;
const WAITERS_WORD = THREAD_TABLE_WORDS + FREEZE_GATE.WAITERS;

function parts(context: ProgramContext, gateClass: typeof FreezeGate) {
  const table = new ThreadTable(context.words, 0, true);
  return { table, gate: new gateClass(context.words, THREAD_TABLE_WORDS, table) };
}

function programOf(text: string, id: number, gateClass: typeof FreezeGate): Program {
  return async (context) => {
    const { gate } = parts(context, gateClass);
    let given = 'done';
    for (const call of text.split(' ')) {
      context.begin(call);
      given = 'done'; // the outcome is that of the last call: a program remembers nothing else
      if (call === 'C') {
        gate.shut();
        await gate.whenEmpty();
        context.pause('closed');
        continue;
      }
      if (call.endsWith('F')) {
        await gate.freeze(id, call === 'aF' ? context.signal : undefined);
        context.pause('frozen');
        gate.thaw(id);
        continue;
      }
      if (call === 'aE') await gate.enterAsync(id, context.signal);
      else if (call === 'E') gate.enter(id);
      else if (!gate.tryEnter(id)) {
        given = 'refused';
        continue;
      }
      context.pause('inside');
      gate.leave(id);
    }
    return given;
  };
}

function findHead({ op }: Run): Head | undefined {
  return op?.kind === 'load' && op.at === CHANGES_WORD ? { isCounted: false } : undefined;
}

/** The code uses these results only to learn whether a freezer or a waiter exists. */
function alike({ kind, at }: Op, result: number): readonly number[] {
  if (kind === 'load') {
    return (at === FREEZERS_WORD || at === WAITERS_WORD) && result !== 0 ? [1] : [];
  }
  return kind === 'or' || kind === 'compareExchange' ? [] : [0];
}

export async function gateSystem({ programs, gateClass, victim }: GateOptions): Promise<System> {
  const all = programs.map((text, id) => programOf(text, id, gateClass));
  if (victim !== undefined) {
    all.push((context) => {
      const { table, gate } = parts(context, gateClass);
      if (!table.declareDead(victim)) return undefined;
      gate.abandon(victim);
      table.bury(victim);
      return undefined;
    });
  }
  const knowledge: Knowledge = { findHead, alike, ticketWord: -1 };
  const threads: ThreadAutomaton[] = [];
  for (const program of all) threads.push(await ThreadAutomaton.of(program, knowledge));
  return {
    threads,
    words: threadWords(programs.length).set(FREEZERS_WORD, 0).set(WAITERS_WORD, 0),
    counters: new Set([CHANGES_WORD]),
    isPrivate: (thread, { kind, at }: Op) =>
      at === HIGH_WATER_WORD || at === POISON_WORD
        ? kind === 'load' &&
          (at === HIGH_WATER_WORD || !programs.some((text) => text.includes('C')))
        : isOfIds(at) || (at === heldWord(thread) && thread !== victim),
    abortable: programs.flatMap((text, id) => (text.includes('a') ? [id] : [])),
    ...(victim === undefined ? {} : { victim, host: programs.length }),
    check: (view) => exclusion(view, programs.length) ?? lostWakeUp(view, programs.length),
    ended: (view) => ended(view, programs.length),
  };
}

function exclusion(view: View, threads: number): string | undefined {
  const places = new Set<string>();
  for (let thread = 0; thread < threads; thread++) {
    if (isInside(view, thread)) places.add(view.node(thread).where);
  }
  return places.has('inside') && places.size > 1
    ? 'exclusion: a thread is inside although it is frozen'
    : undefined;
}

/** When all threads rest, one that waits to enter waits for a freezer, a freezer for one inside. */
function lostWakeUp(view: View, threads: number): string | undefined {
  for (const sleeper of sleepersAtRest(view, threads)) {
    const freezes = /[FC]$/.test(view.node(sleeper).call);
    let hasReason = false;
    for (let other = 0; other < threads; other++) {
      const { where, call } = view.node(other);
      if (isInside(view, other)) hasReason ||= where === (freezes ? 'inside' : 'frozen');
      else if (view.status(other) === SLEEPS) hasReason ||= !freezes && call.endsWith('F');
    }
    if (!hasReason) return `lost wake-up: ${sleeper} sleeps without a reason`;
  }
  return undefined;
}

function ended(view: View, threads: number): string | undefined {
  if (view.word(FREEZERS_WORD) !== 0) return 'rest: somebody freezes still';
  for (let thread = 0; thread < threads; thread++) {
    if (view.word(slotWord(thread) + THREAD_SLOT.GATE) !== 0) return `rest: ${thread} is inside`;
  }
  return sleepsForEver(view, threads) ?? wrongPoison(view);
}
