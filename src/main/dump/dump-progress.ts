/** The progress of a dump: how much the workers have done, and how long the rest will take. */
import { type PhaseProgress, ProgressPace } from '../job/progress.ts';
import type { DumpPhase, DumpProgress } from './report.ts';

/** All the work of a phase. 0 means that a number is not known yet. */
export interface PhaseTotals {
  readonly units: number;
  readonly pages: number;
  readonly bytes: number;
}

type Listener = (progress: DumpProgress) => void;

/** Reports the progress of one dump. */
export class DumpMeter {
  readonly pace: ProgressPace;
  readonly #listener: Listener | undefined;
  readonly #now: () => number;

  constructor(listener: Listener | undefined, now: () => number = () => performance.now()) {
    this.#listener = listener;
    this.#now = now;
    this.pace = new ProgressPace(now);
  }

  /**
   * Begins a phase. Returns the function that takes what the workers have done so far, or undefined
   * if there is no listener.
   */
  begin(phase: DumpPhase, total: PhaseTotals): ((done: PhaseProgress) => void) | undefined {
    const listener = this.#listener;
    if (listener === undefined) return undefined;
    const start = this.#now();
    return ({ units, pages, bytes, perWorker }) => {
      listener({
        phase,
        units,
        totalUnits: total.units,
        pages,
        totalPages: total.pages,
        bytes,
        totalBytes: total.bytes,
        etaMs: etaOf(total, units, bytes, this.#now() - start),
        perWorker,
      });
    };
  }
}

/**
 * Milliseconds that the rest will take at the present rate, or null before anything is done. The
 * rate is that of the bytes if their total is known, else that of the units.
 */
function etaOf(total: PhaseTotals, units: number, bytes: number, elapsed: number): number | null {
  if (total.bytes > 0) return bytes > 0 ? (elapsed * (total.bytes - bytes)) / bytes : null;
  return units > 0 ? (elapsed * (total.units - units)) / units : null;
}
