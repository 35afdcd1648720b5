/** The options of an import, and its report. */
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import type { Machine } from '../../mmu/machine/machine.ts';
import type { JobOptions } from '../job/stop.ts';

/** Options of an import. */
export interface ImportOptions extends JobOptions {
  /** Import all descendants of the processes, too. Default false. */
  readonly children?: boolean | undefined;
  /**
   * true (default): the processes stand still during the import. false: they go on. Then two pages
   * may be of two instants, and it is unknown which pages the processes share. Their mappings must
   * stay the same; otherwise the import fails with PROCESS_CHANGED.
   */
  readonly freeze?: boolean | undefined;
  /**
   * 'now' (default): all pages are copied into the machine, and the processes go on. 'on-demand':
   * pages stay in the processes, which stand still until `release` of the result is called.
   * A page is loaded when the machine touches it. A dump reads it directly, and takes no memory of
   * the machine for it. It cannot be combined with `freeze: false`.
   */
  readonly load?: 'now' | 'on-demand' | undefined;
  /** Called at most ten times a second while memory is read. */
  readonly onProgress?: ((progress: ImportProgress) => void) | undefined;
}

/** Progress of an import, in pages of all processes. */
export interface ImportProgress {
  /** Pages that have been read. */
  readonly pages: number;
  /** Pages that have to be read in all. */
  readonly totalPages: number;
}

/** What an import reports about one process. */
export interface ProcessReport {
  /** Its id. */
  readonly pid: number;
  /** Number of its mappings. */
  readonly vmas: number;
  /**
   * Pages with content that a page table showed, and all pages of the vdso. Each was read, or is
   * shared with an earlier process.
   */
  readonly contentPages: number;
  /** Pages that show the zero page of the real machine; they are seen only with privilege. */
  readonly zeroPages: number;
  /** Guard pages (MADV_GUARD_INSTALL). */
  readonly guardPages: number;
  /**
   * Private pages that an earlier process of the same import shows as well, as after a fork. They
   * are counted in `contentPages`, too. 0 where sharing is not known.
   */
  readonly sharedPages: number;
  /**
   * Pages with content of memory-backed and deleted files that no page table showed. Those of a
   * file that several processes map count for the first of them.
   */
  readonly unmappedPages: number;
  /**
   * Memory-backed and deleted files that could not be read. Their pages that no page table showed
   * are unknown, and reading one fails.
   */
  readonly unreadableFiles: readonly string[];
  /**
   * Living files to which no path of this host leads, because the process has other mounts or
   * another root. Like deleted files, they are kept with what could be read of them now.
   */
  readonly foreignFiles: readonly string[];
  /**
   * Whether frames of the real machine could be told apart. If not, it is unknown which pages were
   * shared, and every page has a frame of its own.
   */
  readonly sharingKnown: boolean;
  /**
   * How it was stopped: by ptrace, which nobody notices, or by SIGSTOP, unless it was stopped
   * before. null if it was not stopped.
   */
  readonly stoppedBy: 'ptrace' | 'signal' | null;
  /** Why it was not stopped by ptrace, as the end of a sentence with "since"; null otherwise. */
  readonly notTraced: string | null;
  /** Number of its threads whose registers are in its notes; 0 unless ptrace has stopped it. */
  readonly registers: number;
  /** Totals of smaps that differ from what was found; null without privilege. */
  readonly smapsDifferences: readonly string[] | null;
  /** Times, in milliseconds. */
  readonly ms: {
    /** Reading its mappings and its page map. */
    readonly scan: number;
    /** Reading its memory. */
    readonly load: number;
    /**
     * Time for which the process stood still until the import was over; 0 if it was not stopped.
     */
    readonly stopped: number;
    /** The whole import, of all processes. */
    readonly total: number;
  };
}

/**
 * What an import returns. Both lists have one entry per process: those that were asked for, in that
 * order, then descendants by ascending pid.
 */
export interface ImportResult {
  /** The address spaces of the processes. */
  readonly mms: readonly AddressSpace[];
  /** The reports about the processes. */
  readonly processes: readonly ProcessReport[];
  /**
   * Lets the processes go on that `load: 'on-demand'` holds still. Pages that are not in memory then
   * are lost: to touch one is SIGBUS, and a dump that needs one is PROCESS_GONE. Rejects with
   * PROCESS_RESUMED or PROCESS_GONE if the processes have not stood still until now, so that what
   * was read may not be of one instant; they go on all the same. Closing the machine does the same.
   * Without 'on-demand', and when it is called again, it does nothing.
   */
  release(): Promise<void>;
  /** Calls `release`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Makes the machine, once it is known how many bytes of memory and how many address spaces the
 * processes take. A machine with `zeroPage: false` needs `zeroBytes` beyond that, because there
 * each page that shows the zero page takes a frame of its own.
 */
export type MachineFor = (bytes: number, addressSpaces: number, zeroBytes: number) => Machine;
