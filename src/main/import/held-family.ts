/**
 * Processes that stand still from an import on until they are let go, because pages of a machine lie
 * in their memory.
 */
import type { CaptureReport } from './capture-report.ts';
import { assertStoodStill, type FamilyOptions, withStoppedFamily } from './stopped-family.ts';
import type { StoppedProcess } from './stopped-process.ts';

/** What was captured while the processes stand still. */
interface Captured {
  readonly family: readonly StoppedProcess[];
  readonly reports: readonly CaptureReport[];
}

/** A family of processes that stands still. `holdFamily` makes it. */
export class HeldFamily {
  readonly reports: readonly CaptureReport[];
  readonly #family: readonly StoppedProcess[];
  readonly #letGo: () => void;
  readonly #over: Promise<void>;

  constructor({ family, reports }: Captured, letGo: () => void, over: Promise<void>) {
    this.reports = reports;
    this.#family = family;
    this.#letGo = letGo;
    this.#over = over;
  }

  /** Milliseconds for which each process has stood still so far. */
  stoppedMs(): number[] {
    const now = performance.now();
    return this.#family.map(({ standingSince }) => now - standingSince);
  }

  /** PROCESS_RESUMED or PROCESS_GONE unless all processes have stood still so far. */
  async assertStoodStill(): Promise<void> {
    await assertStoodStill(this.#family);
  }

  /** Lets the processes go on. Rejects as `assertStoodStill` does; they go on all the same. */
  async release(): Promise<void> {
    this.#letGo();
    await this.#over;
  }
}

/**
 * Stops the processes, runs `capture` with them, and leaves them standing if it succeeds. If
 * it fails, they go on.
 */
export async function holdFamily(
  pids: readonly number[],
  options: FamilyOptions,
  capture: (family: readonly StoppedProcess[]) => Promise<readonly CaptureReport[]>,
): Promise<HeldFamily> {
  let letGo = (): void => {};
  const released = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  return await new Promise<HeldFamily>((resolve, reject) => {
    const over = withStoppedFamily(pids, options, async (family) => {
      const reports = await capture(family);
      resolve(new HeldFamily({ family, reports }, letGo, over));
      await released;
    });
    over.catch(reject); // without effect once all is captured: `release` tells then
  });
}
