/** The task of the compare phase, and its report. */
import type { MachineHandle } from '../../machine-handle.ts';
import type { FerryReach } from '../ferry.ts';
import type { PhaseReport, PhaseTask } from './phase-task.ts';

/** One side of a comparison. */
export interface ComparedMm {
  readonly machine: MachineHandle;
  readonly slot: number;
  /** The worker's own: see PassTask. */
  readonly ferry: FerryReach | undefined;
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
