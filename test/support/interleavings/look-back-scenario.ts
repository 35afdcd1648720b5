/**
 * Systems of workers that find by look-back where their units begin. Each worker claims units until
 * none is left, as the workers of a phase do. If the victim dies, its host stops the other workers.
 */
import { LOOK_BACK, LookBack, UNIT_PLACE } from '../../../src/shared/dump/look-back.ts';
import type { Op, Program, ProgramContext, Run } from './recorded-atomics.ts';
import type { System, View } from './system.ts';
import { type Head, type Knowledge, ThreadAutomaton } from './thread-automaton.ts';
import { sleepsForEver } from './thread-words.ts';

export interface LookBackOptions {
  readonly workers: number;
  readonly units: number;
  readonly lookBackClass?: typeof LookBack;
  readonly victim?: number;
}

const { CHANGES } = LOOK_BACK;
const PLACED = 2;
/** The place where unit 0 begins. */
const FIRST = 64;

/**
 * Size of a unit in bytes. No two sets of units have the same sum, so a wrong sum is always
 * noticed.
 */
function sizeOf(unit: number): number {
  return 2 ** unit;
}

function endOf(unit: number): number {
  return FIRST + 2 ** (unit + 1) - 1;
}

function wordOf(unit: number, field: number): number {
  return LOOK_BACK.UNITS + unit * UNIT_PLACE.WORDS + field;
}

/** The words of the phase: the next unit, and the stop word. */
function phaseWords(units: number): { readonly next: number; readonly stop: number } {
  const next = wordOf(units, 0);
  return { next, stop: next + 1 };
}

function programOf({ units, lookBackClass = LookBack }: LookBackOptions): Program {
  const { next, stop } = phaseWords(units);
  return (context: ProgramContext) => {
    const { words } = context;
    const lookBack = new lookBackClass(words);
    const stopWord = {
      get isStopped(): boolean {
        return Atomics.load(words, stop) !== 0;
      },
    };
    for (;;) {
      context.begin('unit');
      if (stopWord.isStopped) return 'stopped by the host';
      const unit = Atomics.add(words, next, 1);
      if (unit >= units) return 'done';
      lookBack.publishSize(unit, sizeOf(unit));
      const start = lookBack.startOf(unit, FIRST, stopWord);
      if (start < 0) return 'stopped by the host';
      lookBack.publishEnd(unit, start + sizeOf(unit));
    }
  };
}

/** Whenever a worker reads another unit's state, it forgets everything but its own unit. */
function findHead({ op, steps }: Run): Head | undefined {
  if (op?.kind !== 'load') return undefined;
  if (op.at === CHANGES) return { isCounted: false };
  const before = steps.at(-1)?.op;
  const isAgain = before?.kind === 'load' && before.at === op.at;
  return isAgain ? { isCounted: true } : undefined;
}

function alike({ kind }: Op): readonly number[] {
  return kind === 'store' || kind === 'notify' || kind === 'wait' ? [0] : [];
}

export async function lookBackSystem(options: LookBackOptions): Promise<System> {
  const { workers, units, victim } = options;
  const { next, stop } = phaseWords(units);
  const programs: Program[] = Array.from({ length: workers }, () => programOf(options));
  if (victim !== undefined) {
    programs.push(({ words }) => {
      Atomics.store(words, stop, 1);
      new (options.lookBackClass ?? LookBack)(words).wake();
      return undefined;
    });
  }
  const knowledge: Knowledge = { findHead, alike, ticketWord: next };
  const threads: ThreadAutomaton[] = [];
  for (const program of programs) threads.push(await ThreadAutomaton.of(program, knowledge));
  const words = new Map([
    [next, 0],
    [stop, 0],
  ]);
  for (let unit = 0; unit < units; unit++) {
    for (let field = 0; field < UNIT_PLACE.WORDS; field++) words.set(wordOf(unit, field), 0);
  }
  return {
    threads,
    words,
    counters: new Set([CHANGES]),
    isPrivate: () => false,
    ...(victim === undefined ? {} : { victim, host: workers }),
    check: (view) => wrongPlace(view, units),
    ended: (view) => sleepsForEver(view, workers) ?? unplaced(view, units, stop),
  };
}

/** Checks that every unit that states its end states the right one. */
function wrongPlace(view: View, units: number): string | undefined {
  for (let unit = 0; unit < units; unit++) {
    if (view.word(wordOf(unit, UNIT_PLACE.STATE)) !== PLACED) continue;
    const end = view.word(wordOf(unit, UNIT_PLACE.END));
    if (end !== endOf(unit)) return `place: unit ${unit} ends at ${end}, not at ${endOf(unit)}`;
  }
  return undefined;
}

/** Checks that every unit has its place, unless the workers were stopped. */
function unplaced(view: View, units: number, stop: number): string | undefined {
  if (view.word(stop) !== 0) return undefined;
  for (let unit = 0; unit < units; unit++) {
    const state = view.word(wordOf(unit, UNIT_PLACE.STATE));
    if (state !== PLACED) return `place: unit ${unit} has none at the end`;
  }
  return undefined;
}
