/**
 * The pass. A worker claims a unit and does everything for it: it classifies the pages, computes
 * the size of the unit's part of the image, finds where that part begins
 * (`shared/dump/look-back.ts`), and writes records, pages and checksums to their final place. No
 * table that the workers share has an entry per page, unless the runs of a running machine are kept
 * for a second pass.
 *
 * If the sink needs the length or the counts before the first byte, a counting pass comes first. It
 * runs the same code and writes nothing.
 *
 * The coordinator holds the mmap locks, so VMAs do not change. On a frozen machine page tables,
 * page structs and page caches do not change either, and plain loads are enough. On a running
 * machine each table is first copied under its lock, with a reference on each frame
 * (`classify/leaves.ts`).
 */

import { KeptNames } from '../mmu/files/kept-names.ts';
import { MachineParts } from '../mmu/mm/machine-parts.ts';
import { type Mm, mmOf } from '../mmu/mm/mm.ts';
import { leftOutFlags } from '../shared/dump/left-out.ts';
import { LookBack } from '../shared/dump/look-back.ts';
import { NameTable } from '../shared/dump/name-table.ts';
import { OwnerTable } from '../shared/dump/owner-table.ts';
import { type KeptUnit, PackedUnit } from '../shared/dump/packed-unit.ts';
import { PAGE_CLASS } from '../shared/dump/page-class.ts';
import { PartClaims } from '../shared/dump/part-claims.ts';
import { PhaseControl } from '../shared/dump/phase-control.ts';
import { PinSlots } from '../shared/dump/pin-slots.ts';
import { RUN } from '../shared/dump/run-table.ts';
import type { PassReport, PassTask, UnitRuns } from '../shared/dump/tasks/pass-task.ts';
import type { PhaseReport } from '../shared/dump/tasks/phase-task.ts';
import { VmaTallies } from '../shared/dump/vma-tally.ts';
import { WorkUnits } from '../shared/dump/work-unit.ts';
import type { Outcome } from '../shared/errors.ts';
import { FILE_HEAD } from '../shared/formats/cpt/records.ts';
import { NO_THREAD } from '../shared/sync/thread-layout.ts';
import { BackedPages } from './classify/backed-pages.ts';
import { Donors } from './classify/donors.ts';
import { GranuleClassifier } from './classify/granule-classifier.ts';
import { FrozenLeaves, PinnedLeaves } from './classify/leaves.ts';
import { ParentPages } from './classify/parent-pages.ts';
import { RunWriter } from './classify/run-writer.ts';
import { zeroTestsOf } from './classify/zero-test.ts';
import { PageMover } from './copy/page-mover.ts';
import { segmentStage } from './copy/staging.ts';
import { FerriedPages } from './ferry/ferried-pages.ts';
import { ImageOutput, PhaseStopped } from './output/image-output.ts';
import { BlockPacker } from './pass/block-packer.ts';
import { CoreSizer } from './pass/core-sizer.ts';
import { CoreWriter } from './pass/core-writer.ts';
import { CrcList } from './pass/crc-list.ts';
import { ParentDigests } from './pass/parent-digests.ts';
import type { Sizer, Writer } from './pass/sizer.ts';
import { UnitSizer } from './pass/unit-sizer.ts';
import { walkUnit } from './pass/unit-walk.ts';
import { UnitWriter } from './pass/unit-writer.ts';
import { runUnits, type UnitResult } from './task/run-units.ts';
import { WorkerFaults } from './task/worker-faults.ts';

/**
 * Runs a pass over the units that this worker claims, or a counting pass if the task has no target.
 * A phase that is stopped is no failure of the worker.
 */
export function pass(task: PassTask): Outcome<PassReport> {
  const worker = new PassWorker(task);
  const claims = claimsOf(task);
  const outcome = runUnits(task, task.unitCount, (unit) => {
    try {
      return worker.unit(claims?.take() ?? unit);
    } catch (error) {
      if (error instanceof PhaseStopped) return { pages: 0, bytes: 0 };
      throw error;
    }
  });
  if (outcome.ok) return { ok: true, value: { ...outcome.value, ...worker.report() } };
  worker.wakeOthers(); // they may wait for a size that is never published
  return outcome;
}

/**
 * For an image in parts: which units this worker writes, see PartClaims. A counting pass has found
 * the places of all units, so they may be written in any order.
 */
function claimsOf({ target, phase, worker }: PassTask): PartClaims | undefined {
  if (target?.kind !== 'parts') return undefined;
  const { workers } = new PhaseControl(phase);
  return new PartClaims(target.claims, target.firstUnits, { worker, workers });
}

class PassWorker {
  readonly #task: PassTask;
  readonly #phase: PhaseControl;
  readonly #mms: readonly Mm[];
  readonly #units: WorkUnits;
  readonly #lookBack: LookBack;
  readonly #leads: Int32Array;
  readonly #found: RunWriter;
  readonly #faults: WorkerFaults | undefined;
  readonly #classifiers: readonly GranuleClassifier[];
  readonly #pinned: readonly PinnedLeaves[] | undefined;
  readonly #pinSlots: PinSlots | undefined;
  /** The pin slot that this worker fills for its unit, or -1. */
  #slot = -1;
  readonly #sizer: Sizer;
  readonly #ferried: FerriedPages | undefined;
  readonly #backed: BackedPages | undefined;
  readonly #parent: ParentPages | undefined;
  readonly #parentDigests: ParentDigests | undefined;
  readonly #crcs = new CrcList();
  readonly #out: ImageOutput | undefined;
  readonly #writer: Writer | undefined;
  readonly #mmOffsets: number[] = [];
  readonly #runs: UnitRuns[] = [];
  readonly #packer: BlockPacker | undefined;
  readonly #packed: KeptUnit[] = [];

  constructor(task: PassTask) {
    this.#task = task;
    this.#phase = new PhaseControl(task.phase);
    const thread = task.running?.thread ?? NO_THREAD;
    const machine = new MachineParts(task.machine, { thread, mayBlock: true });
    const faults = WorkerFaults.of(task);
    this.#faults = faults;
    const { running } = task;
    const files = running === undefined ? machine.files : new KeptNames(machine, running.named);
    this.#mms = task.mms.map((slot) => ({ ...mmOf(machine, slot, thread), files }));
    this.#units = new WorkUnits(task.units);
    this.#lookBack = new LookBack(new Int32Array(task.lookBack));
    this.#leads = new Int32Array(task.leads);
    this.#found = foundOf(task);
    this.#ferried = FerriedPages.of(machine, task.ferry, task.unitPages);
    this.#backed = backedOf(task, machine, this.#mms);
    this.#parent = parentOf(task, machine);
    this.#pinned = pinnedOf(task, this.#mms, faults);
    const slots = task.running?.slots;
    this.#pinSlots = slots && new PinSlots(slots);
    const parts = {
      pinned: this.#pinned,
      found: this.#found,
      backed: this.#backed,
      ferried: this.#ferried,
    };
    this.#classifiers = classifiersOf(task, machine, this.#mms, parts);
    const tallies = new VmaTallies(task.tallies);
    const names = new NameTable(task.names);
    const { vmaBases, blockPerPage, target } = task;
    const stage = segmentStage(machine, task.reservations);
    const digests = task.parent && new ParentDigests(task.parent, task.digestKernels.inside);
    this.#parentDigests = digests;
    const packs = task.compress && task.packed === undefined;
    const mover =
      packs || target !== undefined ? new PageMover(machine, this.#found.sources, task) : undefined;
    if (packs) {
      // Staging is empty while a unit is packed: it takes segments after that.
      const isCounting = target === undefined && !task.keepsPacked;
      this.#packer = new BlockPacker(mover!, stage, digests, isCounting);
    }
    const packer = this.#packer;
    const input = { mms: this.#mms, vmaBases, tallies, names, blockPerPage, packer };
    const isCore = task.format === 'elf';
    this.#sizer = isCore ? new CoreSizer(input) : new UnitSizer(input);
    if (target === undefined) return;
    this.#out = new ImageOutput(target, stage, this.#phase, faults);
    const anonIds = task.anonIds && new Int32Array(task.anonIds);
    const offsetOfMm = (mm: number): number => this.#offsetOfMm(mm);
    const packedOf = task.compress ? (unit: number) => this.#packedOf(unit) : undefined;
    const writing = { ...input, anonIds, offsetOfMm, parent: digests, packedOf };
    this.#writer = isCore
      ? new CoreWriter(this.#out, mover!)
      : new UnitWriter(writing, this.#out, mover!, this.#crcs);
  }

  /** Does everything for one unit. Throws PhaseStopped if the phase is stopped while it waits. */
  unit(unit: number): UnitResult {
    this.#slot = -1;
    try {
      return this.#unit(unit);
    } finally {
      if (this.#slot >= 0) this.#pinSlots!.done(this.#slot);
    }
  }

  #unit(unit: number): UnitResult {
    const first = this.#classify(unit);
    if (this.#packer !== undefined) this.#ferried?.place(this.#found, first);
    if (!this.#task.isCounted) this.#size(unit, first);
    if (this.#task.keepsPacked) this.#packed.push(this.#packer!.unit.kept(unit));
    if (this.#writer === undefined) return { pages: this.#sizer.copied, bytes: 0 };
    if (!this.#task.compress) this.#ferried?.place(this.#found, first);
    const start = this.#startOf(unit);
    if (!this.#task.isCounted) this.#lookBack.publishEnd(unit, start + this.#sizer.bytes);
    this.#faults?.whenPlaced();
    const bytes = this.#lookBack.endOf(unit) - start;
    this.#write(unit, first, start, bytes);
    return { pages: this.#writer.copied, bytes };
  }

  wakeOthers(): void {
    this.#lookBack.wake();
  }

  report(): Omit<PassReport, keyof PhaseReport> {
    const { unsupported, joins } = this.#sizer;
    const packed = this.#packed;
    return { crcs: this.#crcs.taken(), unsupported, joins, runs: this.#runs, packed };
  }

  /** Classifies a unit or takes over its kept runs. Returns the index of its first run record. */
  #classify(unit: number): number {
    const units = this.#units;
    const { kept } = this.#task;
    const start = units.start(unit);
    const first = kept === undefined ? 0 : units.first(unit);
    this.#found.begin(start, first);
    this.#backed?.begin(start, first);
    this.#ferried?.begin(this.#mms[units.mm(unit)]!, start);
    if (kept?.isFilled === true) {
      this.#found.resume(units.runCount(unit));
      if (!this.#task.compress) this.#reload(units.mm(unit), first);
      return first;
    }
    this.#fetch(unit);
    this.#pinned?.[units.mm(unit)]?.beginUnit(start, this.#firstPin(unit));
    this.#classifiers[units.mm(unit)]!.classify(start, units.pages(unit));
    this.#parent?.mark(units.mm(unit), start, this.#found, first);
    units.setRunCount(unit, this.#found.runEnd - first);
    if (this.#task.reportsRuns) this.#runs.push(runsOf(unit, start, this.#found, first));
    return first;
  }

  /**
   * Fetches the unshared pages of a unit, if somebody looks at their bytes. Also asks for those of
   * the unit that this worker will probably claim next, so that they arrive while it is at work:
   * workers take turns. On a running machine the classifier fetches what it has pinned.
   */
  #fetch(unit: number): void {
    const ferried = this.#ferried;
    const { detectZero, target, unitCount } = this.#task;
    if (ferried === undefined || this.#pinned !== undefined) return;
    if (!detectZero && target === undefined && this.#packer === undefined) return;
    const units = this.#units;
    ferried.fetchUnit(this.#mms[units.mm(unit)]!, units.pages(unit));
    const next = unit + this.#phase.workers;
    if (next >= unitCount) return;
    ferried.askAhead(this.#mms[units.mm(next)]!, units.start(next), units.pages(next));
  }

  /** Loads the backed pages of the kept runs from `first` on once more. */
  #reload(mm: number, first: number): void {
    const { runs, runEnd, sources } = this.#found;
    if (this.#backed === undefined) return;
    for (let run = first; run < runEnd; run++) {
      const at = run * RUN.WORDS;
      if ((runs[at + RUN.CLASS]! & 0xff) !== PAGE_CLASS.COPY) continue;
      const from = runs[at + RUN.SOURCE]!;
      this.#backed.reload(mm, sources, from, from + runs[at + RUN.COUNT]!);
    }
  }

  /**
   * The number that the unit's first page has in the pin table. Throws PhaseStopped if the phase is
   * stopped while this waits for a slot.
   */
  #firstPin(unit: number): number {
    if (this.#pinSlots === undefined) return this.#units.first(unit);
    this.#slot = this.#pinSlots.take(this.#task.worker, this.#phase);
    if (this.#slot < 0) throw new PhaseStopped();
    return this.#slot * this.#task.unitPages;
  }

  #size(unit: number, first: number): void {
    const units = this.#units;
    const sizer = this.#sizer;
    const mm = units.mm(unit);
    const before = sizer.unsupported.length;
    if (this.#packer !== undefined) this.#parentDigests?.begin(units, unit);
    sizer.begin(mm, units.leadBytes(unit));
    walkUnit(this.#mms[mm]!, units, unit, this.#found, first, sizer);
    sizer.end(units.trailBytes(unit));
    units.setSegments(unit, sizer.segments);
    // Earlier units are claimed already. On a frozen machine each of them is sized before its
    // worker looks at the stop word. So the first unsupported page in the order of addresses is
    // found, no matter which worker stops the phase.
    if (sizer.unsupported.length > before && this.#task.unsupported === 'fail') this.#phase.stop();
    this.#faults?.whenSized();
    this.#lookBack.publishSize(unit, sizer.bytes);
  }

  /** What this pass, or the counting pass before it, has compressed of a unit. */
  #packedOf(unit: number): PackedUnit {
    return this.#packer?.unit ?? PackedUnit.of(this.#task.packed![unit]!);
  }

  #startOf(unit: number): number {
    const start = this.#lookBack.startOf(unit, 0, this.#phase);
    if (start < 0) throw new PhaseStopped();
    return start;
  }

  /**
   * Image offset of the MM object of an earlier mm. Its first unit was claimed before this unit, so
   * its place gets known. Throws PhaseStopped if the phase is stopped while this waits.
   */
  #offsetOfMm(mm: number): number {
    this.#mmOffsets[mm] ??=
      this.#startOf(this.#task.firstUnits[mm]!) + (mm === 0 ? FILE_HEAD.SIZE : 0);
    return this.#mmOffsets[mm];
  }

  #write(unit: number, first: number, start: number, bytes: number): void {
    const units = this.#units;
    const writer = this.#writer!;
    const out = this.#out!;
    const mm = units.mm(unit);
    out.begin(start, bytes, units.firstSegment(unit));
    writer.begin(mm, start, unit);
    this.#parentDigests?.begin(units, unit);
    this.#crcs.beginUnit();
    writer.raw(this.#leads, units.leadAt(unit), units.leadBytes(unit));
    walkUnit(this.#mms[mm]!, units, unit, this.#found, first, writer);
    writer.raw(this.#leads, units.trailAt(unit), units.trailBytes(unit));
    out.end();
    this.#crcs.endUnit(unit);
  }
}

/** Where runs and frames go: memory of this worker, or shared tables that outlast the pass. */
function foundOf({ kept, unitPages }: PassTask): RunWriter {
  if (kept !== undefined) {
    return new RunWriter(new Int32Array(kept.runs), new Int32Array(kept.sources));
  }
  return new RunWriter(new Int32Array(unitPages * RUN.WORDS), new Int32Array(unitPages));
}

function pinnedOf(
  { running }: PassTask,
  mms: readonly Mm[],
  faults: WorkerFaults | undefined,
): readonly PinnedLeaves[] | undefined {
  if (running === undefined) return undefined;
  const pins = new Int32Array(running.pins);
  return mms.map((mm) => new PinnedLeaves(mm, pins, faults));
}

/** The reader of backed pages. Undefined if no page of the machine lies in a backing. */
function backedOf(
  { unitPages, detectZero, target, kept, parent, compress }: PassTask,
  machine: MachineParts,
  mms: readonly Mm[],
): BackedPages | undefined {
  if (machine.backings.isEmpty) return undefined;
  const needsBytes = detectZero || target !== undefined || parent !== undefined || compress;
  return new BackedPages(mms, machine.memory, unitPages, needsBytes, kept?.identities);
}

/** What finds the pages that lie in the parent image. Undefined if there is none. */
function parentOf(
  { parent, unitPages, digestKernels }: PassTask,
  { memory }: MachineParts,
): ParentPages | undefined {
  return parent && new ParentPages(parent, memory, unitPages, digestKernels.inside);
}

/** Where the classifiers of a worker find leaves and pages, and where runs go. */
interface ClassifierParts {
  readonly pinned: readonly PinnedLeaves[] | undefined;
  readonly found: RunWriter;
  readonly backed: BackedPages | undefined;
  readonly ferried: FerriedPages | undefined;
}

function classifiersOf(
  task: PassTask,
  machine: MachineParts,
  mms: readonly Mm[],
  { pinned, found, backed, ferried }: ClassifierParts,
): readonly GranuleClassifier[] {
  const { detectZero, unsupported } = task;
  const leftOut = leftOutFlags(task);
  const zeroTests = detectZero ? zeroTestsOf(machine, task.kernels) : [];
  const policy = { detectZero, copyUnsupported: unsupported === 'copy', leftOut, zeroTests };
  const owners = new OwnerTable(task.owners);
  // On a running machine two mms are not seen at one instant, so each stores what they share.
  const donors = pinned === undefined ? new Donors(mms, leftOut) : undefined;
  return mms.map((mm, ordinal) => {
    const leaves = pinned?.[ordinal] ?? new FrozenLeaves(mm);
    const bytes = { backed, ferried };
    return new GranuleClassifier(mms, ordinal, leaves, owners, donors, policy, found, bytes);
  });
}

/** The runs of a unit for the report: first page, pages and class word of each. */
function runsOf(unit: number, start: number, { runs, runEnd }: RunWriter, first: number): UnitRuns {
  const told = new Float64Array((runEnd - first) * 3);
  for (let run = first; run < runEnd; run++) {
    const at = run * RUN.WORDS;
    const to = (run - first) * 3;
    told[to] = start + runs[at + RUN.OFFSET]!;
    told[to + 1] = runs[at + RUN.COUNT]!;
    told[to + 2] = runs[at + RUN.CLASS]!;
  }
  return { unit, runs: told };
}
