/** The progress of a dump: what the workers have done, of how much, and how long it will take. */
import { type PhaseProgress, ProgressPace } from '../job/progress.ts';
import type { DumpPhase, DumpProgress } from './report.ts';

/** What there is to do in a phase. 0: not known yet. */
export interface PhaseTotals {
  readonly units: number;
  readonly pages: number;
  readonly bytes: number;
}

type Listener = (progress: DumpProgress) => void;

/** One for each dump. */
export class DumpMeter {
  readonly pace: ProgressPace;
  readonly #listener: Listener | undefined;
  readonly #now: () => number;

  constructor(listener: Listener | undefined, now: () => number = () => performance.now()) {
    this.#listener = listener;
    this.#now = now;
    this.pace = new ProgressPace(now);
  }

  /** The phase begins: what to call with what the workers have done; undefined: nobody asked. */
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
 * Milliseconds that the rest will take if it goes on like this; null before anything is done. By the
 * bytes where their total is known, else by the units.
 */
function etaOf(total: PhaseTotals, units: number, bytes: number, elapsed: number): number | null {
  if (total.bytes > 0) return bytes > 0 ? (elapsed * (total.bytes - bytes)) / bytes : null;
  return units > 0 ? (elapsed * (total.units - units)) / units : null;
}
