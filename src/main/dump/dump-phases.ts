/** The phases of a dump that run on workers: what they are told, and who waits for them. */
import type { MachineParts } from '../../mmu/machine-parts.ts';
import type { Mm } from '../../mmu/mm.ts';
import { createPhase, PhaseControl } from '../../shared/dump/phase-control.ts';
import { Segments } from '../../shared/dump/piece-table.ts';
import { runTableBytes } from '../../shared/dump/run-table.ts';
import type { ClassifyTask, CopyTask, PhaseTask } from '../../shared/dump/tasks.ts';
import { WorkUnits, workUnitBytes } from '../../shared/dump/work-unit.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import type { Crew, Work } from '../crew/crew.ts';
import type { Layout } from '../formats/layout.ts';
import { loadKernels } from '../kernels.ts';
import type { WorkerPool } from '../pool.ts';
import { type DumpPhase, type Stopwatch, type WorkerReport, workerReports } from '../report.ts';
import type { Deadline, Turns } from '../stop.ts';
import type { DumpMeter, PhaseTotals } from './dump-progress.ts';
import type { ResolvedOptions } from './options.ts';
import { reserveIn } from './output.ts';
import type { Plan } from './plan.ts';
import type { Pins } from './running.ts';
import type { SharedBuffers } from './shared-buffers.ts';
import { bytesToClassify } from './work.ts';

/** What a dumper lends to a dump. */
export interface Engine {
  readonly pool: WorkerPool;
  readonly buffers: SharedBuffers;
}

/** One dump under way. */
export interface Dump {
  readonly engine: Engine;
  readonly options: ResolvedOptions;
  readonly deadline: Deadline;
  readonly turns: Turns;
  readonly meter: DumpMeter;
  readonly startedAt: number; // ms since 1970
  readonly watch: Stopwatch;
  readonly workers: WorkerReport[];
  /** Of each phase. */
  readonly crews: Crew[];
}

/** The next step begins, unless the dump is to stop. */
export function enter({ deadline }: Dump, phase: string): void {
  deadline.phase = phase;
  throwIfAborted(deadline.signal);
}

/** The units of the plan, as the workers see them. */
export function shareUnits(plan: Plan, buffers: SharedBuffers): SharedArrayBuffer {
  const buffer = buffers.take('units', workUnitBytes(plan.units.length));
  const units = new WorkUnits(buffer);
  let first = 0;
  plan.units.forEach(({ mm, start, pages }, unit) => {
    units.set(unit, mm, start, pages, first);
    first += pages;
  });
  return buffer;
}

/** Runs and sources of every unit. `pins` of a machine that runs: they outlast the phase. */
export async function classify(
  dump: Dump,
  mms: readonly Mm[],
  plan: Plan,
  units: SharedArrayBuffer,
  pins: Pins | undefined,
): Promise<{ readonly runs: SharedArrayBuffer; readonly sources: SharedArrayBuffer }> {
  const { buffers } = dump.engine;
  const { detectZero, unsupported, hugetlb, dontDump } = dump.options;
  const runs = buffers.take('runs', runTableBytes(plan.pages));
  const sources = buffers.take('sources', plan.pages * 4);
  const message = {
    machine: mms[0]!.machine.handle,
    kernels: loadKernels(),
    mms: mms.map(({ slot }) => slot),
    units,
    unitCount: plan.units.length,
    runs,
    sources,
    owners: plan.owners,
    detectZero,
    unsupported,
    hugetlb,
    dontDump,
  };
  const totals = { units: plan.units.length, pages: 0, bytes: 0 };
  let failed = true;
  try {
    const crew = crewOf(dump, {
      units: totals.units,
      bytes: bytesToClassify(mms, plan),
      mayRunHere: pins === undefined, // else it waits for the locks of tables
    });
    const running = pins?.enlist(crew.workers);
    await runPhase<ClassifyTask>(
      dump,
      'classify',
      running === undefined ? crew : { ...crew, workers: running.length },
      totals,
      (worker) => ({ ...message, running: running?.[worker] }),
      { onLost: (worker) => pins?.lost(worker) },
    );
    failed = false;
  } finally {
    pins?.dismiss(failed);
  }
  return { runs, sources };
}

/** The image, into the sink. `pages`: how many are stored. */
export async function copy(
  dump: Dump,
  { handle }: MachineParts,
  layout: Layout,
  sources: SharedArrayBuffer,
  pages: number,
): Promise<void> {
  enter(dump, 'copy');
  const { to, signal, sizeLimit } = dump.options;
  const { segments, segmentCount, maxSegmentBytes, pieces, arena, recordCrcs, bytes } = layout;
  const isStream = to.kind === 'stream'; // the workers wait for slots that the caller empties
  const crew = crewOf(dump, { units: segmentCount, bytes, mayRunHere: !isStream });
  const extent = {
    bytes,
    segments: new Segments(segments),
    segmentCount,
    maxSegmentBytes,
    workers: crew.workers,
  };
  const target = await reserveIn(to, extent, sizeLimit, signal);
  const message = {
    machine: handle,
    kernels: loadKernels(),
    segments,
    segmentCount,
    maxSegmentBytes,
    pieces,
    arena,
    sources,
    recordCrcs,
    target,
  };
  const totals = { units: segmentCount, pages, bytes };
  await runPhase<CopyTask>(dump, 'copy', crew, totals, () => message, {
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

function crewOf({ engine, crews }: Dump, work: Work): Crew {
  const crew = engine.pool.crew(work);
  crews.push(crew);
  return crew;
}

/** Runs a phase on its workers, and keeps their reports. */
async function runPhase<T extends PhaseTask>(
  dump: Dump,
  phase: DumpPhase,
  { workers, here }: Crew,
  totals: PhaseTotals,
  messageOf: (worker: number) => Omit<T, keyof PhaseTask>,
  { beside, onLost = () => {} }: PhaseCompany = {},
): Promise<void> {
  const { engine, options, startedAt, meter } = dump;
  const buffer = createPhase(workers);
  const tasks: (Omit<T, keyof PhaseTask> & PhaseTask)[] = [];
  for (let worker = 0; worker < workers; worker++) {
    tasks.push({ ...messageOf(worker), phase: buffer, worker });
  }
  const { signal } = options;
  const { pace } = meter;
  const control = new PhaseControl(buffer);
  const over = new AbortController();
  const running = engine.pool
    .runPhase(phase, tasks, control, {
      signal,
      onLost,
      onProgress: meter.begin(phase, totals),
      pace,
      here,
    })
    .finally(() => over.abort());
  // Both have to end, whichever fails: the output's own error says more than the stopped phase's.
  const [work, output] = await Promise.allSettled([running, beside?.(control, over.signal)]);
  if (output.status === 'rejected') throw output.reason;
  if (work.status === 'rejected') throw work.reason;
  dump.workers.push(...workerReports(phase, work.value, startedAt));
}
