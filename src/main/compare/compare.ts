/** Compares two address spaces, of one machine or of two, with all workers. */

import { readLdt } from '../../mmu/calls/ldt.ts';
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import type { MmReference } from '../../mmu/mm/hold.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { dPath } from '../../mmu/vma/vma-info.ts';
import { listener } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import type { ComparedMm, CompareReport } from '../../shared/dump/tasks/compare-task.ts';
import { WorkUnits, workUnitBytes } from '../../shared/dump/work-unit.ts';
import { addressOf, GRANULE_PAGES, hex, PAGE_SIZE } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { Ferry } from '../crew/ferry.ts';
import type { TaskFields } from '../crew/phase.ts';
import type { WorkerPool } from '../crew/pool.ts';
import { planDump } from '../dump/plan.ts';
import { withHeldMms, withStoppedMm } from '../job/held-mms.ts';
import { assertSources } from '../job/page-sources.ts';
import { JOB_OPTIONS, type JobOptions, Yielder } from '../job/stop.ts';

/** Options of a comparison. */
export interface CompareOptions extends JobOptions {
  /** Called at most ten times per second while pages are compared, and once more at the end. */
  readonly onProgress?: ((progress: CompareProgress) => void) | undefined;
}

/** How far a comparison is. */
export interface CompareProgress {
  /** Pages that were looked at on both sides. */
  readonly pages: number;
}

/** The outcome of a comparison. */
export interface Comparison {
  /** Whether both have the same mappings, the same LDT and the same content in every page. */
  readonly equal: boolean;
  /** Pages that were looked at on both sides. */
  readonly pages: number;
  /**
   * The first difference; null when there is none. Mappings are compared first, then the LDTs, then
   * the pages by address.
   */
  readonly difference: {
    /** Address of the first byte that differs, or of the mapping; null for the LDT. */
    readonly address: number | null;
    /** What differs, where, and how. */
    readonly message: string;
  } | null;
}

/** Pages of a unit of the plan, 4 MiB. The comparison has one unit per granule. */
const UNIT_PAGES = 2 * GRANULE_PAGES;
/** The plan leaves out VM_IO mappings only. */
const PLAN = { unitPages: UNIT_PAGES, hugetlb: 'copy', dontDump: false, freeze: true } as const;

/**
 * Compares the mappings, then the LDTs, then all pages. Both machines are frozen until it is done.
 * Rejects with AbortError when the signal fires, and with MM_GONE if an address space was
 * destroyed.
 */
export function compareWith(
  pool: WorkerPool,
  left: AddressSpace,
  right: AddressSpace,
  options: CompareOptions,
): Promise<Comparison> {
  const { signal } = options;
  for (const { machine } of [left.reference, right.reference]) machine.memory.assertReachesAll();
  return withBoth(left.reference, right.reference, signal, async (a, b) => {
    const mapping = (await compareMappings(a, b, new Yielder(signal))) ?? compareLdts(a, b);
    if (mapping !== null) return { equal: false, pages: 0, difference: mapping };
    return await comparePages(pool, a, b, options);
  });
}

/**
 * Runs `action` while both mms stand still, which may be the same mm. Of two machines, the one with
 * the lower id is always held first. Otherwise two comparisons could each have thread ids of one
 * machine and wait for those of the other.
 */
function withBoth<T>(
  left: MmReference,
  right: MmReference,
  signal: AbortSignal | undefined,
  action: (a: Mm, b: Mm) => Promise<T>,
): Promise<T> {
  if (left.machine.isSameMachine(right.machine)) {
    return withHeldMms([left, right], true, signal, ([a, b]) => action(a!, b!));
  }
  if (left.machine.id > right.machine.id) {
    return withBoth(right, left, signal, (b, a) => action(a, b));
  }
  return withStoppedMm(left, signal, (a) => withStoppedMm(right, signal, (b) => action(a, b)));
}

async function compareMappings(a: Mm, b: Mm, yielder: Yielder): Promise<Comparison['difference']> {
  const count = Math.max(a.vmas.count, b.vmas.count);
  for (let ordinal = 0; ordinal < count; ordinal++) {
    if (yielder.isDue()) await yielder.yield();
    const left = describe(a, ordinal);
    const right = describe(b, ordinal);
    if (left.text === right.text) continue;
    const address = Math.min(left.start, right.start);
    return { address, message: `mapping ${ordinal}: ${left.text} against ${right.text}` };
  }
  return null;
}

function describe(mm: Mm, ordinal: number): { readonly text: string; readonly start: number } {
  const { vmas } = mm;
  if (ordinal >= vmas.count) return { text: 'none', start: Number.POSITIVE_INFINITY };
  const { start, end, flags, file, pgoff, kind } = vmas.fields(vmas.slot(ordinal));
  const range = `${hex(addressOf(start))}-${hex(addressOf(end))}`;
  const name = file === 0 ? (kind === 0 ? 'anonymous' : 'vdso') : dPath(mm, file);
  return { text: `${range} flags ${hex(flags)} pgoff ${pgoff} ${name}`, start: addressOf(start) };
}

/**
 * Compares without locks: on a frozen machine no thread holds the lock of an LDT or changes one.
 */
function compareLdts(a: Mm, b: Mm): Comparison['difference'] {
  if (Buffer.compare(readLdt(a), readLdt(b)) === 0) return null;
  return { address: null, message: 'the LDTs differ' };
}

async function comparePages(
  pool: WorkerPool,
  a: Mm,
  b: Mm,
  { signal, onProgress }: CompareOptions,
): Promise<Comparison> {
  const granules = new Set<number>();
  for (const mm of [a, b]) {
    const plan = await planDump([mm], PLAN, new Yielder(signal));
    for (const unit of plan.units) {
      for (let page = 0; page < unit.pages; page += GRANULE_PAGES) granules.add(unit.start + page);
    }
  }
  const sorted = [...granules].sort((x, y) => x - y);
  const units = new SharedArrayBuffer(workUnitBytes(sorted.length));
  const table = new WorkUnits(units);
  sorted.forEach((start, unit) => {
    table.set(unit, 0, start, GRANULE_PAGES, unit * GRANULE_PAGES);
  });
  const crew = pool.crew({
    units: sorted.length,
    bytes: sorted.length * GRANULE_PAGES * PAGE_SIZE,
    mayRunHere: true,
  });
  const ferry = new Ferry(pool.ferryBuffers);
  const side = ({ machine, slot }: Mm): ComparedMm => ({
    machine: machine.handle,
    slot,
    ferry: crew.here ? undefined : ferry.reach(machine, GRANULE_PAGES),
  });
  const taskOf = (): TaskFields<'compare'> => {
    return { left: side(a), right: side(b), units, unitCount: sorted.length };
  };
  const reports = await pool.phase('compare', crew).run(taskOf, {
    signal,
    ferry,
    onProgress: onProgress && (({ pages }) => onProgress({ pages })),
  });
  throwIfAborted(signal); // it may have fired in the last call of onProgress
  for (const { machine } of [a, b]) await assertSources(machine.id);
  return conclude(reports);
}

function conclude(reports: readonly CompareReport[]): Comparison {
  const pages = reports.reduce((sum, report) => sum + report.pages, 0);
  let first: CompareReport['difference'] = null;
  for (const { difference } of reports) {
    if (difference !== null && (first === null || difference.vpn < first.vpn)) first = difference;
  }
  if (first === null) return { equal: true, pages, difference: null };
  const address = addressOf(first.vpn) + first.offset;
  const message = `page ${hex(addressOf(first.vpn))}, byte ${first.offset}: ${first.left} against ${first.right}`;
  return { equal: false, pages, difference: { address, message } };
}

/** The options of `compare`, which are checked before it begins. */
export const COMPARE_OPTIONS: Shape<CompareOptions> = { ...JOB_OPTIONS, onProgress: listener() };
