/**
 * Runs the pass over the units of a plan. If the sink or an option needs the length of the image
 * before the first byte, a counting pass comes first. Otherwise the late records are written again
 * after the pass.
 */
import type { Mm } from '../../mmu/mm/mm.ts';
import { LookBack } from '../../shared/dump/look-back.ts';
import type { KeptUnit } from '../../shared/dump/packed-unit.ts';
import type { PageDigestBuffers } from '../../shared/dump/page-digests.ts';
import { SEGMENT_BYTES_MAX } from '../../shared/dump/segment-cut.ts';
import type { CopyTarget } from '../../shared/dump/tasks/copy-target.ts';
import type {
  KeptRuns,
  ParentTask,
  PassReport,
  UnitRuns,
} from '../../shared/dump/tasks/pass-task.ts';
import { VmaTallies } from '../../shared/dump/vma-tally.ts';
import { WorkUnits } from '../../shared/dump/work-unit.ts';
import type { Crew, Work } from '../crew/crew.ts';
import { Ferry } from '../crew/ferry.ts';
import { abortable } from '../job/stop.ts';
import { type OpenTarget, openTarget } from '../sinks/open-target.ts';
import { CoreOutput } from './core/core-output.ts';
import { emptyRuns, mustCount } from './counting-pass.ts';
import { type Dump, enter } from './engine.ts';
import type { FormatOutput, PassFindings } from './format-output.ts';
import { rewriteIn } from './late-records.ts';
import { NativeOutput } from './native-output.ts';
import { assertSize } from './output.ts';
import { keptDigests, parentTask } from './parent.ts';
import { passMessage } from './pass-message.ts';
import { runPassPhase } from './pass-phase.ts';
import type { DescribedMm, PassTables } from './pass-tables.ts';
import type { Plan } from './plan.ts';
import type { RecordCrcs } from './record-crcs.ts';
import type { DumpPhase } from './report.ts';
import type { PinLife, Pins } from './running.ts';
import { type SkippedPages, unsupportedError, unsupportedPages } from './tally.ts';
import { bytesAtMost, bytesToClassify, bytesToCopy } from './work.ts';
import { withLoans } from './worker-loans.ts';

/** The result of a pass, or of a counting pass and a pass. */
export interface PassResult {
  /** Length of the image. */
  readonly bytes: number;
  readonly tables: PassTables;
  readonly tallies: VmaTallies;
  /** Pages that could not be stored, ascending by mm and address. */
  readonly unsupported: readonly SkippedPages[];
  /** Undefined if nothing was written. */
  readonly crcs: RecordCrcs | undefined;
  /** The runs of every unit if the dump has several mms, else nothing. */
  readonly runs: readonly UnitRuns[];
  /** The digests of the pages of the image. Undefined unless it has a parent. */
  readonly digests: PageDigestBuffers | undefined;
}

/**
 * Runs a counting pass if one is needed, and a pass that writes unless the dump is an estimate.
 * `pins` is given for a running machine. Throws AbortError, ENOMEM, PAGE_UNSUPPORTED, SIZE_LIMIT
 * and OUTPUT_FAILED.
 */
export async function runPasses(
  dump: Dump,
  mms: readonly DescribedMm[],
  plan: Plan,
  pins: Pins | undefined,
): Promise<PassResult> {
  const { options, engine, yielder } = dump;
  const output = outputOf(dump, mms);
  const tables = await output.prepare(plan, engine.buffers, yielder);
  const run = new PassRun(dump, mms, plan, tables, pins, output);
  const raw = mms.map(({ mm }) => mm);
  if (mustCount(dump, plan, raw, tables.recordBytes)) await run.count();
  if (!options.dryRun) await run.write();
  return run.result();
}

function outputOf({ options, parent }: Dump, mms: readonly DescribedMm[]): FormatOutput {
  const { isInstant: frozen, digest, dontDump, compress: zstd, format } = options;
  if (format === 'elf') return new CoreOutput(mms[0]!);
  const head = { frozen, digest, dontDump, zstd, mmCount: mms.length, parent: parent?.fields };
  return new NativeOutput(mms, head, options.state);
}

class PassRun {
  readonly #dump: Dump;
  readonly #mms: readonly DescribedMm[];
  readonly #plan: Plan;
  #tables: PassTables;
  /** What the image has around its pages. */
  readonly #output: FormatOutput;
  /** Bytes behind the last unit. */
  #lateBytes = 0;
  readonly #pins: Pins | undefined;
  readonly #lookBack: LookBack;
  readonly #reports: PassReport[] = [];
  readonly #parent: ParentTask | undefined;
  #isCounted = false;
  #kept: KeptRuns | undefined;
  #crcs: RecordCrcs | undefined;

  constructor(
    dump: Dump,
    mms: readonly DescribedMm[],
    plan: Plan,
    tables: PassTables,
    pins: Pins | undefined,
    output: FormatOutput,
  ) {
    this.#output = output;
    this.#dump = dump;
    this.#mms = mms;
    this.#plan = plan;
    this.#tables = tables;
    this.#pins = pins;
    this.#lookBack = new LookBack(new Int32Array(tables.lookBack));
    this.#lookBack.clear(tables.unitCount);
    const { parent } = dump;
    this.#parent = parent && parentTask(dump, parent, tables);
    new VmaTallies(tables.tallies).clear(tables.vmaBases.at(-1)!);
  }

  get #raw(): Mm[] {
    return this.#mms.map(({ mm }) => mm);
  }

  /** The length of the image. Valid once every unit is placed. */
  get #bytes(): number {
    return this.#lookBack.endOf(this.#tables.unitCount - 1) + this.#lateBytes;
  }

  async count(): Promise<void> {
    const { options } = this.#dump;
    enter(this.#dump, 'count');
    const { pages } = this.#tables;
    this.#kept = emptyRuns(this.#dump, this.#raw, pages, this.#pins !== undefined);
    const work = options.compress ? bytesToCopy : bytesToClassify;
    await this.#run('count', { bytes: work(this.#raw, this.#plan) });
    this.#assertSupported();
    this.#place();
    this.#isCounted = true;
    this.#kept &&= { ...this.#kept, isFilled: true };
    assertSize(this.#bytes, options.sizeLimit);
  }

  /**
   * Finds, after a counting pass, where every unit begins and which segment of a stream is its
   * first. The end of the image follows the pages, before the end of the last unit.
   */
  #place(): void {
    const { unitCount } = this.#tables;
    const units = new WorkUnits(this.#tables.units);
    let segment = 0;
    let end = 0;
    for (let unit = 0; unit < unitCount; unit++) {
      if (unit === unitCount - 1) end += this.#placeEnd(end);
      end += this.#lookBack.sizeOf(unit);
      this.#lookBack.publishEnd(unit, end);
      units.setFirstSegment(unit, segment);
      segment += units.segments(unit);
    }
    this.#output.placeHead(this.#findings, end);
  }

  /** Places what follows the pages, which end at byte `end`. Returns its length. */
  #placeEnd(end: number): number {
    const placed = this.#output.placeEnd(this.#findings, end);
    this.#tables = placed.tables;
    return placed.bytes;
  }

  get #findings(): PassFindings {
    return { tables: this.#tables, lookBack: this.#lookBack, reports: this.#reports };
  }

  get #runs(): UnitRuns[] {
    return this.#reports.flatMap(({ runs }) => runs);
  }

  /** What a counting pass has compressed, by unit. */
  get #packed(): KeptUnit[] {
    const units: KeptUnit[] = [];
    for (const { packed } of this.#reports) for (const kept of packed) units[kept.unit] = kept;
    return units;
  }

  async write(): Promise<void> {
    const { to, signal } = this.#dump.options;
    enter(this.#dump, 'copy');
    const isStream = to.kind === 'stream'; // workers wait for slots, which this thread empties
    const bytes = this.#isCounted ? this.#bytes : bytesToCopy(this.#raw, this.#plan);
    const mayRunHere = !isStream && (this.#pins === undefined || this.#kept !== undefined);
    const crew = this.#crewOf({ units: this.#tables.unitCount, bytes, mayRunHere });
    const units = new WorkUnits(this.#tables.units);
    const last = this.#tables.unitCount - 1;
    const extent = {
      bytes: this.#isCounted ? this.#bytes : bytesAtMost(this.#tables.recordBytes, this.#plan),
      isExact: this.#isCounted,
      segments: this.#isCounted ? units.firstSegment(last) + units.segments(last) : 0,
      maxSegmentBytes: SEGMENT_BYTES_MAX,
      units: { count: this.#tables.unitCount, offset: (unit: number) => this.#offsetOf(unit) },
      workers: crew.workers,
    };
    const given = await abortable(to.reserve(extent), signal);
    const { target, drain } = openTarget(to, given, extent);
    await this.#run('copy', { bytes, target, drain, crew });
    if (!this.#isCounted) this.#assertSupported();
    this.#crcs = this.#output.crcsOf(this.#reports);
    if (!this.#isCounted) await this.#finish(target);
  }

  #offsetOf(unit: number): number {
    return unit === 0 ? 0 : this.#lookBack.endOf(unit - 1);
  }

  /** Writes again what depends on the pass. */
  async #finish(target: CopyTarget): Promise<void> {
    const { yielder } = this.#dump;
    const rewrite = rewriteIn(target);
    const findings = this.#findings;
    const end = this.#bytes;
    this.#lateBytes = await this.#output.finish(findings, end, rewrite, this.#crcs, yielder);
  }

  result(): PassResult {
    const tables = this.#tables;
    const kept = this.#parent?.kept;
    return {
      bytes: this.#bytes,
      tables: { ...tables, records: this.#output.records(tables) },
      tallies: new VmaTallies(tables.tallies),
      unsupported: unsupportedPages(this.#plan, this.#reports),
      crcs: this.#crcs,
      runs: this.#runs,
      digests: kept && keptDigests(tables, kept),
    };
  }

  /** Throws PAGE_UNSUPPORTED for the first page by mm and address, if the policy is 'fail'. */
  #assertSupported(): void {
    if (this.#dump.options.unsupported !== 'fail') return;
    const [first] = unsupportedPages(this.#plan, this.#reports);
    if (first !== undefined) throw unsupportedError(this.#raw, first);
  }

  #crewOf(work: Work): Crew {
    const crew = this.#dump.engine.pool.crew(work);
    this.#dump.crews.push(crew);
    return crew;
  }

  /** Runs one pass on its workers. */
  async #run(
    name: DumpPhase,
    work: { bytes: number; crew?: Crew } & Partial<OpenTarget>,
  ): Promise<void> {
    const { target, drain } = work;
    const { unitCount, unitPages } = this.#tables;
    const { compress, dryRun } = this.#dump.options;
    const isClassifying = this.#kept?.isFilled !== true;
    const pins = isClassifying ? this.#pins : undefined;
    const mayRunHere = pins === undefined; // else workers wait for the locks of page tables
    const { workers, here } =
      work.crew ?? this.#crewOf({ units: unitCount, bytes: work.bytes, mayRunHere });
    const message = passMessage(this.#dump, this.#mms, this.#plan, this.#tables, {
      anonIds: this.#isCounted ? this.#output.anonIds : undefined,
      isCounted: this.#isCounted,
      kept: this.#kept,
      packed: this.#isCounted && compress ? this.#packed : undefined,
      keepsPacked: compress && target === undefined && !dryRun,
      parent: this.#parent,
      target,
    });
    const totals = { units: unitCount, pages: 0, bytes: this.#isCounted ? this.#bytes : 0 };
    const ferry = new Ferry(this.#dump.engine.pool.ferryBuffers);
    const about = { name, totals, lookBack: this.#lookBack, pins: this.#pins, ferry, drain };
    const { machine } = this.#raw[0]!;
    const stages = target !== undefined || compress;
    const lender = { machine, pins, pinLife: this.#pinLife, stages };
    const reports = await withLoans(lender, workers, (loans) => {
      return runPassPhase(this.#dump, about, { workers: loans.length, here }, (worker) => ({
        ...message,
        ...loans[worker]!,
        ferry: here ? undefined : ferry.reach(machine, unitPages),
      }));
    });
    this.#reports.push(...reports);
  }

  /** How long pins live: to the end of the dump if another pass follows, else for one unit. */
  get #pinLife(): PinLife {
    const { pages, unitPages } = this.#tables;
    return this.#kept === undefined ? { kind: 'unit', unitPages } : { kind: 'dump', pages };
  }
}
