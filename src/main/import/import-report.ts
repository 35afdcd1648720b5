/** What an import is asked for, and what it says of its work. */
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import type { Machine } from '../../mmu/machine/machine.ts';
import type { JobOptions } from '../job/stop.ts';

/** Options of an import. */
export interface ImportOptions extends JobOptions {
  /** Import all descendants of the processes, too. Default false. */
  readonly children?: boolean | undefined;
  /**
   * true (default): the processes stand still meanwhile. false: they go on; their mappings must stay the
   * same, else PROCESS_CHANGED, but two pages may be of two instants. Which pages they share is unknown.
   */
  readonly freeze?: boolean | undefined;
  /** Called at most ten times a second while memory is read. */
  readonly onProgress?: ((progress: ImportProgress) => void) | undefined;
}

/** How far an import is, in pages of all processes. */
export interface ImportProgress {
  /** Pages that are read. */
  readonly pages: number;
  /** Pages that will be. */
  readonly totalPages: number;
}

/** What an import says of one process. Counts are pages. */
export interface ProcessReport {
  /** Its id. */
  readonly pid: number;
  /** Its mappings. */
  readonly vmas: number;
  /**
   * Pages with content that a page table showed, and all of the vdso: read, or shared with an earlier
   * process.
   */
  readonly contentPages: number;
  /** Zero pages of the real machine, seen only with privilege. */
  readonly zeroPages: number;
  /** Guard pages (MADV_GUARD_INSTALL). */
  readonly guardPages: number;
  /**
   * Private pages that an earlier process of the same import shows as well, as after a fork: they are
   * among its content, and shared with it. 0 where that is not known.
   */
  readonly sharedPages: number;
  /**
   * Pages of memory-backed and deleted files with content that no page table showed. A file that
   * several processes map counts for the first.
   */
  readonly unmappedPages: number;
  /**
   * Memory-backed and deleted files that could not be read: pages of theirs that no page table
   * showed are unknown, and reading one fails.
   */
  readonly unreadableFiles: readonly string[];
  /**
   * Living files to which no path of this host leads, because the process has other mounts or another
   * root. They are kept as deleted files are, with what could be read of them now.
   */
  readonly foreignFiles: readonly string[];
  /**
   * Whether frames of the real machine could be told apart. Without it every page has a frame of
   * its own, and which pages were shared is unknown.
   */
  readonly sharingKnown: boolean;
  /** Totals of smaps that differ from what was found; null without privilege. */
  readonly smapsDifferences: readonly string[] | null;
  /** Times, in milliseconds. */
  readonly ms: {
    /** Reading its mappings and its page map. */
    readonly scan: number;
    /** Reading its memory. */
    readonly load: number;
    /** Time for which the process stood still; 0 if it was not stopped. */
    readonly stopped: number;
    /** The whole import, of all processes. */
    readonly total: number;
  };
}

/** One process a place: as asked for, then descendants by pid. */
export interface ImportResult {
  /** What was imported. */
  readonly mms: readonly AddressSpace[];
  /** What each of the processes was like. */
  readonly processes: readonly ProcessReport[];
}

/**
 * Makes the machine once it is known how much memory the processes take, in bytes, and how many
 * address spaces. `zeroBytes`: what a machine with `zeroPage: false` needs beyond that, for pages that
 * show the zero page in the processes and a page of their own there.
 */
export type MachineFor = (bytes: number, addressSpaces: number, zeroBytes: number) => Machine;
