/**
 * The messages between coordinator and workers. A task is plain data and shared memory; its result
 * is an `Outcome`, because errors lose their class on the way.
 */

import type { DigestKind } from '../digest/digest-kind.ts';
import type { ArmedFaults, PhaseName } from '../faults.ts';
import type { KernelModules } from '../kernels.ts';
import type { MachineHandle } from '../machine-handle.ts';
import type { WasmMemory, WasmModule } from '../wasm.ts';
import type { NameBuffers } from './name-table.ts';
import type { OwnerBuffers } from './owner-table.ts';
import type { RingBuffers } from './segment-ring.ts';
import type { StagingRooms } from './staging-rooms.ts';

/** What every task of every phase carries. */
export interface PhaseTask {
  /** PhaseControl. */
  readonly phase: SharedArrayBuffer;
  /** Ordinal of the worker, from 0. */
  readonly worker: number;
  /** Added by the pool of a dumper that has options for tests; never there otherwise. */
  readonly tests?: TaskTests;
}

/** What tests ask of a task. */
export interface TaskTests {
  readonly phase: PhaseName;
  /** How many workers must have claimed a unit before any goes on. 0 = off. */
  readonly rendezvous: number;
  readonly faults: ArmedFaults | undefined;
}

/** What a worker says when its task is done. */
export interface PhaseReport {
  readonly worker: number;
  readonly units: number;
  readonly pages: number;
  readonly bytes: number;
  /** Milliseconds from start to end of the task. */
  readonly busyMs: number;
  /** When the task started, in milliseconds since 1970 with fractions. */
  readonly startedAt: number;
}

/** What to do about pages that no rule can store. */
export type UnsupportedPolicy = 'fail' | 'skip' | 'copy';

/** What a worker needs to look at a machine that runs. */
export interface RunningMachine {
  /** An onlooker's id in the machine's thread table. */
  readonly thread: number;
  /** References that are held: see pin-table.ts. */
  readonly pins: SharedArrayBuffer;
  /** PinSlots: a pin lives for one unit; undefined: for the whole dump, by WorkUnits.first. */
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
      /** Blocks of zeros are left holes; the file has its length already. */
      readonly sparse: boolean;
    }
  | {
      readonly kind: 'parts';
      /** Of the parts, in their order: see ../image/parts.ts. */
      readonly fds: readonly number[];
      /** Of the image: the parts have its name, and a number. */
      readonly path: string;
      readonly partBytes: number;
      readonly sparse: boolean;
      /** PartClaims. */
      readonly claims: SharedArrayBuffer;
      /** firstOfParts. */
      readonly firstUnits: readonly number[];
    }
  | {
      readonly kind: 'memory';
      readonly chunks: readonly ImageChunk[];
      readonly chunkBytes: number;
    }
  | { readonly kind: 'stream'; readonly ring: RingBuffers };

/** Memory for a chunk of an image. */
export interface ImageChunk {
  readonly buffer: SharedArrayBuffer;
  /** Where in `buffer` it begins, a multiple of 4, and how long it is. */
  readonly at: number;
  readonly bytes: number;
  /** The wasm memory whose buffer that is, if it is one: kernels can reach it. */
  readonly memory: WasmMemory | undefined;
}

/** Pages that cannot be stored. */
export interface UnsupportedRun {
  /** Ordinal of the mm. */
  readonly mm: number;
  /** First page. */
  readonly start: number;
  readonly pages: number;
  readonly rule: number;
}

/** Tables that outlast a counting pass: a machine that runs is not classified twice the same. */
export interface KeptRuns {
  /** Run table and frames, with a part for each unit (WorkUnits.first). */
  readonly runs: SharedArrayBuffer;
  readonly sources: SharedArrayBuffer;
  /** An earlier pass has filled them. */
  readonly isFilled: boolean;
}

export interface PassTask extends PhaseTask {
  readonly machine: MachineHandle;
  /** Of kernels/frames.wat. */
  readonly kernels: KernelModules;
  /** Slots of the mms, by ordinal. */
  readonly mms: readonly number[];
  /** WorkUnits; pages of the longest. */
  readonly units: SharedArrayBuffer;
  readonly unitCount: number;
  readonly unitPages: number;
  /** First unit of each mm. */
  readonly firstUnits: readonly number[];
  readonly owners: OwnerBuffers;
  readonly detectZero: boolean;
  readonly unsupported: UnsupportedPolicy;
  readonly hugetlb: UnsupportedPolicy;
  readonly dontDump: boolean;
  readonly blockPerPage: boolean;
  readonly digest: DigestKind;
  /** Of kernels/xxh3.wat.mjs. */
  readonly digestKernels: KernelModules;
  /** VmaTallies, and the number of each mm's first mapping. */
  readonly tallies: SharedArrayBuffer;
  readonly vmaBases: readonly number[];
  readonly names: NameBuffers;
  /** Records of the coordinator that stand before and behind units (WorkUnits.leadAt, trailAt). */
  readonly leads: SharedArrayBuffer;
  /** LookBack. */
  readonly lookBack: SharedArrayBuffer;
  /** anonvmaid by mapping; undefined: not known yet. */
  readonly anonIds: SharedArrayBuffer | undefined;
  /** Sizes and places are known from a counting pass. */
  readonly isCounted: boolean;
  readonly kept: KeptRuns | undefined;
  /** Report the runs of every unit: a family's usage is made of them. */
  readonly reportsRuns: boolean;
  /** Undefined: a counting pass, which writes nothing. */
  readonly target: CopyTarget | undefined;
  /** The machine runs meanwhile; undefined: it is frozen. */
  readonly running: RunningMachine | undefined;
  /** This worker's, until the pass is over; undefined: nothing is staged in the banks. */
  readonly rooms: StagingRooms | undefined;
}

export interface PassReport extends PhaseReport {
  /** record_crc of the records that the worker has written. */
  readonly crcs: UnitCrcs;
  readonly unsupported: readonly UnsupportedRun[];
  /** Pairs of mappings that clones join, counted over all mms. */
  readonly joins: readonly number[];
  /** Runs by unit: first page, pages, class word; empty unless asked for. */
  readonly runs: readonly UnitRuns[];
}

/** record_crc of records, unit by unit. */
export interface UnitCrcs {
  /** In the order in which the units were claimed. */
  readonly crcs: Int32Array;
  /** Unit and number of its records, for one unit after the other. */
  readonly units: readonly number[];
}

export interface UnitRuns {
  readonly unit: number;
  readonly runs: Float64Array;
}

/** An image in shared memory: every chunk but the last holds `chunkBytes` of it. */
export interface SharedBytes {
  readonly bytes: number;
  /** Views of shared memory. */
  readonly chunks: readonly Uint8Array[];
  readonly chunkBytes: number;
  /** Says whether they are still the bytes of this image. Undefined: nobody writes them any more. */
  readonly lease?: ImageLease | undefined;
}

/**
 * The hold of an image on the memory that it lies in. Whoever takes the memory for another image moves
 * the word on first; whoever has read bytes looks at it afterwards, and so never believes others' bytes.
 */
export interface ImageLease {
  /** One word; Atomics only. */
  readonly word: Int32Array;
  /** What it holds as long as the image is there. */
  readonly value: number;
}

/**
 * Bytes that a worker reads: an open file of this process, the parts of an image, the memory of another process
 * (/proc/PID/mem, by address), or shared memory. `name` is for messages.
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

export interface VerifyTask extends PhaseTask {
  readonly source: SourceReach;
  /** PayloadTable. */
  readonly payloads: SharedArrayBuffer;
  /** xxh3-inside. */
  readonly digestKernel: WasmModule;
  /** First payload of each unit, and one word more: where the last unit ends. */
  readonly unitStarts: SharedArrayBuffer;
  readonly unitCount: number;
}

export interface LoadTask extends PhaseTask {
  readonly machine: MachineHandle;
  /** Thread id of the worker in that machine, taken by the main thread. */
  readonly thread: number;
  /** Slots and generations of the mms, by ordinal. */
  readonly mms: readonly { readonly slot: number; readonly generation: number }[];
  readonly source: SourceReach;
  /** Pages with content after which nothing more is to be found (CONTENT runs); 0 = no such number. */
  readonly enough: number;
  /** LoadTable. */
  readonly loads: SharedArrayBuffer;
  /** xxh3-inside. */
  readonly digestKernel: WasmModule;
  readonly unitStarts: SharedArrayBuffer;
  readonly unitCount: number;
}

export interface ScanTask extends PhaseTask {
  readonly pid: number;
  /** /proc/PID/pagemap. */
  readonly pagemap: number;
  /** /proc/kpageflags, or -1 without the privilege to read it. */
  readonly kpageflags: number;
  /** Say of every page that another process may show, too, which frame it is. */
  readonly wantsFrames: boolean;
  /** ScanVmas. */
  readonly vmas: SharedArrayBuffer;
  /** SCAN_UNIT records. */
  readonly units: SharedArrayBuffer;
  readonly unitCount: number;
}

export interface ScanReport extends PhaseReport {
  /** SCAN_RUN records. */
  readonly runs: Int32Array;
  /** Frames of the runs that have FRAMES: the PFN, or for a swapped page -1 - its swap entry. */
  readonly frames: Float64Array;
  /** Whether the page map names frames. */
  readonly framesShown: boolean;
}

/** One side of a comparison. */
export interface ComparedMm {
  readonly machine: MachineHandle;
  readonly slot: number;
}

export interface CompareTask extends PhaseTask {
  readonly left: ComparedMm;
  readonly right: ComparedMm;
  /** WorkUnits, ascending. */
  readonly units: SharedArrayBuffer;
  readonly unitCount: number;
}

export interface PageDifference {
  readonly vpn: number;
  /** First byte that differs, within the page. */
  readonly offset: number;
  readonly left: string;
  readonly right: string;
}

export interface CompareReport extends PhaseReport {
  /** The lowest page that this worker found different. */
  readonly difference: PageDifference | null;
}
