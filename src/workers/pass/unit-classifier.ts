/**
 * The first step of the work for a unit: every page of it gets a class, and joins a run. The pages
 * come from wherever they are: frames, page tables that are pinned on a running machine, backings,
 * and memory that is not shared.
 */
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { PAGE_CLASS } from '../../shared/dump/page-class.ts';
import type { PhaseControl } from '../../shared/dump/phase-control.ts';
import { PinSlots } from '../../shared/dump/pin-slots.ts';
import { RUN } from '../../shared/dump/run-table.ts';
import type { PassTask, UnitRuns } from '../../shared/dump/tasks/pass-task.ts';
import type { WorkUnits } from '../../shared/dump/work-unit.ts';
import { BackedPages } from '../classify/backed-pages.ts';
import { classifiersOf } from '../classify/classifiers.ts';
import type { GranuleClassifier } from '../classify/granule-classifier.ts';
import { PinnedLeaves } from '../classify/leaves.ts';
import { ParentPages } from '../classify/parent-pages.ts';
import { RunWriter } from '../classify/run-writer.ts';
import { FerriedPages } from '../ferry/ferried-pages.ts';
import { PhaseStopped } from '../output/image-output.ts';
import type { WorkerFaults } from '../task/worker-faults.ts';

/** What a worker has for the whole of a pass. */
export interface PassParts {
  readonly task: PassTask;
  readonly phase: PhaseControl;
  readonly machine: MachineParts;
  readonly mms: readonly Mm[];
  readonly units: WorkUnits;
  readonly faults: WorkerFaults | undefined;
  /** This pass compresses the blocks. */
  readonly packs: boolean;
}

/** Classifies one unit after the other. */
export class UnitClassifier {
  /** The runs and frames of the unit. */
  readonly found: RunWriter;
  /** The runs of the units so far, if the task wants them reported. */
  readonly runs: UnitRuns[] = [];
  readonly #task: PassTask;
  readonly #phase: PhaseControl;
  readonly #mms: readonly Mm[];
  readonly #units: WorkUnits;
  readonly #packs: boolean;
  readonly #classifiers: readonly GranuleClassifier[];
  readonly #pinned: readonly PinnedLeaves[] | undefined;
  readonly #pinSlots: PinSlots | undefined;
  /** The pin slot that this worker fills for its unit, or -1. */
  #slot = -1;
  readonly #ferried: FerriedPages | undefined;
  readonly #backed: BackedPages | undefined;
  readonly #parent: ParentPages | undefined;

  constructor({ task, phase, machine, mms, units, faults, packs }: PassParts) {
    this.#task = task;
    this.#phase = phase;
    this.#mms = mms;
    this.#units = units;
    this.#packs = packs;
    const found = foundOf(task);
    const ferried = FerriedPages.of(machine, task.ferry, task.unitPages);
    const backed = backedOf(task, machine, mms);
    const pinned = pinnedOf(task, mms, faults);
    this.found = found;
    this.#ferried = ferried;
    this.#backed = backed;
    this.#pinned = pinned;
    this.#parent = parentOf(task, machine, ferried);
    const slots = task.running?.slots;
    this.#pinSlots = slots && new PinSlots(slots);
    this.#classifiers = classifiersOf(task, machine, mms, { pinned, found, backed, ferried });
  }

  /**
   * Classifies a unit or takes over its kept runs. Returns the index of its first run record.
   * Throws PhaseStopped if the phase is stopped while this waits for a pin slot.
   */
  classify(unit: number): number {
    this.#slot = -1;
    const units = this.#units;
    const { kept } = this.#task;
    const start = units.start(unit);
    const first = kept === undefined ? 0 : units.first(unit);
    this.found.begin(start, first);
    this.#backed?.begin(start, first);
    this.#ferried?.begin(this.#mms[units.mm(unit)]!, start);
    if (kept?.isFilled === true) {
      this.found.resume(units.runCount(unit));
      if (!this.#task.compress) this.#reload(units.mm(unit), first);
      return first;
    }
    this.#fetch(unit);
    this.#pinned?.[units.mm(unit)]?.beginUnit(start, this.#firstPin(unit));
    this.#classifiers[units.mm(unit)]!.classify(start, units.pages(unit));
    this.#parent?.mark(units.mm(unit), start, this.found, first);
    units.setRunCount(unit, this.found.runEnd - first);
    if (this.#task.reportsRuns) this.runs.push(runsOf(unit, start, this.found, first));
    return first;
  }

  /**
   * Puts the bytes of the unit's unshared pages, whose runs begin at record `first`, where they can
   * be copied.
   */
  placeFerried(first: number): void {
    this.#ferried?.place(this.found, first);
  }

  /** Lets go of what was pinned for the unit alone. */
  release(): void {
    if (this.#slot >= 0) this.#pinSlots!.done(this.#slot);
  }

  /**
   * Fetches the unshared pages of a unit, if somebody looks at their bytes. Also asks for those of
   * the unit that this worker will probably claim next, so that they arrive while it is at work:
   * workers take turns. On a running machine the classifier fetches what it has pinned.
   */
  #fetch(unit: number): void {
    const ferried = this.#ferried;
    const { detectZero, target, unitCount, parent } = this.#task;
    if (ferried === undefined || this.#pinned !== undefined) return;
    const looks = detectZero || target !== undefined || parent !== undefined || this.#packs;
    if (!looks) return;
    const units = this.#units;
    ferried.fetchUnit(this.#mms[units.mm(unit)]!, units.pages(unit));
    const next = unit + this.#phase.workers;
    if (next >= unitCount) return;
    ferried.askAhead(this.#mms[units.mm(next)]!, units.start(next), units.pages(next));
  }

  /** Loads the backed pages of the kept runs from `first` on once more. */
  #reload(mm: number, first: number): void {
    const { runs, runEnd, sources } = this.found;
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
  ferried: FerriedPages | undefined,
): ParentPages | undefined {
  return parent && new ParentPages(parent, memory, unitPages, digestKernels.inside, ferried);
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
