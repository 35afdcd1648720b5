/**
 * Runs the pass over the units of a plan. If the sink or an option needs the length of the image
 * before the first byte, a counting pass comes first. Otherwise the late records are written again
 * after the pass.
 */
import type { Mm } from '../../mmu/mm/mm.ts';
import { LookBack } from '../../shared/dump/look-back.ts';
import type { KeptUnit } from '../../shared/dump/packed-unit.ts';
import { RULE } from '../../shared/dump/page-class.ts';
import { type PageDigestBuffers, pageDigestBytes } from '../../shared/dump/page-digests.ts';
import { runTableBytes } from '../../shared/dump/run-table.ts';
import { SEGMENT_BYTES_MAX } from '../../shared/dump/segment-cut.ts';
import type { StagingReservations } from '../../shared/dump/staging-reservations.ts';
import type { CopyTarget } from '../../shared/dump/tasks/copy-target.ts';
import type {
  KeptRuns,
  ParentTask,
  PassReport,
  UnitRuns,
} from '../../shared/dump/tasks/pass-task.ts';
import { VmaTallies } from '../../shared/dump/vma-tally.ts';
import { WorkUnits } from '../../shared/dump/work-unit.ts';
import { encodeHead } from '../../shared/formats/cpt/encode-mm.ts';
import type { Crew, Work } from '../crew/crew.ts';
import { Ferry } from '../crew/ferry.ts';
import { abortable } from '../job/stop.ts';
import { AnonIds } from './anon-ids.ts';
import { CoreOutput, placeCoreEnd } from './core/core-output.ts';
import { type Dump, enter } from './engine.ts';
import { finishVmas, rewriteIn } from './late-records.ts';
import { assertSize } from './output.ts';
import { keptDigests, parentTask } from './parent.ts';
import { passMessage } from './pass-message.ts';
import { runPassPhase } from './pass-phase.ts';
import { type DescribedMm, type PassTables, preparePass } from './pass-tables.ts';
import type { Plan } from './plan.ts';
import { RecordCrcs } from './record-crcs.ts';
import type { DumpPhase } from './report.ts';
import type { PinLife, Pins } from './running.ts';
import { lendReservations, returnReservations } from './staging-reservations.ts';
import { byPlace, leftOutPages, type SkippedPages, skippedRun, unsupportedError } from './tally.ts';
import { bytesAtMost, bytesToClassify, bytesToCopy, isNearBound } from './work.ts';

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
  const { freeze: frozen, digest, dontDump, compress: zstd } = options;
  const parent = dump.parent?.fields;
  const head = { frozen, digest, dontDump, zstd, mmCount: mms.length, totalLen: 0, parent };
  const core = options.format === 'elf' ? new CoreOutput(mms[0]!) : undefined;
  const tables =
    core?.prepare(plan, engine.buffers) ??
    (await preparePass(plan, mms, head, engine.buffers, yielder));
  const run = new PassRun(dump, mms, plan, tables, pins, head, core);
  if (run.mustCount) await run.count();
  if (!options.dryRun) await run.write();
  return run.result();
}

/**
 * Whether an mm maps a file of which pages lie in backings. A process that does not stand still may
 * write such pages, so a counting pass has to keep what it has found.
 */
function showsPlaces(mms: readonly Mm[]): boolean {
  if (mms[0]!.machine.backings.isEmpty) return false;
  return mms.some(({ vmas, files }) => {
    for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
      const file = vmas.file(vmas.slot(ordinal));
      if (file !== 0 && files.places(file) !== undefined) return true;
    }
    return false;
  });
}

class PassRun {
  readonly #dump: Dump;
  readonly #mms: readonly DescribedMm[];
  readonly #plan: Plan;
  #tables: PassTables;
  /** What a core file has around its pages. Undefined for a native image. */
  readonly #core: CoreOutput | undefined;
  /** Bytes behind the last unit. */
  #lateBytes = 0;
  readonly #pins: Pins | undefined;
  readonly #head: Parameters<typeof encodeHead>[0];
  readonly #lookBack: LookBack;
  readonly #reports: PassReport[] = [];
  readonly #anonIds: Int32Array;
  readonly #parent: ParentTask | undefined;
  #isCounted = false;
  #kept: KeptRuns | undefined;
  #headCrc: number | undefined;
  #crcs: RecordCrcs | undefined;

  constructor(
    dump: Dump,
    mms: readonly DescribedMm[],
    plan: Plan,
    tables: PassTables,
    pins: Pins | undefined,
    head: Parameters<typeof encodeHead>[0],
    core: CoreOutput | undefined,
  ) {
    this.#core = core;
    this.#dump = dump;
    this.#mms = mms;
    this.#plan = plan;
    this.#tables = tables;
    this.#pins = pins;
    this.#head = head;
    this.#lookBack = new LookBack(new Int32Array(tables.lookBack));
    this.#anonIds = new Int32Array(new SharedArrayBuffer(4 * tables.vmaBases.at(-1)!));
    this.#lookBack.clear(tables.unitCount);
    const { parent } = dump;
    this.#parent = parent && parentTask(dump, parent, this.#raw, this.#digestBuffer());
    new VmaTallies(tables.tallies).clear(tables.vmaBases.at(-1)!);
  }

  /**
   * Whether something must be known before the first byte is written: the length of the image, or
   * that all pages can be stored.
   */
  get mustCount(): boolean {
    const { to, sizeLimit, dryRun, unsupported } = this.#dump.options;
    if (dryRun || sizeLimit !== undefined) return true;
    if (to.kind === 'stream' || to.kind === 'split') return true;
    if (unsupported === 'fail' && this.#plan.leftOut.some(({ rule }) => rule === RULE.TABLE_BAD)) {
      return true;
    }
    if (to.kind !== 'memory') return false;
    // An image with a parent is much shorter than the bound.
    return this.#parent !== undefined || !isNearBound(this.#bytesAtMost, this.#raw, this.#plan);
  }

  /** Memory for the digests of all pages, if they are kept. */
  #digestBuffer(): SharedArrayBuffer | undefined {
    const { engine, options } = this.#dump;
    const bytes = pageDigestBytes(this.#tables.pages);
    if (options.dryRun || bytes === 0 || !engine.digests.takes(bytes)) return undefined;
    return engine.buffers.fresh('page digests', bytes);
  }

  get #raw(): Mm[] {
    return this.#mms.map(({ mm }) => mm);
  }

  get #bytesAtMost(): number {
    return bytesAtMost(this.#tables.recordBytes, this.#plan);
  }

  /** The length of the image. Valid once every unit is placed. */
  get #bytes(): number {
    return this.#lookBack.endOf(this.#tables.unitCount - 1) + this.#lateBytes;
  }

  async count(): Promise<void> {
    const { engine, options } = this.#dump;
    enter(this.#dump, 'count');
    // With a parent, the pages would have to be compared with it once more.
    const mayChange = this.#pins !== undefined || showsPlaces(this.#raw);
    const isKept = mayChange || this.#parent !== undefined || options.compress;
    if (isKept && !options.dryRun) {
      const { pages } = this.#tables;
      const runs = engine.buffers.take('runs', runTableBytes(pages));
      const sources = engine.buffers.take('sources', pages * 4);
      const hasBackings = !this.#raw[0]!.machine.backings.isEmpty;
      const identities = hasBackings ? engine.buffers.take('identities', pages * 8) : undefined;
      this.#kept = { runs, sources, identities, isFilled: false };
    }
    const work = options.compress ? bytesToCopy : bytesToClassify;
    await this.#run('count', { bytes: work(this.#raw, this.#plan), target: undefined });
    this.#assertSupported();
    this.#place();
    this.#isCounted = true;
    this.#kept &&= { ...this.#kept, isFilled: true };
    assertSize(this.#bytes, options.sizeLimit);
  }

  /**
   * Finds, after a counting pass, where every unit begins and which segment of a stream is its
   * first. Encodes the file head again, with the length of the image.
   */
  #place(): void {
    const { unitCount, leads } = this.#tables;
    const units = new WorkUnits(this.#tables.units);
    let segment = 0;
    let end = 0;
    for (let unit = 0; unit < unitCount; unit++) {
      if (unit === unitCount - 1) end += this.#placeCore(end);
      end += this.#lookBack.sizeOf(unit);
      this.#lookBack.publishEnd(unit, end);
      units.setFirstSegment(unit, segment);
      segment += units.segments(unit);
    }
    if (this.#core !== undefined) return;
    const { bytes, crc } = encodeHead({ ...this.#head, totalLen: end });
    new Uint8Array(leads).set(bytes, 0);
    this.#headCrc = crc;
    this.#numberAnonIds();
  }

  /** Places the end of a core file behind the pages, at byte `end`. Returns its length. */
  #placeCore(end: number): number {
    if (this.#core === undefined) return 0;
    const placed = placeCoreEnd(this.#tables, this.#core.end(this.#runs, this.#lookBack, end));
    this.#tables = placed.tables;
    return placed.bytes;
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

  #numberAnonIds(): void {
    const ids = new AnonIds(this.#anonIds.length);
    for (const { joins } of this.#reports) ids.joinAll(joins);
    ids.number(this.#anonIds);
  }

  async write(): Promise<void> {
    const { options } = this.#dump;
    const { to, signal } = options;
    enter(this.#dump, 'copy');
    const isStream = to.kind === 'stream'; // workers wait for slots, which this thread empties
    const bytes = this.#isCounted ? this.#bytes : bytesToCopy(this.#raw, this.#plan);
    const mayRunHere = !isStream && (this.#pins === undefined || this.#kept !== undefined);
    const crew = this.#crewOf({ units: this.#tables.unitCount, bytes, mayRunHere });
    const units = new WorkUnits(this.#tables.units);
    const last = this.#tables.unitCount - 1;
    const extent = {
      bytes: this.#isCounted ? this.#bytes : this.#bytesAtMost,
      isExact: this.#isCounted,
      segments: this.#isCounted ? units.firstSegment(last) + units.segments(last) : 0,
      maxSegmentBytes: SEGMENT_BYTES_MAX,
      units: { count: this.#tables.unitCount, offset: (unit: number) => this.#offsetOf(unit) },
      workers: crew.workers,
    };
    const target = await abortable(to.reserve(extent), signal);
    await this.#run('copy', { bytes, target, crew });
    if (!this.#isCounted) this.#assertSupported();
    if (this.#core === undefined)
      this.#crcs = new RecordCrcs(this.#reports.map(({ crcs }) => crcs));
    if (!this.#isCounted) await this.#finish(target);
  }

  #offsetOf(unit: number): number {
    return unit === 0 ? 0 : this.#lookBack.endOf(unit - 1);
  }

  /** Writes the late records again. */
  async #finish(target: CopyTarget): Promise<void> {
    const rewrite = rewriteIn(target);
    if (this.#core !== undefined) {
      const end = this.#bytes;
      const { header, trailer } = this.#core.end(this.#runs, this.#lookBack, end);
      rewrite(end, trailer);
      rewrite(0, header);
      this.#lateBytes = trailer.length;
      return;
    }
    this.#numberAnonIds();
    const { yielder } = this.#dump;
    await finishVmas(this.#tables, this.#mms, this.#anonIds, this.#crcs!, rewrite, yielder);
    const { bytes, crc } = encodeHead({ ...this.#head, totalLen: this.#bytes });
    rewrite(0, bytes);
    this.#headCrc = crc;
  }

  result(): PassResult {
    const tables = this.#tables;
    const [first, ...others] = tables.records;
    const kept = this.#parent?.kept;
    const lead = [this.#headCrc ?? 0, ...first!.lead.slice(1)];
    return {
      bytes: this.#bytes,
      tables: { ...tables, records: [{ ...first!, lead }, ...others] },
      tallies: new VmaTallies(tables.tallies),
      unsupported: this.#unsupported(),
      crcs: this.#crcs,
      runs: this.#runs,
      digests: kept && keptDigests(tables, kept),
    };
  }

  #unsupported(): SkippedPages[] {
    const found = this.#reports.flatMap(({ unsupported }) => unsupported.map(skippedRun));
    return [...leftOutPages(this.#plan.leftOut, RULE.TABLE_BAD), ...found].sort(byPlace);
  }

  /** Throws PAGE_UNSUPPORTED for the first page by mm and address, if the policy is 'fail'. */
  #assertSupported(): void {
    if (this.#dump.options.unsupported !== 'fail') return;
    const [first] = this.#unsupported();
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
    work: { bytes: number; target: CopyTarget | undefined; crew?: Crew },
  ): Promise<void> {
    const { target } = work;
    const { unitCount } = this.#tables;
    const { compress, dryRun } = this.#dump.options;
    const isClassifying = this.#kept?.isFilled !== true;
    const pins = isClassifying ? this.#pins : undefined;
    const mayRunHere = pins === undefined; // else workers wait for the locks of page tables
    const { workers, here } =
      work.crew ?? this.#crewOf({ units: unitCount, bytes: work.bytes, mayRunHere });
    let failed = true;
    let reservations: readonly StagingReservations[] = [];
    try {
      const running = pins?.enlist(workers, this.#pinLife);
      const crewSize = running?.length ?? workers;
      const message = passMessage(this.#dump, this.#mms, this.#plan, this.#tables, {
        anonIds: this.#isCounted ? (this.#anonIds.buffer as SharedArrayBuffer) : undefined,
        isCounted: this.#isCounted,
        kept: this.#kept,
        packed: this.#isCounted && compress ? this.#packed : undefined,
        keepsPacked: compress && target === undefined && !dryRun,
        parent: this.#parent,
        target,
      });
      const moves = target !== undefined || compress;
      if (moves && message.kernels !== undefined) {
        reservations = lendReservations(this.#raw[0]!.machine, crewSize);
      }
      const bytes = this.#isCounted ? this.#bytes : 0;
      const totals = { units: unitCount, pages: 0, bytes };
      const ferry = new Ferry(this.#dump.engine.pool.ferryBuffers);
      const about = { name, totals, lookBack: this.#lookBack, pins: this.#pins, ferry };
      const crew = { workers: crewSize, here };
      const { machine } = this.#raw[0]!;
      const reports = await runPassPhase(this.#dump, about, crew, (worker) => ({
        ...message,
        running: running?.[worker],
        reservations: reservations[worker],
        ferry: here ? undefined : ferry.reach(machine, this.#tables.unitPages),
      }));
      this.#reports.push(...reports);
      failed = false;
    } finally {
      pins?.dismiss(failed);
      returnReservations(this.#raw[0]!.machine, reservations);
    }
  }

  /** How long pins live: to the end of the dump if another pass follows, else for one unit. */
  get #pinLife(): PinLife {
    const { pages, unitPages } = this.#tables;
    return this.#kept === undefined ? { kind: 'unit', unitPages } : { kind: 'dump', pages };
  }
}
