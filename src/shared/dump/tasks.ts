/**
 * The messages between the coordinator and the workers. A task is plain data and shared memory. Its
 * result is an `Outcome`, because an error loses its class when it is posted.
 */

import type { DigestKind } from '../digest/digest-kind.ts';
import type { ArmedFaults, PhaseName } from '../faults.ts';
import type { KernelModules } from '../kernels.ts';
import type { MachineHandle } from '../machine-handle.ts';
import type { WasmMemory, WasmModule } from '../wasm.ts';
import type { NameBuffers } from './name-table.ts';
import type { OwnerBuffers } from './owner-table.ts';
import type { RingBuffers } from './segment-ring.ts';
import type { StagingReservations } from './staging-reservations.ts';

/** What every task of every phase carries. */
export interface PhaseTask {
  /** The words of PhaseControl. */
  readonly phase: SharedArrayBuffer;
  /** Ordinal of the worker, from 0. */
  readonly worker: number;
  /** Added by the pool of a dumper that has options for tests. Never present in production. */
  readonly tests?: TaskTests;
}

/** What tests request of a task. */
export interface TaskTests {
  readonly phase: PhaseName;
  /** How many workers must have claimed a unit before any of them goes on. 0 turns this off. */
  readonly rendezvous: number;
  readonly faults: ArmedFaults | undefined;
}

/** What a worker reports when its task is done. */
export interface PhaseReport {
  readonly worker: number;
  readonly units: number;
  readonly pages: number;
  readonly bytes: number;
  /** Milliseconds from the start of the task to its end. */
  readonly busyMs: number;
  /** When the task started: milliseconds since 1970, with fractions. */
  readonly startedAt: number;
}

/** What to do about pages that no rule can store: fail the dump, leave them out, or copy them. */
export type UnsupportedPolicy = 'fail' | 'skip' | 'copy';

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

/** Where the bytes of an image go. */
export type CopyTarget =
  | {
      readonly kind: 'file';
      readonly fd: number;
      readonly path: string;
      /** Blocks of zeros are not written and remain holes. The file has its full length already. */
      readonly sparse: boolean;
    }
  | {
      readonly kind: 'parts';
      /** Descriptors of the parts, in order: see ../formats/parts.ts. */
      readonly fds: readonly number[];
      /** Path of the image. The name of a part is this path and a number. */
      readonly path: string;
      readonly partBytes: number;
      readonly sparse: boolean;
      /** The words of PartClaims. */
      readonly claims: SharedArrayBuffer;
      /** What `firstOfParts` returned. */
      readonly firstUnits: readonly number[];
    }
  | {
      readonly kind: 'memory';
      readonly chunks: readonly ImageChunk[];
      readonly chunkBytes: number;
    }
  | { readonly kind: 'stream'; readonly ring: RingBuffers };

/** Memory for one chunk of an image. */
export interface ImageChunk {
  readonly buffer: SharedArrayBuffer;
  /** Byte of `buffer` at which the chunk begins, a multiple of 4, and its length in bytes. */
  readonly at: number;
  readonly bytes: number;
  /** The wasm memory that `buffer` belongs to, if any. Kernels can write into it. */
  readonly memory: WasmMemory | undefined;
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

/**
 * Tables that are kept from a counting pass to the next pass, because classifying a running machine
 * a second time may give another result.
 */
export interface KeptRuns {
  /** Run table and list of frames, with a part for each unit (WorkUnits.first). */
  readonly runs: SharedArrayBuffer;
  readonly sources: SharedArrayBuffer;
  /** An earlier pass has filled the tables. */
  readonly isFilled: boolean;
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
  readonly digest: DigestKind;
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
  /** The words of LookBack. */
  readonly lookBack: SharedArrayBuffer;
  /** anonvmaid of each VMA, counted over all mms. Undefined if the ids are not known yet. */
  readonly anonIds: SharedArrayBuffer | undefined;
  /** A counting pass has found the sizes and the places of all units. */
  readonly isCounted: boolean;
  readonly kept: KeptRuns | undefined;
  /** The report must list the runs of every unit, for the memory usage of a family. */
  readonly reportsRuns: boolean;
  /** Undefined in a counting pass, which writes nothing. */
  readonly target: CopyTarget | undefined;
  /** Undefined if the machine is frozen. */
  readonly running: RunningMachine | undefined;
  /** The worker's own, until the pass ends. Undefined if nothing is to be staged in the banks. */
  readonly reservations: StagingReservations | undefined;
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

/** An image in shared memory. Every chunk except the last one holds `chunkBytes` of it. */
export interface SharedBytes {
  readonly bytes: number;
  /** Views of shared memory. */
  readonly chunks: readonly Uint8Array[];
  readonly chunkBytes: number;
  /** Tells whether the chunks still hold this image. Undefined if they are never written again. */
  readonly lease?: ImageLease | undefined;
}

/**
 * A lease on the memory that an image lies in. The owner of the memory increments the word before
 * it writes another image there. A reader looks at the word after it has read, and discards what it
 * read if the word has changed.
 */
export interface ImageLease {
  /** One word; Atomics only. */
  readonly word: Int32Array;
  /** The value of the word as long as the image is there. */
  readonly value: number;
}

/**
 * How a worker reaches the bytes that it reads: an open file of this process, the parts of an
 * image, the memory of another process (/proc/PID/mem, read by address), or shared memory. `name`
 * is for messages.
 */
export type SourceReach =
  | { readonly kind: 'file'; readonly name: string; readonly fd: number }
  | {
      readonly kind: 'parts';
      readonly name: string;
      readonly fds: readonly number[];
      readonly partBytes: number;
    }
  | { readonly kind: 'process'; readonly name: string; readonly fd: number; readonly pid: number }
  | { readonly kind: 'memory'; readonly name: string; readonly image: SharedBytes };

/** The task of the verify phase. */
export interface VerifyTask extends PhaseTask {
  readonly source: SourceReach;
  /** The words of PayloadTable. */
  readonly payloads: SharedArrayBuffer;
  /** The module xxh3-inside. */
  readonly digestKernel: WasmModule;
  /** First payload of each unit, and one more word: the payload after the last unit. */
  readonly unitStarts: SharedArrayBuffer;
  readonly unitCount: number;
}

/** The task of the load phase. */
export interface LoadTask extends PhaseTask {
  readonly machine: MachineHandle;
  /** Thread id of the worker in that machine, taken by the main thread. */
  readonly thread: number;
  /** Slots and generations of the mms, by ordinal. */
  readonly mms: readonly { readonly slot: number; readonly generation: number }[];
  readonly source: SourceReach;
  /**
   * The number of pages with content that the source can have (CONTENT runs). The phase stops when
   * it has found as many. 0 if the number is not known.
   */
  readonly enough: number;
  /** The records of LoadList. */
  readonly loads: SharedArrayBuffer;
  /** The module xxh3-inside. */
  readonly digestKernel: WasmModule;
  /** First run of each unit, and one more word: the run after the last unit. */
  readonly unitStarts: SharedArrayBuffer;
  readonly unitCount: number;
}

/** The task of the scan phase. */
export interface ScanTask extends PhaseTask {
  readonly pid: number;
  /** Descriptor of /proc/PID/pagemap. */
  readonly pagemap: number;
  /** Descriptor of /proc/kpageflags, or -1 without the privilege to read it. */
  readonly kpageflags: number;
  /** The report must name the frame of every page that another process may show, too. */
  readonly wantsFrames: boolean;
  /** The words of ScanVmas. */
  readonly vmas: SharedArrayBuffer;
  /** SCAN_UNIT records. */
  readonly units: SharedArrayBuffer;
  readonly unitCount: number;
}

/** What a worker reports at the end of the scan phase. */
export interface ScanReport extends PhaseReport {
  /** SCAN_RUN records. */
  readonly runs: Int32Array;
  /** Frames of the runs that have FRAMES: the PFN, or -1 - (swap entry) for a page in swap. */
  readonly frames: Float64Array;
  /** Whether the page map shows PFNs. */
  readonly framesShown: boolean;
}

/** One side of a comparison. */
export interface ComparedMm {
  readonly machine: MachineHandle;
  readonly slot: number;
}

/** The task of the compare phase. */
export interface CompareTask extends PhaseTask {
  readonly left: ComparedMm;
  readonly right: ComparedMm;
  /** The words of WorkUnits, ascending in address. */
  readonly units: SharedArrayBuffer;
  readonly unitCount: number;
}

/** A page that the two address spaces show with different content. */
export interface PageDifference {
  readonly vpn: number;
  /** The first byte that differs, counted from the start of the page. */
  readonly offset: number;
  readonly left: string;
  readonly right: string;
}

/** What a worker reports at the end of the compare phase. */
export interface CompareReport extends PhaseReport {
  /** The lowest page that this worker found to be different. */
  readonly difference: PageDifference | null;
}
