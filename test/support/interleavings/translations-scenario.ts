/**
 * Systems of threads that use translations of one page and take them away. The leaf of the page is
 * a word, protected by a lock; it names frame 1 at first. A program is a list of calls:
 *
 *   `U`  goes inside by the mm, translates unless it has a translation of the epoch, goes inside
 *        again, and uses the translation for any length of time if it is of the epoch that it found
 *   `L`  as `U`, but looks at the epoch again and again, and leaves when it has moved on, or when all
 *        threads that take translations away have ended
 *   `R`  takes the lock, takes the translations away, and changes the leaf: to the next frame
 *   `aR` the same, asynchronously; it may be aborted while it waits, and then changes nothing
 *   `F`  freezes, stays and thaws
 *   `C`  closes the machine
 *
 * The user of `U` never looks at the epoch while it is inside, so the order in which its plain
 * looks become visible does not matter.
 */
import { FREEZE_GATE, FreezeGate } from '../../../src/shared/sync/freeze-gate.ts';
import { epochAt, MM_EPOCH } from '../../../src/shared/sync/gate-place.ts';
import { THREAD_SLOT, THREAD_TABLE_WORDS } from '../../../src/shared/sync/thread-layout.ts';
import { ThreadTable } from '../../../src/shared/sync/thread-table.ts';
import type { Translations } from '../../../src/shared/sync/translations.ts';
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
} from './thread-words.ts';

export interface TranslationsOptions {
  readonly programs: readonly string[];
  readonly translationsClass: typeof Translations;
  readonly gateClass?: typeof FreezeGate;
  readonly victim?: number;
}

const SLOT = 3;
const GATE_AT = THREAD_TABLE_WORDS;
const FREEZERS_WORD = GATE_AT + FREEZE_GATE.FREEZERS;
const CHANGES_WORD = GATE_AT + FREEZE_GATE.CHANGES;
const WAITERS_WORD = GATE_AT + FREEZE_GATE.WAITERS;
const EPOCH_WORD = epochAt(GATE_AT, SLOT);
const USED_WORD = EPOCH_WORD + MM_EPOCH.USED;
const LOCK_WORD = EPOCH_WORD + 100;
const LEAF_WORD = LOCK_WORD + 1;
/** How many threads that take translations away have not ended. */
const LEFT_WORD = LOCK_WORD + 2;

function parts({ words }: ProgramContext, options: TranslationsOptions) {
  const table = new ThreadTable(words, 0, true);
  const gate = new (options.gateClass ?? FreezeGate)(words, GATE_AT, table);
  return { table, gate, translations: new options.translationsClass(words, GATE_AT, gate, table) };
}

type Parts = ReturnType<typeof parts>;

/** Goes inside by the mm, and waits while the machine is frozen. */
function enter({ gate, translations }: Parts, id: number): number {
  while (!translations.tryEnter(id, SLOT)) {
    gate.enter(id);
    gate.leave(id);
  }
  return translations.seen;
}

function lock({ words }: ProgramContext, id: number): void {
  while (Atomics.compareExchange(words, LOCK_WORD, 0, id + 1) !== 0);
}

function unlock({ words }: ProgramContext): void {
  Atomics.store(words, LOCK_WORD, 0);
}

/** Reads the leaf under its lock, as a miss does. */
function translate(context: ProgramContext, all: Parts, id: number) {
  all.gate.enter(id);
  lock(context, id);
  const epoch = all.translations.make(SLOT);
  const frame = Atomics.load(context.words, LEAF_WORD);
  unlock(context);
  all.gate.leave(id);
  return { epoch, frame };
}

function changeLeaf(context: ProgramContext): void {
  const { words } = context;
  Atomics.store(words, LEAF_WORD, Atomics.load(words, LEAF_WORD) + 1);
  context.pause('changed');
}

async function revokes(context: ProgramContext, all: Parts, id: number, call: string) {
  const { gate, translations } = all;
  gate.enter(id);
  lock(context, id);
  try {
    if (call === 'R') translations.revoke(SLOT, true);
    else await translations.revokeAsync(SLOT, context.signal);
    changeLeaf(context);
  } finally {
    unlock(context);
    gate.leave(id);
  }
}

const NONE = { epoch: -1, frame: 0 };

/** Returns the translation that the user keeps. */
function uses(context: ProgramContext, all: Parts, id: number, kept: typeof NONE, call: string) {
  const { translations } = all;
  let known = kept;
  if (enter(all, id) !== known.epoch) {
    translations.leave(id);
    known = translate(context, all, id);
    if (enter(all, id) !== known.epoch) known = NONE;
  }
  if (known !== NONE) context.pause(`uses ${known.frame}`);
  if (call === 'L') {
    const { words } = context;
    while (Atomics.load(words, LEFT_WORD) > 0) {
      if (Atomics.load(words, EPOCH_WORD) !== translations.seen) break;
    }
  }
  translations.leave(id);
  return known;
}

function isUser(text: string): boolean {
  return /^[UL ]+$/.test(text);
}

function programOf(text: string, id: number, options: TranslationsOptions): Program {
  return async (context) => {
    const all = parts(context, options);
    let known = NONE;
    for (const call of text.split(' ')) {
      context.begin(call);
      if (call === 'F') {
        await all.gate.freeze(id);
        context.pause('frozen');
        all.gate.thaw(id);
      } else if (call === 'C') {
        all.gate.shut();
        await all.gate.whenEmpty();
        context.pause('closed');
      } else if (call.endsWith('R')) await revokes(context, all, id, call);
      else known = uses(context, all, id, known, call);
    }
    if (!isUser(text)) Atomics.sub(context.words, LEFT_WORD, 1);
    return 'done';
  };
}

function findHead({ op, call, calls, steps }: Run): Head | undefined {
  if (op?.kind === 'compareExchange' && op.at === LOCK_WORD) return { isCounted: false };
  if (op?.kind !== 'load') return undefined;
  if (op.at === CHANGES_WORD) return { isCounted: false };
  if (op.at === LEFT_WORD) return { isCounted: false };
  const mine = steps.filter((step) => step.call === calls);
  // The spin loop of a revoker begins by reading HIGH_WATER, once the epoch has moved on.
  const hasMoved = mine.some((step) => step.op.kind === 'add' && step.op.at === EPOCH_WORD);
  const sleeps = mine.some((step) => step.op.kind === 'add' && step.op.at === WAITERS_WORD);
  const isSpin = op.at === HIGH_WATER_WORD && call.endsWith('R') && hasMoved && !sleeps;
  return isSpin ? { isCounted: true } : undefined;
}

const REMEMBERED = new Set([EPOCH_WORD, LEAF_WORD, FREEZERS_WORD]);

/**
 * What a user knows is what it has read of the epoch and of the leaf, and how far it has come is
 * what it has read of the freezers; turns of a loop are one.
 */
function remembers({ steps }: Run): string {
  const read = steps.filter(({ op: { kind, at } }) => kind !== 'store' && REMEMBERED.has(at));
  const told = read.map(({ op: { kind, at }, result }) => {
    return `${kind} ${at} ${at === FREEZERS_WORD ? result !== 0 : result}`;
  });
  return told.filter((each, at) => each !== told[at - 1]).join();
}

function alike({ kind, at }: Op, result: number): readonly number[] {
  if (kind === 'load') {
    const isCount = at === FREEZERS_WORD || at === WAITERS_WORD || at === LEFT_WORD;
    return isCount && result !== 0 ? [1] : [];
  }
  const isLooked = kind === 'or' || kind === 'compareExchange' || at === EPOCH_WORD;
  return isLooked ? [] : [0];
}

export async function translationsSystem(options: TranslationsOptions): Promise<System> {
  const { programs, victim } = options;
  const all = programs.map((text, id) => programOf(text, id, options));
  if (victim !== undefined) {
    all.push((context) => {
      const { table, gate } = parts(context, options);
      if (!table.declareDead(victim)) return undefined;
      // A user that dies with the lock has changed nothing: its lock is broken.
      Atomics.compareExchange(context.words, LOCK_WORD, victim + 1, 0);
      gate.abandon(victim);
      table.bury(victim);
      return undefined;
    });
  }
  const knowledge: Knowledge = { findHead, alike, remembers, ticketWord: -1 };
  const threads: ThreadAutomaton[] = [];
  for (const program of all) threads.push(await ThreadAutomaton.of(program, knowledge));
  const words = threadWords(programs.length).set(FREEZERS_WORD, 0).set(WAITERS_WORD, 0);
  for (const at of [EPOCH_WORD, USED_WORD, LOCK_WORD]) words.set(at, 0);
  words.set(LEFT_WORD, programs.filter((text) => !isUser(text)).length);
  const closes = programs.some((text) => text.includes('C'));
  return {
    threads,
    words: words.set(LEAF_WORD, 1),
    counters: new Set([CHANGES_WORD]),
    isPrivate: (thread, { kind, at }: Op) =>
      at === HIGH_WATER_WORD || at === POISON_WORD
        ? kind === 'load' && (at === HIGH_WATER_WORD || !closes)
        : isOfIds(at) || (at === heldWord(thread) && thread !== victim),
    abortable: programs.flatMap((text, id) => (text.includes('a') ? [id] : [])),
    ...(victim === undefined ? {} : { victim, host: programs.length }),
    check: (view) => stale(view, programs.length) ?? lostWakeUp(view, programs.length),
    ended: (view) => ended(view, programs.length),
  };
}

/** A store by the translation would be lost, or come while the machine is frozen. */
function stale(view: View, threads: number): string | undefined {
  const places: string[] = [];
  for (let thread = 0; thread < threads; thread++) {
    if (isInside(view, thread)) places.push(view.node(thread).where);
  }
  const used = places.filter((where) => where.startsWith('uses'));
  if (used.some((where) => where !== `uses ${view.word(LEAF_WORD)}`)) {
    return 'stale: a translation is used whose leaf has changed';
  }
  const isStopped = places.includes('frozen') || places.includes('closed');
  return isStopped && used.length > 0 ? 'frozen: a translation is used' : undefined;
}

/** When all threads rest, one that sleeps waits for a user, or for the end of a freeze. */
function lostWakeUp(view: View, threads: number): string | undefined {
  for (const sleeper of sleepersAtRest(view, threads)) {
    const { call } = view.node(sleeper);
    const wanted = /[FCR]$/.test(call) ? /^(uses|changed)/ : /^(frozen|changed)/;
    let hasReason = false;
    for (let other = 0; other < threads; other++) {
      if (isInside(view, other)) hasReason ||= wanted.test(view.node(other).where);
      // A freezer that waits keeps others out already, and is woken by a user.
      else if (other !== sleeper && view.status(other) === SLEEPS) hasReason = true;
    }
    if (!hasReason && !/R$/.test(call)) return `lost wake-up: ${sleeper} sleeps without a reason`;
  }
  return undefined;
}

function ended(view: View, threads: number): string | undefined {
  for (let thread = 0; thread < threads; thread++) {
    if (view.word(slotWord(thread) + THREAD_SLOT.GATE) !== 0) return `rest: ${thread} is inside`;
  }
  if (view.death === 0 && view.word(WAITERS_WORD) !== 0) return 'rest: WAITERS is not 0';
  return sleepsForEver(view, threads);
}
