/** The task of a pass over the pages of a dump, and its report. */
import type { DigestKind } from '../../digest/digest-kind.ts';
import type { KernelModules } from '../../kernels.ts';
import type { MachineHandle } from '../../machine-handle.ts';
import type { DirtyRanges } from '../dirty-ranges.ts';
import type { FerryReach } from '../ferry.ts';
import type { NameBuffers } from '../name-table.ts';
import type { OwnerBuffers } from '../owner-table.ts';
import type { KeptUnit } from '../packed-unit.ts';
import type { PageDigestBuffers } from '../page-digests.ts';
import type { StagingReservations } from '../staging-reservations.ts';
import type { CopyTarget } from './copy-target.ts';
import type { PhaseReport, PhaseTask } from './phase-task.ts';

/** What to do about pages that no rule can store: fail the dump, leave them out, or copy them. */
export type UnsupportedPolicy = 'fail' | 'skip' | 'copy';

/** What a dump writes: a native image, or an ELF core file. */
export type PassFormat = 'cpt' | 'elf';

/** What a worker needs to look at a machine that is running. */
export interface RunningMachine {
  /** Thread id of an onlooker in the thread table of the machine. */
  readonly thread: number;
  /** The table of references that the dump holds: see pin-table.ts. */
  readonly pins: SharedArrayBuffer;
  /**
   * The words of PinSlots: each pin is held for one unit. If undefined, pins are held until the end
   * of the dump, and WorkUnits.first says where those of a unit begin.
   */
  readonly slots: SharedArrayBuffer | undefined;
  /** Which files had a name when the dump began: see mmu/files/kept-names.ts. */
  readonly named: SharedArrayBuffer;
}

/**
 * Tables that are kept from a counting pass to the next pass, because classifying a running machine
 * a second time may give another result.
 */
export interface KeptRuns {
  /** Run table and list of frames, with a part for each unit (WorkUnits.first). */
  readonly runs: SharedArrayBuffer;
  readonly sources: SharedArrayBuffer;
  /** What the backed pages are: BackedPages. Undefined if the machine has no backing. */
  readonly identities: SharedArrayBuffer | undefined;
  /** An earlier pass has filled the tables. */
  readonly isFilled: boolean;
}

/** What the workers need to know of the parent image. */
export interface ParentTask {
  /** The digests of the pages that the parent holds. */
  readonly pages: PageDigestBuffers;
  /**
   * Which pages of each mm may have changed since the parent was made; all of them where there are
   * no ranges, and in all mms if this is undefined.
   */
  readonly dirty: readonly (DirtyRanges | undefined)[] | undefined;
  /**
   * Takes the digests of the pages that this image holds, by WorkUnits.first: see page-digests.ts.
   * Undefined if they are not kept.
   */
  readonly kept: SharedArrayBuffer | undefined;
}

/** The task of a pass, with or without output. */
export interface PassTask extends PhaseTask {
  readonly machine: MachineHandle;
  /** Compiled from src/workers/kernels/frames.wat. */
  readonly kernels: KernelModules;
  /** Slots of the mms, by ordinal. */
  readonly mms: readonly number[];
  /** The words of WorkUnits, their number, and the pages of the longest unit. */
  readonly units: SharedArrayBuffer;
  readonly unitCount: number;
  readonly unitPages: number;
  /** The first unit of each mm, by ordinal. */
  readonly firstUnits: readonly number[];
  readonly owners: OwnerBuffers;
  readonly detectZero: boolean;
  readonly unsupported: UnsupportedPolicy;
  readonly hugetlb: UnsupportedPolicy;
  readonly dontDump: boolean;
  readonly blockPerPage: boolean;
  readonly format: PassFormat;
  readonly digest: DigestKind;
  /** Blocks become zstd frames, unless that makes them longer. */
  readonly compress: boolean;
  /** What a counting pass has compressed, by unit. Undefined if this pass compresses. */
  readonly packed: readonly KeptUnit[] | undefined;
  /** Whether the report has to have what this pass compresses: a counting pass before another. */
  readonly keepsPacked: boolean;
  /** Compiled from src/workers/kernels/xxh3.wat.mjs. */
  readonly digestKernels: KernelModules;
  /** The words of VmaTallies, and for each mm the number of its first VMA, counted over all mms. */
  readonly tallies: SharedArrayBuffer;
  readonly vmaBases: readonly number[];
  readonly names: NameBuffers;
  /**
   * The lead table: records that the coordinator has encoded and that come before and after units
   * (WorkUnits.leadAt, trailAt).
   */
  readonly leads: SharedArrayBuffer;
  /** Byte of the image at which the first MM begins: behind the file head and the state. */
  readonly firstMm: number;
  /** The words of LookBack. */
  readonly lookBack: SharedArrayBuffer;
  /** anonvmaid of each VMA, counted over all mms. Undefined if the ids are not known yet. */
  readonly anonIds: SharedArrayBuffer | undefined;
  /** A counting pass has found the sizes and the places of all units. */
  readonly isCounted: boolean;
  readonly kept: KeptRuns | undefined;
  /** Undefined if the image has no parent. */
  readonly parent: ParentTask | undefined;
  /** The report must list the runs of every unit, for the memory usage of a family. */
  readonly reportsRuns: boolean;
  /** Undefined in a counting pass, which writes nothing. */
  readonly target: CopyTarget | undefined;
  /** Undefined if the machine is frozen. */
  readonly running: RunningMachine | undefined;
  /** The worker's own, until the pass ends. Undefined if nothing is to be staged in the banks. */
  readonly reservations: StagingReservations | undefined;
  /** The worker's own. Undefined if no memory is unshared, or the task runs where that is owned. */
  readonly ferry: FerryReach | undefined;
}

/** What a worker reports at the end of a pass. */
export interface PassReport extends PhaseReport {
  /** The record_crc of every record that the worker has encoded, so not of those in `leads`. */
  readonly crcs: UnitCrcs;
  readonly unsupported: readonly UnsupportedRun[];
  /** Pairs of VMAs that clones join, counted over all mms: that of the clone, then the donor's. */
  readonly joins: readonly number[];
  /** The runs of each unit. Empty unless `reportsRuns` is set. */
  readonly runs: readonly UnitRuns[];
  /** The compressed blocks of each unit. Empty unless `keepsPacked` is set. */
  readonly packed: readonly KeptUnit[];
}

/** Neighbouring pages that cannot be stored. */
export interface UnsupportedRun {
  /** Ordinal of the mm. */
  readonly mm: number;
  /** First page. */
  readonly start: number;
  readonly pages: number;
  readonly rule: number;
}

/** The record_crc of records, unit by unit. */
export interface UnitCrcs {
  /** One word per record, unit by unit, in the order in which the worker claimed the units. */
  readonly crcs: Int32Array;
  /** For each of these units, two elements: the unit, and the number of its records. */
  readonly units: readonly number[];
}

/** The runs of one unit. Each run has three elements: first page, pages, class word. */
export interface UnitRuns {
  readonly unit: number;
  readonly runs: Float64Array;
}
