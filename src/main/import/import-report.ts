/** What an import is asked for, and what it says of its work. */
import type { AddressSpace } from '../../mmu/address-space.ts';
import type { Machine } from '../../mmu/machine.ts';

export interface ImportOptions {
  /** Stops the import: it rejects with AbortError, and the process goes on. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds from the call on, queueing included: then it stops as by `signal`, with TIMEOUT. */
  readonly timeoutMs?: number | undefined;
  /** Called at most ten times a second while memory is read. */
  readonly onProgress?: ((progress: ImportProgress) => void) | undefined;
}

export interface ImportProgress {
  readonly pages: number;
  readonly totalPages: number;
}

export interface ProcessReport {
  readonly pid: number;
  readonly vmas: number;
  /** Pages whose bytes were read because a page table showed them. */
  readonly contentPages: number;
  /** Zero pages of the real machine, seen only with privilege. */
  readonly zeroPages: number;
  readonly guardPages: number;
  /** Pages of memory-backed and deleted files with content that no page table showed. */
  readonly unmappedPages: number;
  /**
   * Memory-backed and deleted files that could not be read: pages of theirs that no page table
   * showed are unknown, and reading one fails.
   */
  readonly unreadableFiles: readonly string[];
  /**
   * Whether frames of the real machine could be told apart. Without it every page has a frame of
   * its own, and which pages were shared is unknown.
   */
  readonly sharingKnown: boolean;
  /** Totals of smaps that differ from what was found; null without privilege. */
  readonly smapsDifferences: readonly string[] | null;
  readonly ms: {
    readonly scan: number;
    readonly load: number;
    /** Time for which the process stood still. */
    readonly stopped: number;
    readonly total: number;
  };
}

export interface ImportResult {
  readonly mms: readonly AddressSpace[];
  readonly processes: readonly ProcessReport[];
}

/** Makes the machine once it is known how much memory the process takes, in bytes. */
export type MachineFor = (bytes: number) => Machine;
