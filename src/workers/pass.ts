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
import { LookBack } from '../shared/dump/look-back.ts';
import { NameTable } from '../shared/dump/name-table.ts';
import { type KeptUnit, PackedUnit } from '../shared/dump/packed-unit.ts';
import { PartClaims } from '../shared/dump/part-claims.ts';
import { PhaseControl } from '../shared/dump/phase-control.ts';
import type { PassReport, PassTask } from '../shared/dump/tasks/pass-task.ts';
import type { PhaseReport } from '../shared/dump/tasks/phase-task.ts';
import { VmaTallies } from '../shared/dump/vma-tally.ts';
import { WorkUnits } from '../shared/dump/work-unit.ts';
import type { Outcome } from '../shared/errors.ts';
import { NO_THREAD } from '../shared/sync/thread-layout.ts';
import { PageMover } from './copy/page-mover.ts';
import { segmentStage } from './copy/staging.ts';
import { ImageOutput, PhaseStopped } from './output/image-output.ts';
import { BlockPacker } from './pass/block-packer.ts';
import { CoreSizer } from './pass/core-sizer.ts';
import { CoreWriter } from './pass/core-writer.ts';
import { CrcList } from './pass/crc-list.ts';
import { ParentDigests } from './pass/parent-digests.ts';
import type { Sizer, Writer } from './pass/sizer.ts';
import { UnitClassifier } from './pass/unit-classifier.ts';
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
  readonly #faults: WorkerFaults | undefined;
  readonly #classifier: UnitClassifier;
  readonly #sizer: Sizer;
  readonly #parentDigests: ParentDigests | undefined;
  readonly #crcs = new CrcList();
  readonly #out: ImageOutput | undefined;
  readonly #writer: Writer | undefined;
  readonly #mmOffsets: number[] = [];
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
    const packs = task.compress && task.packed === undefined;
    const parts = { machine, mms: this.#mms, units: this.#units, faults, packs };
    this.#classifier = new UnitClassifier({ task, phase: this.#phase, ...parts });
    const tallies = new VmaTallies(task.tallies);
    const names = new NameTable(task.names);
    const { vmaBases, blockPerPage, target } = task;
    const stage = segmentStage(machine, task.reservations);
    const digests = task.parent && new ParentDigests(task.parent, task.digestKernels.inside);
    this.#parentDigests = digests;
    const mover =
      packs || target !== undefined
        ? new PageMover(machine, this.#classifier.found.sources, task)
        : undefined;
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
    try {
      return this.#unit(unit);
    } finally {
      this.#classifier.release();
    }
  }

  #unit(unit: number): UnitResult {
    const classifier = this.#classifier;
    const first = classifier.classify(unit);
    if (this.#packer !== undefined) classifier.placeFerried(first);
    if (!this.#task.isCounted) this.#size(unit, first);
    if (this.#task.keepsPacked) this.#packed.push(this.#packer!.unit.kept(unit));
    if (this.#writer === undefined) return { pages: this.#sizer.copied, bytes: 0 };
    if (!this.#task.compress) classifier.placeFerried(first);
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
    const { runs } = this.#classifier;
    return { crcs: this.#crcs.taken(), unsupported, joins, runs, packed: this.#packed };
  }

  #size(unit: number, first: number): void {
    const units = this.#units;
    const sizer = this.#sizer;
    const mm = units.mm(unit);
    const before = sizer.unsupported.length;
    if (this.#packer !== undefined) this.#parentDigests?.begin(units, unit);
    sizer.begin(mm, units.leadBytes(unit));
    walkUnit(this.#mms[mm]!, units, unit, this.#classifier.found, first, sizer);
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
      this.#startOf(this.#task.firstUnits[mm]!) + (mm === 0 ? this.#task.firstMm : 0);
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
    walkUnit(this.#mms[mm]!, units, unit, this.#classifier.found, first, writer);
    writer.raw(this.#leads, units.trailAt(unit), units.trailBytes(unit));
    out.end();
    this.#crcs.endUnit(unit);
  }
}
