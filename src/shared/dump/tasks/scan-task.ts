/** The task of the scan phase, and its report. */
import type { PhaseReport, PhaseTask } from './phase-task.ts';

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
