/**
 * Calls a listener with the progress of a phase, at most ten times per second. The limit applies to
 * the time between two calls, so phases that follow each other quickly and timers that are late do
 * not add up. Only the last call of a phase, which says that all of it is done, is always made.
 */
import type { PhaseControl } from '../../shared/dump/phase-control.ts';

/** The work that one worker has done so far in a phase. */
export interface WorkerProgress {
  /** Ordinal of the worker, from 0. */
  readonly worker: number;
  /** Work units that it has finished. */
  readonly units: number;
  /** Pages with bytes in the image that it has found in these units. */
  readonly pages: number;
  /** Bytes that it has written. */
  readonly bytes: number;
}

/** The work that the workers have done so far in this phase. */
export interface PhaseProgress {
  readonly units: number;
  readonly pages: number;
  readonly bytes: number;
  readonly perWorker: readonly WorkerProgress[];
}

const PROGRESS_MS = 100;

/** Remembers when the listener was last called. One pace serves all phases of a job. */
export class ProgressPace {
  readonly #now: () => number;
  #last = Number.NEGATIVE_INFINITY;

  /** `now` returns the milliseconds of a clock that only goes forward. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  isDue(): boolean {
    return this.#now() - this.#last >= PROGRESS_MS;
  }

  /** Notes that the listener is called now. */
  mark(): void {
    this.#last = this.#now();
  }
}

/**
 * Watches one phase. Without a listener it does nothing and has no timer. If the listener throws,
 * the phase stops and fails with that error: thrown from a timer, it would end the process.
 */
export class ProgressWatch {
  readonly #control: PhaseControl;
  readonly #onProgress: ((done: PhaseProgress) => void) | undefined;
  readonly #pace: ProgressPace;
  readonly #timer: NodeJS.Timeout | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(
    control: PhaseControl,
    onProgress: ((done: PhaseProgress) => void) | undefined,
    pace: ProgressPace = new ProgressPace(),
  ) {
    this.#control = control;
    this.#onProgress = onProgress;
    this.#pace = pace;
    if (onProgress === undefined) return;
    this.#timer = setInterval(() => {
      if (pace.isDue()) this.#tell();
    }, PROGRESS_MS);
  }

  #tell(): void {
    if (this.#onProgress === undefined || this.#failure !== undefined) return;
    this.#pace.mark();
    try {
      this.#onProgress(progressOf(this.#control));
    } catch (error) {
      this.#failure = { error };
      this.#control.stop();
    }
  }

  /** Reports the final state. Throws what the listener has thrown, now or before. */
  finish(): void {
    this.#tell();
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

function progressOf(control: PhaseControl): PhaseProgress {
  const perWorker: WorkerProgress[] = [];
  let units = 0;
  let pages = 0;
  let bytes = 0;
  for (let worker = 0; worker < control.workers; worker++) {
    const done = control.progressOf(worker);
    perWorker.push({ worker, ...done });
    units += done.units;
    pages += done.pages;
    bytes += done.bytes;
  }
  return { units, pages, bytes, perWorker };
}
