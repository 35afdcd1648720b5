/**
 * Histories of memory system calls, as data. A history runs both on the real kernel (real-linux.c)
 * and on the simulated machine (simulated-history.ts), and must print the same transcript on both.
 *
 * A place is a page offset into a window at WINDOW_BASE, and a length is a number of pages; both
 * may have a fraction of n / 4096, for unaligned values. At first the window is empty.
 */
import { PAGE_SIZE } from '../../../src/shared/page.ts';

export const WINDOW_BASE = 0x1000_0000_0000;

/** Size of a file in pages and bytes: page i is filled with one byte value, the last is partial. */
export interface FileSpec {
  readonly kind: 'memfd' | 'tmpfs' | 'disk';
  readonly pages: number;
  readonly bytes: number;
}

interface At {
  readonly at: number;
}
interface Range extends At {
  readonly pages: number;
}

/** One system call, load or store. `file` is an index into the history's files, -1 a bad one. */
export type Call =
  | (Range & {
      readonly op: 'mmap';
      readonly prot: string;
      readonly flags: readonly string[];
      readonly file: number;
      readonly offset: number;
    })
  | (Range & { readonly op: 'munmap' | 'munlock' | 'mincore' })
  | (Range & { readonly op: 'mprotect'; readonly prot: string })
  | (Range & {
      readonly op: 'mremap';
      readonly newPages: number;
      readonly flags: readonly string[];
      readonly newAt: number;
    })
  | (Range & { readonly op: 'madvise'; readonly advice: string })
  | (Range & { readonly op: 'mlock' | 'msync'; readonly flags: readonly string[] })
  | (At & { readonly op: 'brk' | 'heap' }) // heap: start_brk and brk point here from now on
  | (At & { readonly op: 'write'; readonly bytes: number; readonly value: number })
  | (At & { readonly op: 'read'; readonly bytes: number });

export type Action =
  | Call
  | { readonly op: 'fork' }
  | { readonly op: 'exit' }
  | { readonly op: 'contents' };

/** An action of one process: `process` is an index into the living ones, modulo their number. */
export type Step = Action & { readonly process: number };

export interface History {
  readonly files: readonly FileSpec[];
  readonly steps: readonly Step[];
}

/** A step that runs: process numbers are never reused, and a fork names its child. */
export type PlannedStep =
  | (Call & { readonly process: number })
  | { readonly op: 'fork'; readonly process: number; readonly child: number }
  | { readonly op: 'exit' | 'contents' | 'look'; readonly process: number };

export interface Plan {
  readonly files: readonly FileSpec[];
  readonly steps: readonly PlannedStep[];
}

/** Processes that a history may have in all. */
export const MAX_PROCESSES = 5;

/**
 * Plans a history so that any list of steps can run: each step goes to a living process, and the
 * plan omits a fork beyond the limit, the exit of the last process and a brk without a heap. At the
 * end every process prints what it reads.
 */
export function planOf({ files, steps }: History): Plan {
  const living = [0];
  const planned: PlannedStep[] = [];
  let born = 1;
  let hasHeap = false;
  for (const { process: index, ...action } of steps) {
    const process = living[index % living.length]!;
    hasHeap ||= action.op === 'heap';
    if (action.op === 'brk' && !hasHeap) continue; // the C program's own heap is elsewhere
    if (action.op === 'contents') {
      for (const each of living) planned.push({ op: 'contents', process: each });
    } else if (action.op === 'fork') {
      if (born === MAX_PROCESSES) continue;
      living.push(born);
      planned.push({ op: 'fork', process, child: born }, { op: 'look', process: born });
      born++;
    } else if (action.op === 'exit') {
      if (living.length === 1) continue;
      living.splice(living.indexOf(process), 1);
      planned.push({ op: 'exit', process });
    } else {
      planned.push({ ...action, process });
    }
  }
  for (const process of living) planned.push({ op: 'contents', process });
  return { files, steps: planned };
}

/** Writes PAGES or PAGES+BYTES; a length of 2^64 - 4096 bytes is exact, too. */
export function placeText(pages: number): string {
  const whole = Math.floor(pages);
  const bytes = (pages - whole) * PAGE_SIZE;
  return bytes === 0 ? `${whole}` : `${whole}+${bytes}`;
}

function list(flags: readonly string[]): string {
  return flags.length === 0 ? '-' : flags.join(',');
}

/** Returns a step as both transcripts and the C program's input write it. */
export function stepText(step: PlannedStep): string {
  const words: (string | number)[] = [step.process, step.op];
  if (step.op === 'fork') words.push(step.child);
  if ('at' in step) words.push(placeText(step.at));
  if ('pages' in step) words.push(placeText(step.pages));
  if ('bytes' in step) words.push(step.bytes);
  if (step.op === 'mmap') {
    const file = step.file < 0 ? '-' : step.file;
    words.push(step.prot || '-', list(step.flags), file, placeText(step.offset));
  } else if (step.op === 'mremap') {
    words.push(placeText(step.newPages), list(step.flags), placeText(step.newAt));
  } else if (step.op === 'mprotect') words.push(step.prot || '-');
  else if (step.op === 'madvise') words.push(step.advice);
  else if (step.op === 'mlock' || step.op === 'msync') words.push(list(step.flags));
  else if (step.op === 'write') words.push(step.value);
  return words.join(' ');
}

/** The input of real-linux.c. */
export function scriptOf(plan: Plan): string {
  const files = plan.files.map(({ kind, pages, bytes }) => `file ${kind} ${pages} ${bytes}`);
  return ['history', ...files, ...plan.steps.map(stepText), 'end', ''].join('\n');
}

/** Parses PAGES or PAGES+BYTES into pages, which may have a fraction. */
export function pagesOf(word: string): number {
  const [whole, bytes = '0'] = word.split('+');
  return Number(whole) + Number(bytes) / PAGE_SIZE;
}

function flagsOf(word: string): string[] {
  return word === '-' ? [] : word.split(',');
}

/** Parses a step of the fixed histories: 'PROCESS OP …' or 'OP …'. */
export function parseStep(line: string): Step {
  const words = line.trim().split(/\s+/);
  const process = /^\d+$/.test(words[0]!) ? Number(words.shift()) : 0;
  const [op, ...rest] = words as [Action['op'], ...string[]];
  const [first = '0', second = '0', third = '-', fourth = '-', fifth = '-', sixth = '0'] = rest;
  const at = pagesOf(first);
  const range = { at, pages: pagesOf(second) };
  switch (op) {
    case 'mmap': {
      const prot = third === '-' ? '' : third;
      const file = fifth === '-' ? -1 : Number(fifth);
      return { process, op, ...range, prot, flags: flagsOf(fourth), file, offset: pagesOf(sixth) };
    }
    case 'mremap': {
      const newPages = pagesOf(third);
      const newAt = fifth === '-' ? 0 : pagesOf(fifth);
      return { process, op, ...range, newPages, flags: flagsOf(fourth), newAt };
    }
    case 'mprotect':
      return { process, op, ...range, prot: third === '-' ? '' : third };
    case 'madvise':
      return { process, op, ...range, advice: third };
    case 'mlock':
    case 'msync':
      return { process, op, ...range, flags: flagsOf(third) };
    case 'munmap':
    case 'munlock':
    case 'mincore':
      return { process, op, ...range };
    case 'brk':
    case 'heap':
      return { process, op, at };
    case 'write':
      return { process, op, at, bytes: Number(second), value: Number(third) };
    case 'read':
      return { process, op, at, bytes: Number(second) };
    default:
      return { process, op };
  }
}

/** Parses a step of a transcript: the reverse of `stepText`. */
export function parsePlannedStep(line: string): PlannedStep {
  const [process, op, child] = line.split(' ');
  if (op === 'fork') return { op, process: Number(process), child: Number(child) };
  return parseStep(line) as PlannedStep;
}

/** Byte value of page i of file k; real-linux.c fills its files by the same rule. */
export function fileByte(k: number, page: number): number {
  return (0x10 * (k + 1) + (page % 16)) & 0xff;
}

export function fileContent(k: number, { pages, bytes }: FileSpec): Uint8Array {
  const content = new Uint8Array(pages * PAGE_SIZE + bytes);
  for (let page = 0; page <= pages; page++) {
    content.fill(fileByte(k, page), page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  }
  return content;
}
