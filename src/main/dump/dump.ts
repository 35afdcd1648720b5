/**
 * The life of a dump: freeze, lock, plan, one pass over the pages, unlock, commit. The coordinator
 * holds the gate and the mmap locks, and the workers only read. If the machine is not frozen, they
 * also take references, so that what they have found stays in place until it is copied.
 */

import { KeptNames, namedFiles } from '../../mmu/files/kept-names.ts';
import type { MmReference } from '../../mmu/machine/enter.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { RULE } from '../../shared/dump/page-class.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { workersOf } from '../crew/workers-report.ts';
import { lostStateText } from '../image/index/image-state.ts';
import type { FamilyUsage } from '../image/memory-usage.ts';
import { snapshotLdt, withHeldMms } from '../job/held-mms.ts';
import { assertSources } from '../job/page-sources.ts';
import { abortable, type Deadline, Yielder } from '../job/stop.ts';
import { Changes } from './changes.ts';
import { assertOneMm } from './core/core-output.ts';
import { DumpMeter } from './dump-progress.ts';
import { assertDumpable, describeMms } from './dumped-mms.ts';
import { noteUsage } from './dumped-usage.ts';
import { type Dump, type Engine, enter } from './engine.ts';
import { type CountedMm, countMm, mmReport, type NotedMm, noteMm } from './mm-report.ts';
import type { ResolvedOptions } from './options.ts';
import { withSink } from './output.ts';
import { prepareParent } from './parent.ts';
import { type PassResult, runPasses } from './pass.ts';
import { type Plan, planDump } from './plan.ts';
import { type DumpReport, Stopwatch } from './report.ts';
import { Pins } from './running.ts';
import { byPlace, leftOutPages, type SkippedPages } from './tally.ts';
import { bytesToCopy } from './work.ts';

/** What was captured while the mms were held. */
interface Capture {
  readonly pass: PassResult;
  readonly noted: readonly NotedMm[];
  readonly skipped: readonly SkippedPages[];
  readonly ms: { readonly [step in 'plan' | 'copy']: number };
  readonly usage: (pass: PassResult) => FamilyUsage;
}

/** A dump whose image is committed. */
interface Committed {
  readonly capture: Capture;
  readonly mms: readonly CountedMm[];
  readonly usage: FamilyUsage;
  readonly id: string;
  readonly ms: Omit<DumpReport['ms'], 'total'>;
}

/**
 * Dumps mms of one machine. If anything fails, it releases them, makes the sink take back what was
 * written, and rejects with the error.
 */
export async function runDump(
  engine: Engine,
  references: readonly MmReference[],
  options: ResolvedOptions,
  deadline: Deadline,
  changes: Changes = new Changes(engine.tracked, options),
): Promise<DumpReport> {
  const startedAt = performance.timeOrigin + performance.now();
  const { to, signal, onProgress } = options;
  const yielder = new Yielder(signal);
  const meter = new DumpMeter(onProgress);
  const watch = new Stopwatch();
  const lists = { workers: [], crews: [] };
  const clocks = { deadline, yielder, meter, startedAt, watch };
  const parts = { engine, options, changes, ...clocks, ...lists };
  throwIfAborted(signal);
  assertDumpable(references);
  if (options.format === 'elf') assertOneMm(references.length);
  enter({ ...parts, parent: undefined }, 'open');
  const dump: Dump = { ...parts, parent: await prepareParent({ ...parts, parent: undefined }) };
  const committed = await withSink(to, deadline, () => writeImage(dump, references));
  return reportOf(dump, committed); // after withSink, so that a failure here keeps the image
}

/**
 * Does everything from the first lock to the commit. As much of the report as possible is made
 * before the commit.
 */
async function writeImage(dump: Dump, references: readonly MmReference[]): Promise<Committed> {
  const { options, yielder, watch, changes } = dump;
  const { to, signal, freeze } = options;
  watch.lap();
  let lockWait = 0;
  let held = new Stopwatch();
  enter(dump, 'lock');
  const action = (mms: readonly Mm[], onlookers: number[]): Promise<Capture> => {
    lockWait = watch.lap();
    held = new Stopwatch();
    return captureHeld(dump, mms, onlookers);
  };
  const begins = freeze && changes.tracks;
  const capture = await withHeldMms(
    references,
    freeze,
    signal,
    action,
    begins ? (mms) => changes.takeFrozen(mms, references, signal) : undefined,
  );
  const locked = held.total();
  enter(dump, 'commit');
  const { crcs, tables } = capture.pass;
  const id = (await crcs?.imageId(tables.records, tables.firstUnits, yielder)) ?? '';
  await assertSources(references[0]!.machine.id);
  options.parent?.contents.assertIntact(); // the sink may have been the one that holds it
  await abortable(Promise.resolve(options.onCaptured?.()), signal);
  const usage = capture.usage(capture.pass);
  const mms = await countMms(capture, yielder);
  throwIfAborted(signal);
  watch.lap();
  await abortable(to.commit({ bytes: capture.pass.bytes }), signal);
  const { digests } = capture.pass;
  if (digests !== undefined) dump.engine.digests.keep(id, digests);
  changes.remember(id);
  const ms = { lockWait, pause: freeze ? locked : 0, locked, ...capture.ms, commit: watch.lap() };
  return { capture, mms, usage, id, ms };
}

/** Does everything for which the mms have to be held. */
async function captureHeld(dump: Dump, mms: readonly Mm[], onlookers: number[]): Promise<Capture> {
  enter(dump, 'plan');
  if (!dump.options.freeze) return captureRunning(dump, mms, onlookers);
  dump.changes.noteFrozen(mms);
  const plan = await planDump(mms, dump.options, dump.yielder);
  expectCopy(dump, mms, plan);
  return capturePlanned(dump, mms, plan, undefined);
}

/** Starts the threads that the copy is worth, so that they are up when it begins. */
function expectCopy({ engine, options }: Dump, mms: readonly Mm[], plan: Plan): void {
  if (!options.dryRun) engine.pool.expect(bytesToCopy(mms, plan));
}

/** Does the same on a running machine. */
async function captureRunning(
  dump: Dump,
  held: readonly Mm[],
  onlookers: number[],
): Promise<Capture> {
  const named = namedFiles(held);
  const files = new KeptNames(held[0]!.machine, named);
  const mms = held.map((mm) => ({ ...mm, files }));
  const plan = await planDump(mms, dump.options, dump.yielder);
  expectCopy(dump, mms, plan);
  const pins = new Pins(mms[0]!, onlookers, dump.engine.buffers, named);
  try {
    return await capturePlanned(dump, mms, plan, pins);
  } finally {
    pins.putAll();
  }
}

async function capturePlanned(
  dump: Dump,
  mms: readonly Mm[],
  plan: Plan,
  pins: Pins | undefined,
): Promise<Capture> {
  const { options, watch, yielder } = dump;
  const ldts: Uint8Array[] = [];
  for (const mm of mms) ldts.push(await snapshotLdt(mm, options.signal));
  const described = describeMms(mms, ldts);
  const usage = noteUsage(mms);
  const planMs = watch.lap();
  // Notes what the report needs of the VMAs, while the workers copy.
  const noting = async (): Promise<NotedMm[]> => {
    const noted: NotedMm[] = [];
    for (const [ordinal, mm] of mms.entries()) {
      const source = nameOf(options.source, ordinal, mms);
      noted.push(await noteMm(mm, ordinal, source, ldts[ordinal]!, plan.leftOut, yielder));
    }
    return noted;
  };
  const [pass, noted] = await both(runPasses(dump, described, plan, pins), noting);
  const leftOut = leftOutPages(plan.leftOut, RULE.HUGETLB, RULE.DONTDUMP);
  const skipped = [...pass.unsupported, ...leftOut].sort(byPlace);
  return { pass, noted, skipped, ms: { plan: planMs, copy: watch.lap() }, usage };
}

/**
 * Runs `job` beside `work` and returns both results. If both fail, throws the failure of `work`.
 */
async function both<T, U>(work: Promise<T>, job: () => Promise<U>): Promise<[T, U]> {
  const [worked, done] = await Promise.allSettled([work, job()]);
  if (worked.status === 'rejected') throw worked.reason;
  if (done.status === 'rejected') throw done.reason;
  return [worked.value, done.value];
}

async function countMms({ pass, noted }: Capture, yielder: Yielder): Promise<CountedMm[]> {
  const { tallies, tables } = pass;
  const counted: CountedMm[] = [];
  for (const [ordinal, mm] of noted.entries()) {
    counted.push(await countMm(mm, tallies, tables.vmaBases[ordinal]!, yielder));
  }
  return counted;
}

/** Name of an mm in the report. If several mms have one name, their ordinals tell them apart. */
function nameOf(source: string | readonly string[], mm: number, { length }: readonly Mm[]): string {
  if (typeof source !== 'string') return source[mm] ?? `mm ${mm}`;
  return length === 1 ? source : `${source} ${mm}`;
}

/** What the format cannot hold: a core file has no place for the state of a snapshot. */
function lossesOf({ format, state }: ResolvedOptions): string[] {
  if (format === 'cpt') return [];
  return [...state].map(([name, { length }]) => lostStateText(name, length));
}

function reportOf(dump: Dump, { capture, mms, usage, id, ms }: Committed): DumpReport {
  const { engine, options, watch, workers } = dump;
  const { bytes } = capture.pass;
  const total = watch.total();
  const { mms: usages, savedBytes } = usage;
  const { path, parts } = options.to;
  return {
    image: { path, format: options.format, bytes, id, ...(parts === undefined ? {} : { parts }) },
    ...workersOf(engine.pool, dump.crews),
    frozen: options.isInstant,
    changes: dump.changes.found,
    mms: mms.map((mm, ordinal) => mmReport(mm, usages[ordinal]!)),
    savedBytes,
    skipped: capture.skipped,
    warnings: lossesOf(options),
    ms: { ...ms, total },
    bytesPerSecond: Math.round(bytes / (total / 1000)),
    perWorker: workers,
  };
}
