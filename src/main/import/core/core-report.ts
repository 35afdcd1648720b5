/** The options of the import of a core file, and its report. */
import type { AddressSpace } from '../../../mmu/machine/address-space.ts';
import { listener, oneOf, optional } from '../../../shared/arguments/checks.ts';
import type { Shape } from '../../../shared/arguments/options.ts';
import { JOB_OPTIONS, type JobOptions } from '../../job/stop.ts';
import type { ImportProgress } from '../import-report.ts';

/** Options of the import of a core file. */
export interface CoreOptions extends JobOptions {
  /**
   * 'now' (default): all pages are copied into the machine. 'on-demand': they stay in the file,
   * which must not change until `release` of the result is called. A page is loaded when the
   * machine touches it. A dump reads it directly, and takes no memory of the machine for it.
   */
  readonly load?: 'now' | 'on-demand' | undefined;
  /** Called at most ten times a second while pages are read. */
  readonly onProgress?: ((progress: ImportProgress) => void) | undefined;
}

/** What an import reports about a core file. */
export interface CoreReport {
  /** Its path, as it was given. */
  readonly path: string;
  /** Its length in bytes, holes included. */
  readonly bytes: number;
  /** Number of its PT_LOAD segments. */
  readonly segments: number;
  /** Number of mappings that they became. */
  readonly vmas: number;
  /** Ids of the threads whose registers it holds, in its order. */
  readonly threads: readonly number[];
  /** The signal that ended the process; 0 if it was none. */
  readonly signal: number;
  /** Pages that the file holds, without those in holes. */
  readonly contentPages: number;
  /** Whether it could be found out which parts of the file are holes. If not, none was skipped. */
  readonly holesKnown: boolean;
  /**
   * Files that mappings show and that are not at hand: there is no such file, or another one has
   * its name. Their pages that the core lacks are unknown, and reading one fails.
   */
  readonly missingFiles: readonly string[];
  /** Milliseconds that the import took. */
  readonly ms: number;
}

/** What the import of a core file returns. */
export interface CoreImport {
  /** The address space of the process. */
  readonly mm: AddressSpace;
  /** The report about the core. */
  readonly core: CoreReport;
  /**
   * Closes the file of an import with `load: 'on-demand'`. Pages that were not loaded until then are
   * lost: to touch one is SIGBUS, and a dump that needs one is INPUT_FAILED. Closing the machine
   * does the same. Without 'on-demand', and when it is called again, it does nothing.
   */
  release(): Promise<void>;
  /** Calls `release`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** The checks of all options of the import of a core file. */
export const CORE_OPTIONS: Shape<CoreOptions> = {
  load: optional(oneOf(['now', 'on-demand'])),
  ...JOB_OPTIONS,
  onProgress: listener(),
};
