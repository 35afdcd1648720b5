/**
 * The life of a dump: freeze, lock, plan, classify, lay out, copy, unlock, commit. The coordinator
 * holds the gate and the mmap locks; the workers only read. Where the machine is not frozen they take
 * references as well, so that what they have found stays where it is until it is copied.
 */
import type { MmReference } from '../../mmu/enter.ts';
import { KeptNames, namedFiles } from '../../mmu/files/kept-names.ts';
import type { Mm } from '../../mmu/mm.ts';
import { RULE } from '../../shared/dump/page-class.ts';
import { pinTableBytes } from '../../shared/dump/pin-table.ts';
import { WorkUnits } from '../../shared/dump/work-unit.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { workersOf } from '../crew/workers-report.ts';
import { layoutCpt } from '../formats/cpt/encode.ts';
import type { Layout, LayoutMm } from '../formats/layout.ts';
import type { FamilyUsage } from '../memory-usage.ts';
import { type DumpReport, Stopwatch } from '../report.ts';
import { abortable, type Deadline, Turns } from '../stop.ts';
import { classify, copy, type Dump, type Engine, enter, shareUnits } from './dump-phases.ts';
import { DumpMeter } from './dump-progress.ts';
import { assertDumpable, describeMms } from './dumped-mms.ts';
import { noteUsage } from './dumped-usage.ts';
import { imageId } from './image-id.ts';
import { mmReport, type PagesReport } from './mm-report.ts';
import type { ResolvedOptions } from './options.ts';
import { assertSize, withSink } from './output.ts';
import { type Plan, planDump } from './plan.ts';
import { Pins } from './running.ts';
import { snapshotLdt, withHeldMms } from './stopped-mm.ts';
import { leftOutPages, type SkippedPages, unsupportedError } from './tally.ts';
import { bytesToCopy } from './work.ts';

/** What was captured while the mms stood still. */
interface Capture {
  readonly skipped: readonly SkippedPages[];
  readonly layout: Layout;
  readonly ms: { readonly [step in 'plan' | 'classify' | 'layout' | 'copy']: number };
  readonly mmReports: readonly PagesReport[];
  readonly usage: () => FamilyUsage;
}

/** A dump whose image is committed. */
interface Committed {
  readonly capture: Capture;
  readonly usage: FamilyUsage;
  readonly id: string;
  readonly ms: Omit<DumpReport['ms'], 'total'>;
}

/** Dumps mms of one machine. Whatever fails, they are let go and the output is left as it was. */
export async function runDump(
  engine: Engine,
  references: readonly MmReference[],
  options: ResolvedOptions,
  deadline: Deadline,
): Promise<DumpReport> {
  const startedAt = performance.timeOrigin + performance.now();
  const { to, signal, onProgress } = options;
  const turns = new Turns(signal);
  const meter = new DumpMeter(onProgress);
  const watch = new Stopwatch();
  const lists = { workers: [], crews: [] };
  const dump: Dump = { engine, options, deadline, turns, meter, startedAt, watch, ...lists };
  throwIfAborted(signal);
  assertDumpable(references);
  enter(dump, 'open');
  const committed = await withSink(to, deadline, () => writeImage(dump, references));
  return reportOf(dump, committed); // outside: nothing takes the image back that is committed
}

/** From the first lock to the commit. All of the report is made before the commit that can be. */
async function writeImage(dump: Dump, references: readonly MmReference[]): Promise<Committed> {
  const { options, turns, watch } = dump;
  const { to, signal, freeze } = options;
  watch.lap();
  let lockWait = 0;
  let held = new Stopwatch();
  enter(dump, 'lock');
  const capture = await withHeldMms(references, freeze, signal, (mms, lookers) => {
    lockWait = watch.lap();
    held = new Stopwatch();
    return captureLocked(dump, mms, lookers);
  });
  const locked = held.total();
  enter(dump, 'commit');
  const id = options.dryRun ? '' : await imageId(capture.layout, turns);
  const usage = capture.usage();
  throwIfAborted(signal);
  watch.lap();
  await abortable(to.commit(), signal);
  const ms = { lockWait, pause: freeze ? locked : 0, locked, ...capture.ms, commit: watch.lap() };
  return { capture, usage, id, ms };
}

/** Everything for which the mms have to be held. */
async function captureLocked(dump: Dump, mms: readonly Mm[], lookers: number[]): Promise<Capture> {
  enter(dump, 'plan');
  if (!dump.options.freeze) return captureRunning(dump, mms, lookers);
  const plan = await planDump(mms, dump.options, dump.turns);
  expectCopy(dump, mms, plan);
  return capturePlanned(dump, mms, plan, undefined);
}

/** Threads that the copy is worth start now. */
function expectCopy({ engine, options }: Dump, mms: readonly Mm[], plan: Plan): void {
  if (!options.dryRun) engine.pool.expect(bytesToCopy(mms, plan));
}

/** The same on a machine that runs. */
async function captureRunning(
  dump: Dump,
  held: readonly Mm[],
  lookers: number[],
): Promise<Capture> {
  const { machine } = held[0]!;
  const named = namedFiles(held);
  const files = new KeptNames(machine, named);
  const mms = held.map((mm) => ({ ...mm, files }));
  const plan = await planDump(mms, dump.options, dump.turns);
  expectCopy(dump, mms, plan);
  const buffer = dump.engine.buffers.take('pins', pinTableBytes(plan.pages));
  const pins = new Pins(machine, lookers, buffer, plan.pages, named);
  try {
    return await capturePlanned(dump, mms, plan, pins);
  } finally {
    pins.letGo(mms[0]!);
  }
}

async function capturePlanned(
  dump: Dump,
  mms: readonly Mm[],
  plan: Plan,
  pins: Pins | undefined,
): Promise<Capture> {
  const { engine, options, watch, turns } = dump;
  if (!options.dryRun) engine.pool.expect(bytesToCopy(mms, plan));
  const unitBuffer = shareUnits(plan, engine.buffers);
  const ldts: Uint8Array[] = [];
  for (const mm of mms) ldts.push(await snapshotLdt(mm, options.signal));
  const planMs = watch.lap();
  enter(dump, 'classify');
  const tables = await classify(dump, mms, plan, unitBuffer, pins);
  const classifyMs = watch.lap();
  enter(dump, 'layout');
  const units = new WorkUnits(unitBuffer);
  const runs = new Int32Array(tables.runs);
  const unsupported: SkippedPages[] = leftOutPages(plan.leftOut, RULE.TABLE_BAD);
  const described = await describeMms(mms, ldts, plan, units, runs, unsupported, turns);
  unsupported.sort(byPlace);
  if (options.unsupported === 'fail' && unsupported[0] !== undefined) {
    throw unsupportedError(mms, unsupported[0]);
  }
  const leftOut = leftOutPages(plan.leftOut, RULE.HUGETLB, RULE.DONTDUMP);
  const skipped = [...unsupported, ...leftOut].sort(byPlace);
  const layout = await layoutCpt({
    mms: described,
    units,
    runs,
    buffers: engine.buffers,
    frozen: options.freeze,
    payloadCrc: options.payloadCrc,
    blockPerPage: options.blockPerPage,
    dontDump: options.dontDump,
    turns,
  });
  const usage = noteUsage(described, units, runs);
  const reporting = async (): Promise<PagesReport[]> => {
    const reports: PagesReport[] = [];
    for (const [mm, one] of described.entries()) {
      reports.push(await mmReport(one, nameOf(options.source, mm, mms), turns));
    }
    return reports;
  };
  if (options.dryRun) assertSize(layout.bytes, options.sizeLimit);
  const dryReports = options.dryRun ? await reporting() : undefined;
  const layoutMs = watch.lap();
  // Else the report is made while workers copy and the coordinator has nothing to do.
  const mmReports =
    dryReports ??
    (await beside(
      copy(dump, mms[0]!.machine, layout, tables.sources, copiedPages(described)),
      reporting,
    ));
  const ms = { plan: planMs, classify: classifyMs, layout: layoutMs, copy: watch.lap() };
  return { skipped, layout, ms, mmReports, usage };
}

/** What `job` returns, once `work`, which is under way, has ended as well. Its failure goes first. */
async function beside<T>(work: Promise<void>, job: () => Promise<T>): Promise<T> {
  const [worked, done] = await Promise.allSettled([work, job()]);
  if (worked.status === 'rejected') throw worked.reason;
  if (done.status === 'rejected') throw done.reason;
  return done.value;
}

/** Pages that are stored. */
function copiedPages(mms: readonly LayoutMm[]): number {
  let pages = 0;
  for (const { tally } of mms) for (const copied of tally.copy) pages += copied;
  return pages;
}

/** What the report calls an mm: several are told apart by their ordinals. */
function nameOf(source: string | readonly string[], mm: number, { length }: readonly Mm[]): string {
  if (typeof source !== 'string') return source[mm] ?? `mm ${mm}`;
  return length === 1 ? source : `${source} ${mm}`;
}

function byPlace(a: SkippedPages, b: SkippedPages): number {
  return a.mm - b.mm || a.start - b.start;
}

function reportOf(dump: Dump, { capture, usage, id, ms }: Committed): DumpReport {
  const { engine, options, watch, workers } = dump;
  const { bytes } = capture.layout;
  const total = watch.total();
  const { mms: usages, savedBytes } = usage;
  const { path, parts } = options.to;
  return {
    image: { path, format: 'cpt', bytes, id, ...(parts === undefined ? {} : { parts }) },
    ...workersOf(engine.pool, dump.crews),
    frozen: options.freeze,
    mms: capture.mmReports.map((mm, ordinal) => ({ ...mm, ...usages[ordinal]! })),
    savedBytes,
    skipped: capture.skipped,
    ms: { ...ms, total },
    bytesPerSecond: Math.round(bytes / (total / 1000)),
    perWorker: workers,
  };
}
