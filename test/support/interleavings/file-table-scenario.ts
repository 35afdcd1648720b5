/**
 * Systems of threads that create, find, unlink and close files of one path in one file table.
 *
 * A program is a list of calls, each of which drops its reference at the end: `C` creates a file
 * whose name keeps it; `H` creates one whose name does not, as for a host file; `O` looks the path
 * up; `U` looks it up and unlinks the file that it found. In between, the thread holds its
 * reference for any length of time. `with` is the number of files that exist at the start, each
 * kept by its name.
 */
import {
  FILE_BACKING,
  FILE_KIND,
  FILE_RECORD,
  FILE_TABLE,
} from '../../../src/mmu/files/file-record.ts';
import { type FileTable, fileTableWords } from '../../../src/mmu/files/file-table.ts';
import type { Store } from '../../../src/mmu/files/store.ts';
import { RANK } from '../../../src/shared/sync/held-locks.ts';
import { THREAD_TABLE_WORDS } from '../../../src/shared/sync/thread-layout.ts';
import { ThreadTable } from '../../../src/shared/sync/thread-table.ts';
import { DIED_WRITING } from '../../../src/shared/sync/trust.ts';
import type { Op, Program, Run } from './recorded-atomics.ts';
import type { System, View } from './system.ts';
import { type Head, type Knowledge, ThreadAutomaton } from './thread-automaton.ts';
import { heldWord, isInside, POISON_WORD, threadWords } from './thread-words.ts';

export interface FilesOptions {
  readonly programs: readonly string[];
  readonly tableClass: typeof FileTable;
  readonly with?: number;
  readonly victim?: number;
}

/** Records of the table, a power of two. */
const CAPACITY = 4;
const FILES_AT = THREAD_TABLE_WORDS;
/**
 * References to the bytes that a thread has put into the store; the offset identifies the thread.
 */
const STORE_AT = FILES_AT + fileTableWords(CAPACITY);
const PLACES = 8;
const WORDS = STORE_AT + PLACES;
const LOCK_WORD = FILES_AT + FILE_TABLE.LOCK;
const PATH = Buffer.from('p');
const FIELDS = { path: PATH, kind: FILE_KIND.NAMED, backing: FILE_BACKING.NONE, size: 1 } as const;

/**
 * A store without a lock of its own: it only counts references, and every string is the one path.
 */
function storeOn(words: Int32Array): Store {
  const counting = {
    add: (bytes: Uint8Array, thread: number) => {
      if (bytes.length === 0) return 0;
      Atomics.add(words, STORE_AT + thread, 1);
      return STORE_AT + thread;
    },
    put: (at: number) => {
      if (at !== 0) Atomics.sub(words, at, 1);
    },
    view: () => PATH,
  };
  return counting as unknown as Store;
}

function filesOn(words: Int32Array, tableClass: typeof FileTable): FileTable {
  const table = new ThreadTable(words, 0, true);
  return new tableClass(words, FILES_AT, CAPACITY, storeOn(words), table, true);
}

function put(files: FileTable, id: number, thread: number): void {
  if (files.dropReference(id, thread)) files.free(id, thread);
}

/** Returns the id of the file to which the call now has a reference, or 0. */
function begin(files: FileTable, call: string, thread: number): number {
  if (call === 'C') return files.create(FIELDS, thread);
  if (call === 'H') return files.create({ ...FIELDS, kind: 0 }, thread);
  return files.open(PATH, thread);
}

function programOf(text: string, id: number, tableClass: typeof FileTable): Program {
  return (context) => {
    const files = filesOn(context.words, tableClass);
    new ThreadTable(context.words, 0, true).hold(id, RANK.GATE);
    for (const call of text.split(' ')) {
      context.begin(call);
      const file = begin(files, call, id);
      if (file === 0) continue;
      context.pause(`has ${file}`);
      if (call === 'U' && files.unlink(file, id)) put(files, file, id);
      put(files, file, id);
    }
    return undefined;
  };
}

/** Does what `threadGone` does for the table. */
function reap(words: Int32Array, victim: number, tableClass: typeof FileTable): void {
  const table = new ThreadTable(words, 0, true);
  if (!table.declareDead(victim)) return;
  const isWriting =
    table.diedWriting(victim) || filesOn(words, tableClass).tableLockOwner === victim;
  if (isWriting) table.poison(DIED_WRITING, victim);
  table.bury(victim);
}

/** The initial words: a table with some files, each created by a thread that does not run. */
function firstWords({ programs, tableClass, with: files = 0 }: FilesOptions): Map<number, number> {
  const words = new Int32Array(WORDS);
  const table = new ThreadTable(words, 0, true);
  for (let file = 0; file < files; file++) {
    const maker = PLACES - 1;
    table.hold(maker, RANK.GATE);
    const real = filesOn(words, tableClass);
    put(real, real.create(FIELDS, maker), maker);
  }
  const first = threadWords(programs.length);
  for (let at = FILES_AT; at < WORDS; at++) first.set(at, words[at]!);
  return first;
}

export async function filesSystem(options: FilesOptions): Promise<System> {
  const { programs, tableClass, victim } = options;
  const all = programs.map((text, id) => programOf(text, id, tableClass));
  if (victim !== undefined) {
    all.push((context) => {
      reap(context.words, victim, tableClass);
      return undefined;
    });
  }
  const knowledge: Knowledge = { findHead, alike, remembers, ticketWord: -1 };
  const threads: ThreadAutomaton[] = [];
  for (const program of all) threads.push(await ThreadAutomaton.of(program, knowledge));
  return {
    threads,
    words: firstWords(options),
    counters: new Set(),
    isPrivate: (thread, { at }: Op) => at === heldWord(thread) && thread !== victim,
    ...(victim === undefined ? {} : { victim, host: programs.length }),
    check: (view) => lostFile(view, programs.length),
    ended: (view) => (victim === undefined ? leftOver(view) : undefined),
  };
}

/** The spin loop reads its word again and again, and at times checks who the owner is. */
function findHead({ op, steps }: Run): Head | undefined {
  const isLook = op?.kind === 'load' && op.at === LOCK_WORD;
  return isLook && steps.at(-1)?.op.at !== POISON_WORD ? { isCounted: true } : undefined;
}

/**
 * All that the call has read in the table so far; earlier values of the lock word do not matter.
 */
function remembers({ steps, calls }: Run): string {
  const found: string[] = [];
  for (const { op, result, call } of steps) {
    const isLock = op.at < FILES_AT || (op.at === LOCK_WORD && op.kind !== 'store');
    if (call === calls && !isLock) found.push(`${op.at}=${result}`);
  }
  return found.join(' ');
}

/** The code ignores the results of these operations. */
function alike({ kind }: Op): readonly number[] {
  return kind === 'store' || kind === 'add' || kind === 'sub' ? [0] : [];
}

function recordWord(file: number, field: number): number {
  return FILES_AT + FILE_TABLE.RECORDS + (file - 1) * FILE_RECORD.WORDS + field;
}

/** Complains unless a thread with a reference finds its record and path unchanged. */
function lostFile(view: View, threads: number): string | undefined {
  for (let thread = 0; thread < threads; thread++) {
    if (!isInside(view, thread)) continue;
    const file = Number(view.node(thread).where.slice('has '.length));
    if (view.word(recordWord(file, FILE_RECORD.REFERENCES)) < 1) {
      return `freed: ${thread} has file ${file}, and nobody knows`;
    }
    const path = view.word(recordWord(file, FILE_RECORD.PATH_AT));
    if (view.word(path) < 1) return `freed: the path of file ${file}, which ${thread} has`;
  }
  for (let place = 0; place < PLACES; place++) {
    if (view.word(STORE_AT + place) < 0) return `freed twice: a path of ${place}`;
  }
  return undefined;
}

/** Complains unless, at the end, the free list, the index and the store know the same files. */
function leftOver(view: View): string | undefined {
  const free = new Set<number>();
  for (let id = view.word(FILES_AT + FILE_TABLE.FREE); id !== 0; ) {
    if (free.has(id)) return 'rest: the free list is a ring';
    free.add(id);
    id = view.word(recordWord(id, FILE_RECORD.NEXT));
  }
  const found = new Set<number>();
  for (let bucket = 0; bucket < CAPACITY; bucket++) {
    const at = FILES_AT + FILE_TABLE.RECORDS + CAPACITY * FILE_RECORD.WORDS + bucket;
    for (let id = view.word(at); id !== 0; id = view.word(recordWord(id, FILE_RECORD.NEXT))) {
      if (found.has(id)) return 'rest: a chain is a ring';
      found.add(id);
    }
  }
  let paths = 0;
  for (let place = 0; place < PLACES; place++) paths += view.word(STORE_AT + place);
  if (paths !== found.size) return `rest: ${paths} paths for ${found.size} files`;
  for (let id = 1; id <= view.word(FILES_AT + FILE_TABLE.HIGH_WATER); id++) {
    const references = view.word(recordWord(id, FILE_RECORD.REFERENCES));
    if (found.has(id) ? references !== 1 : references !== 0 || !free.has(id)) {
      return `rest: file ${id} has ${references} references`;
    }
  }
  return undefined;
}
