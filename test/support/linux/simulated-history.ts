/** Runs a history on the simulated machine; its transcript should equal that of Linux. */
import { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import { MmdumpError } from '../../../src/shared/errors.ts';
import { MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { assertTablesTrue } from '../machine/invariants.ts';
import { freeFrames } from '../machine/machine.ts';
import {
  type Action,
  type Call,
  type Plan,
  type PlannedStep,
  placeText,
  stepText,
  WINDOW_BASE,
} from './history.ts';
import { HistoryFixture } from './history-fixture.ts';
import { describePage, nameZeroFiles, runsOfPages } from './transcript.ts';

/** Mappings up to this distance from the base are listed: a growing stack leaves the window. */
const NEAR = 0x4000_0000;

/**
 * The letters that smaps prints for the VM_* flags (include/linux/mm.h), in smaps order. They are
 * listed here again, independently of src/shared/vm-flags.ts. Both sides omit letters that depend
 * on the kernel's configuration.
 */
const LETTERS: readonly (readonly [bit: number, letters: string])[] = [
  [0x1, 'rd'],
  [0x2, 'wr'],
  [0x4, 'ex'],
  [0x8, 'sh'],
  [0x10, 'mr'],
  [0x20, 'mw'],
  [0x40, 'me'],
  [0x80, 'ms'],
  [0x100, 'gd'],
  [0x2000, 'lo'],
  [0x4000, 'io'],
  [0x8000, 'sr'],
  [0x10000, 'rr'],
  [0x20000, 'dc'],
  [0x40000, 'de'],
  [0x80000, 'lf'],
  [0x100000, 'ac'],
  [0x200000, 'nr'],
  [0x2000000, 'wf'],
  [0x4000000, 'dd'],
  [0x10000000, 'mm'],
  [0x20000000, 'hg'],
  [0x40000000, 'nh'],
  [0x80000000, 'mg'],
];

/** The calls in their final form; calls that a machine does not have yet are never made. */
interface Calls {
  mremap(at: number, old: number, length: number, flags: readonly string[], to: number): number;
  brk(address: number): number;
  madvise(at: number, length: number, advice: string): void;
  mlock(at: number, length: number, flags: readonly string[]): void;
  munlock(at: number, length: number): void;
  mincore(at: number, length: number): Uint8Array;
  msync(at: number, length: number, flags: readonly string[]): void;
  fork(): AddressSpace;
  exit(): void;
}

const UNFINISHED = (process.env.MMDUMP_UNSUPPORTED ?? '').split(' ');

/**
 * Whether the simulated machine has a call at all. MMDUMP_UNSUPPORTED names more calls to omit,
 * separated by spaces: 'mremap', 'madvise:free', 'mmap:locked'.
 */
export function isSupported(action: Action): boolean {
  const methods = AddressSpace.prototype as unknown as Record<string, unknown>;
  const { op } = action;
  const method = op === 'heap' ? 'brk' : op;
  if (op !== 'contents' && typeof methods[method] !== 'function') return false;
  const names = [
    op,
    ...('flags' in action ? action.flags.map((flag) => `${op}:${flag}`) : []),
    ...('advice' in action ? [`${op}:${action.advice}`] : []),
  ];
  return !names.some((name) => UNFINISHED.includes(name));
}

function bytesOf(pages: number): number {
  return pages * PAGE_SIZE;
}

function addressOf(pages: number): number {
  return WINDOW_BASE + bytesOf(pages);
}

function placeOf(address: number): string {
  return placeText((address - WINDOW_BASE) / PAGE_SIZE);
}

function isNear(address: number): boolean {
  return address > WINDOW_BASE - NEAR && address < WINDOW_BASE + NEAR;
}

/** One run of a history: its processes by number, and its transcript. */
class Run {
  readonly lines: string[] = [];
  readonly #fixture: HistoryFixture;
  readonly #processes = new Map<number, AddressSpace>();
  readonly #hides: boolean;
  #steps = 0;
  /** Pages that were moved to the backing so far. */
  hidden = 0;

  constructor(fixture: HistoryFixture, hides: boolean) {
    this.#fixture = fixture;
    this.#hides = hides;
    this.#processes.set(0, fixture.machine.createAddressSpace());
  }

  step(step: PlannedStep): void {
    const { process } = step;
    const space = this.#processes.get(process)!;
    this.lines.push(stepText(step));
    if (this.#hides) this.#hide();
    if (step.op === 'exit') {
      (space as unknown as Calls).exit();
      this.#processes.delete(process);
      return;
    }
    if (step.op === 'contents') {
      this.lines.push(...runsOfPages(contents(space)));
      return;
    }
    if (step.op !== 'look') this.lines.push(`= ${this.#outcome(space, step)}`);
    this.#list(space);
  }

  /** Moves all pages of the processes to the backing, but not before every third step. */
  #hide(): void {
    if (this.#steps++ % 3 === 2) return;
    for (const space of this.#processes.values()) {
      this.hidden = this.#fixture.hiding.takePages(space, this.hidden);
    }
  }

  #outcome(space: AddressSpace, step: PlannedStep): string {
    try {
      if (step.op === 'fork') {
        this.#processes.set(step.child, (space as unknown as Calls).fork());
        return '0';
      }
      return this.#call(space, step as Call);
    } catch (error) {
      if (!(error instanceof MmdumpError)) throw error;
      if (!error.code.startsWith('SIG')) return error.code;
      const address = error.fields.address ?? Number.NaN;
      return `${error.code} ${placeOf(address - (address % PAGE_SIZE))}`;
    }
  }

  #call(space: AddressSpace, call: Call): string {
    const calls = space as unknown as Calls;
    const at = addressOf(call.at);
    const length = 'pages' in call ? bytesOf(call.pages) : 0;
    switch (call.op) {
      case 'mmap':
        return this.#mmap(space, call);
      case 'mremap': {
        const to = addressOf(call.newAt);
        const newLength = bytesOf(call.newPages);
        return mapped(space, calls.mremap(at, length, newLength, call.flags, to), newLength);
      }
      case 'mincore':
        return [...calls.mincore(at, length)].map((byte) => byte & 1).join('');
      case 'brk':
        return placeOf(calls.brk(at));
      case 'read': {
        const bytes = new Uint8Array(call.bytes);
        space.read(at, bytes);
        return Buffer.from(bytes).toString('hex');
      }
      case 'munmap':
        space.munmap(at, length);
        break;
      case 'mprotect':
        space.mprotect(at, length, call.prot as 'rw');
        break;
      case 'madvise':
        calls.madvise(at, length, call.advice);
        break;
      case 'mlock':
        calls.mlock(at, length, call.flags);
        break;
      case 'munlock':
        calls.munlock(at, length);
        break;
      case 'msync':
        calls.msync(at, length, call.flags);
        break;
      case 'heap':
        space.setAddresses({ start_brk: at, brk: at });
        break;
      case 'write':
        space.write(at, new Uint8Array(call.bytes).fill(call.value));
        break;
    }
    return '0';
  }

  #mmap(space: AddressSpace, call: Call & { readonly op: 'mmap' }): string {
    const length = bytesOf(call.pages);
    const address = space.mmap({
      address: addressOf(call.at),
      length,
      prot: call.prot as 'rw',
      flags: call.flags as ('private' | 'shared')[],
      ...(call.file < 0 ? {} : { file: this.#fixture.fileIds[call.file] ?? 9999 }),
      offset: bytesOf(call.offset),
    });
    return mapped(space, address, length);
  }

  #list(space: AddressSpace): void {
    const { vmas: table } = space.mm;
    for (const [ordinal, vma] of space.vmas().entries()) {
      if (!isNear(vma.start)) continue;
      const letters = LETTERS.filter(([bit]) => (vma.flags & bit) !== 0);
      const flags = letters.map(([, text]) => ` ${text}`).join('');
      const k = vma.file === null ? undefined : this.#fixture.indexes.get(vma.file);
      const nameless = vma.file === null ? 'anon' : `zero:${table.file(table.slot(ordinal))}`;
      const identity = k === undefined ? nameless : `file${k}`;
      const pgoff = vma.file === null ? '' : `@${vma.pgoff}`;
      const where = `${placeOf(vma.start)}..${placeOf(vma.end)}`;
      this.lines.push(`  ${where} ${vma.prot} ${identity}${pgoff}${flags}`);
    }
  }
}

/**
 * Reports where a mapping went. One placed outside the window would disturb later steps: unmap it.
 */
function mapped(space: AddressSpace, address: number, length: number): string {
  if (isNear(address)) return placeOf(address);
  space.munmap(address, length);
  return 'elsewhere';
}

function* contents(space: AddressSpace): Generator<readonly [number, string]> {
  const page = new Uint8Array(PAGE_SIZE);
  for (const vma of space.vmas()) {
    if (!isNear(vma.start)) continue;
    for (let at = vma.start; at < vma.end; at += PAGE_SIZE) {
      let text: string;
      try {
        space.read(at, page);
        text = describePage(page);
      } catch (error) {
        if (!(error instanceof MmdumpError)) throw error;
        text = error.code;
      }
      yield [(at - WINDOW_BASE) / PAGE_SIZE, text];
    }
  }
}

let idle: { readonly key: string; readonly fixture: HistoryFixture } | undefined;

/** The pages that histories have moved to a backing. */
export const hiddenPages = { count: 0 };

/**
 * Returns the transcript of a history on the simulated machine. At the end the machine's tables
 * must be consistent, and nothing may be left once the processes are gone. `hides`: again and again
 * all pages are moved to a backing, which no process can notice.
 */
export function runSimulated(plan: Plan, zeroPage: boolean, hides = false): string[] {
  const key = JSON.stringify([plan.files, zeroPage]);
  if (idle?.key !== key) closeHistories();
  const fixture = idle?.fixture ?? new HistoryFixture(plan.files, 32 * MiB, zeroPage);
  idle = { key, fixture };
  try {
    fixture.reset();
    const before = freeFrames(fixture.machine);
    const run = new Run(fixture, hides);
    for (const step of plan.steps) run.step(step);
    assertTablesTrue(fixture.machine);
    fixture.clear(before);
    hiddenPages.count += run.hidden;
    return nameZeroFiles(run.lines);
  } catch (error) {
    closeHistories(); // the next one gets another machine
    throw error;
  }
}

/** Lets go of what the next history would have used. */
export function closeHistories(): void {
  idle?.fixture.close();
  idle = undefined;
}
