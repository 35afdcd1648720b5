/**
 * The life of a dump: freeze, lock, plan, classify, lay out, copy, unlock, commit. The coordinator
 * holds the gate and the mmap locks; the workers only read. Where the machine is not frozen they take
 * references as well, so that what they have found stays where it is until it is copied.
 */
import { createHash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { MmReference } from '../../mmu/enter.ts';
import type { MachineParts } from '../../mmu/machine-parts.ts';
import type { Mm } from '../../mmu/mm.ts';
import { RULE } from '../../shared/dump/page-class.ts';
import { createPhase, PhaseControl } from '../../shared/dump/phase-control.ts';
import { Segments } from '../../shared/dump/piece-table.ts';
import { pinTableBytes } from '../../shared/dump/pin-table.ts';
import { runTableBytes } from '../../shared/dump/run-table.ts';
import type { ClassifyTask, CopyTask, PhaseTask } from '../../shared/dump/tasks.ts';
import { WorkUnits, workUnitBytes } from '../../shared/dump/work-unit.ts';
import { MmdumpError, reasonOf } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { layoutCpt } from '../formats/cpt/encode.ts';
import type { Layout } from '../formats/layout.ts';
import type { FamilyUsage } from '../memory-usage.ts';
import type { WorkerPool } from '../pool.ts';
import {
  type DumpPhase,
  type DumpReport,
  Stopwatch,
  type WorkerReport,
  workerReports,
} from '../report.ts';
import type { Sink } from '../sinks/sink.ts';
import { assertDumpable, describeMms } from './dumped-mms.ts';
import { noteUsage } from './dumped-usage.ts';
import { mmReport, type PagesReport } from './mm-report.ts';
import type { ResolvedOptions } from './options.ts';
import { type Plan, planDump } from './plan.ts';
import { Pins } from './running.ts';
import type { SharedBuffers } from './shared-buffers.ts';
import { snapshotLdt, withHeldMms } from './stopped-mm.ts';
import { leftOutPages, type SkippedPages, unsupportedError } from './tally.ts';

/** What a dumper lends to a dump. */
export interface Engine {
  readonly pool: WorkerPool;
  readonly buffers: SharedBuffers;
  readonly workersReason: string;
}

/** One dump under way. */
interface Dump {
  readonly engine: Engine;
  readonly options: ResolvedOptions;
  readonly startedAt: number; // ms since 1970
  readonly watch: Stopwatch;
  readonly workers: WorkerReport[];
}

/** What was captured while the mms stood still. */
interface Capture {
  readonly skipped: readonly SkippedPages[];
  readonly layout: Layout;
  readonly ms: { readonly [step in 'plan' | 'classify' | 'layout' | 'copy']: number };
  readonly mmReports: readonly PagesReport[];
  readonly usage: () => FamilyUsage;
}

/** Dumps mms of one machine. Whatever fails, they are let go and the output is left as it was. */
export async function runDump(
  engine: Engine,
  references: readonly MmReference[],
  options: ResolvedOptions,
): Promise<DumpReport> {
  const startedAt = performance.timeOrigin + performance.now();
  const dump: Dump = { engine, options, startedAt, watch: new Stopwatch(), workers: [] };
  const { to, signal } = options;
  throwIfAborted(signal);
  assertDumpable(references);
  await to.open(); // where this fails there is nothing to undo, and the sink may be another dump's
  try {
    dump.watch.lap();
    let lockWait = 0;
    let pause = new Stopwatch();
    const capture = await withHeldMms(references, options.freeze, signal, (mms) => {
      lockWait = dump.watch.lap();
      pause = new Stopwatch();
      return captureLocked(dump, mms);
    });
    const ms = { lockWait, pause: pause.total(), ...capture.ms };
    const id = imageId(capture.layout);
    throwIfAborted(signal);
    dump.watch.lap();
    await to.commit();
    return report(dump, capture, { ...ms, commit: dump.watch.lap() }, id);
  } catch (error) {
    throw await abortSink(to, error);
  }
}

/** What a failed dump rejects with: its own error, and what could not be removed, if anything. */
async function abortSink(to: Sink, error: unknown): Promise<unknown> {
  try {
    await to.abort();
    return error;
  } catch (left) {
    if (!(error instanceof MmdumpError)) return left;
    const { code, message, fields } = error;
    return new MmdumpError(code, `${message}; ${reasonOf(left)}`, fields, error);
  }
}

/** Everything for which the mms have to be held. */
async function captureLocked(dump: Dump, mms: readonly Mm[]): Promise<Capture> {
  const { engine, options } = dump;
  const plan = await planHeld(mms, options);
  if (options.freeze) return capturePlanned(dump, mms, plan, undefined);
  const buffer = engine.buffers.take('pins', pinTableBytes(plan.pages));
  const pins = new Pins(mms[0]!.machine, buffer, plan.pages);
  try {
    return await capturePlanned(dump, mms, plan, pins);
  } finally {
    pins.letGo(mms[0]!);
  }
}

/** Planning changes nothing: where another thread has a lock that it needs, it is done again. */
async function planHeld(mms: readonly Mm[], options: ResolvedOptions): Promise<Plan> {
  for (;;) {
    try {
      return planDump(mms, options);
    } catch (error) {
      if (!(error instanceof MmdumpError && error.code === 'EAGAIN')) throw error;
      await nextTurn();
      throwIfAborted(options.signal);
    }
  }
}

async function capturePlanned(
  dump: Dump,
  mms: readonly Mm[],
  plan: Plan,
  pins: Pins | undefined,
): Promise<Capture> {
  const { engine, options, watch } = dump;
  const unitBuffer = shareUnits(plan, engine.buffers);
  const ldts: Uint8Array[] = [];
  for (const mm of mms) ldts.push(await snapshotLdt(mm, options.signal));
  const planMs = watch.lap();
  const tables = await classify(dump, mms, plan, unitBuffer, pins);
  const classifyMs = watch.lap();
  const units = new WorkUnits(unitBuffer);
  const runs = new Int32Array(tables.runs);
  const unsupported: SkippedPages[] = leftOutPages(plan.leftOut, RULE.TABLE_BAD);
  const described = describeMms(mms, ldts, plan, units, runs, unsupported);
  unsupported.sort(byPlace);
  if (options.unsupported === 'fail' && unsupported[0] !== undefined) {
    throw unsupportedError(mms, unsupported[0]);
  }
  const skipped = [...unsupported, ...leftOutPages(plan.leftOut, RULE.HUGETLB)].sort(byPlace);
  const layout = layoutCpt({
    mms: described,
    units,
    runs,
    buffers: engine.buffers,
    frozen: options.freeze,
    payloadCrc: options.payloadCrc,
    blockPerPage: options.blockPerPage,
  });
  const mmReports = described.map((one, mm) => mmReport(one, nameOf(options.source, mm, mms)));
  const usage = noteUsage(described, units, runs);
  const layoutMs = watch.lap();
  await copy(dump, mms[0]!.machine, layout, tables.sources);
  const ms = { plan: planMs, classify: classifyMs, layout: layoutMs, copy: watch.lap() };
  return { skipped, layout, ms, mmReports, usage };
}

/** What the report calls an mm: several are told apart by their ordinals. */
function nameOf(source: string | readonly string[], mm: number, { length }: readonly Mm[]): string {
  if (typeof source !== 'string') return source[mm] ?? `mm ${mm}`;
  return length === 1 ? source : `${source} ${mm}`;
}

function byPlace(a: SkippedPages, b: SkippedPages): number {
  return a.mm - b.mm || a.start - b.start;
}

function shareUnits(plan: Plan, buffers: SharedBuffers): SharedArrayBuffer {
  const buffer = buffers.take('units', workUnitBytes(plan.units.length));
  const units = new WorkUnits(buffer);
  plan.units.forEach(({ mm, start, pages }, unit) => {
    units.set(unit, mm, start, pages);
  });
  return buffer;
}

async function classify(
  dump: Dump,
  mms: readonly Mm[],
  plan: Plan,
  units: SharedArrayBuffer,
  pins: Pins | undefined,
): Promise<{ readonly runs: SharedArrayBuffer; readonly sources: SharedArrayBuffer }> {
  const { buffers } = dump.engine;
  const { detectZero, unsupported, hugetlb, unitPages } = dump.options;
  const runs = buffers.take('runs', runTableBytes(plan.pages));
  const sources = buffers.take('sources', plan.pages * 4);
  const message = {
    machine: mms[0]!.machine.handle,
    mms: mms.map(({ slot }) => slot),
    units,
    unitCount: plan.units.length,
    maxUnitPages: unitPages,
    runs,
    sources,
    owners: plan.owners,
    detectZero,
    unsupported,
    hugetlb,
  };
  let failed = true;
  try {
    const running = pins?.enlist(dump.engine.pool.workers);
    await runPhase<ClassifyTask>(
      dump,
      'classify',
      plan.units.length,
      0,
      (worker) => ({ ...message, running: running?.[worker] }),
      { onLost: (worker) => pins?.lost(worker) },
    );
    failed = false;
  } finally {
    pins?.dismiss(failed);
  }
  return { runs, sources };
}

async function copy(
  dump: Dump,
  { handle }: MachineParts,
  layout: Layout,
  sources: SharedArrayBuffer,
): Promise<void> {
  const { to, signal } = dump.options;
  const { segments, segmentCount, maxSegmentBytes, pieces, arena, recordCrcs, bytes } = layout;
  const target = await to.reserve({
    bytes,
    segments: new Segments(segments),
    segmentCount,
    maxSegmentBytes,
    workers: dump.engine.pool.workers,
  });
  const message = {
    machine: handle,
    segments,
    segmentCount,
    maxSegmentBytes,
    pieces,
    arena,
    sources,
    recordCrcs,
    target,
  };
  await runPhase<CopyTask>(dump, 'copy', segmentCount, bytes, () => message, {
    beside: to.drain && ((phase, over) => to.drain?.({ phase, over, signal })),
  });
}

/** What else happens while a phase runs. */
interface PhaseCompany {
  /** Work of the coordinator; `over` fires when the last worker is done. */
  readonly beside?:
    | ((control: PhaseControl, over: AbortSignal) => Promise<void> | undefined)
    | undefined;
  /** The thread of a worker is gone. */
  readonly onLost?: (worker: number) => void;
}

/** Runs a phase on as many workers as there are units for, and keeps their reports. */
async function runPhase<T extends PhaseTask>(
  dump: Dump,
  phase: DumpPhase,
  units: number,
  totalBytes: number,
  messageOf: (worker: number) => Omit<T, keyof PhaseTask>,
  { beside, onLost = () => {} }: PhaseCompany = {},
): Promise<void> {
  const { engine, options, startedAt } = dump;
  const workers = Math.min(engine.pool.workers, Math.max(1, units));
  const buffer = createPhase(workers);
  const tasks: (Omit<T, keyof PhaseTask> & PhaseTask)[] = [];
  for (let worker = 0; worker < workers; worker++) {
    tasks.push({ ...messageOf(worker), phase: buffer, worker });
  }
  const { onProgress, signal } = options;
  const control = new PhaseControl(buffer);
  const over = new AbortController();
  const running = engine.pool
    .runPhase({ file: phase, name: phase }, tasks, control, {
      signal,
      onLost,
      onProgress:
        onProgress && (({ pages, bytes }) => onProgress({ phase, pages, bytes, totalBytes })),
    })
    .finally(() => over.abort());
  // Both have to end, whichever fails: the output's own error says more than the stopped phase's.
  const [work, output] = await Promise.allSettled([running, beside?.(control, over.signal)]);
  if (output.status === 'rejected') throw output.reason;
  if (work.status === 'rejected') throw work.reason;
  dump.workers.push(...workerReports(phase, work.value, startedAt));
}

/** Names the image: the first 16 bytes of sha256 over all record crcs, in the order of the stream. */
function imageId(layout: Layout): string {
  const crcs = new Uint8Array(layout.recordCrcs, 0, layout.pieceCount * 4);
  return createHash('sha256').update(crcs).digest('hex').slice(0, 32);
}

function report(
  dump: Dump,
  capture: Capture,
  ms: Omit<DumpReport['ms'], 'total'>,
  id: string,
): DumpReport {
  const { engine, options, watch, workers } = dump;
  const { bytes } = capture.layout;
  const total = watch.total();
  const { mms: usages, savedBytes } = capture.usage();
  return {
    image: { path: options.to.path, format: 'cpt', bytes, id },
    workers: engine.pool.workers,
    workersReason: engine.workersReason,
    frozen: options.freeze,
    mms: capture.mmReports.map((mm, ordinal) => ({ ...mm, ...usages[ordinal]! })),
    savedBytes,
    skipped: capture.skipped,
    ms: { ...ms, total },
    bytesPerSecond: Math.round(bytes / (total / 1000)),
    perWorker: workers,
  };
}
