/**
 * Measuring tasks in turn: every round runs each once, so that what they are compared with lived
 * through the same seconds of a machine that drifts.
 */
import { Bench } from 'tinybench';

/** Milliseconds of one run, and of parts of it. A task knows best what of it counts. */
export interface Timing {
  readonly ms: number;
  readonly parts?: { readonly [name: string]: number };
}

export type Task = () => Promise<Timing>;
export type Tasks = { readonly [name: string]: Task };

/** Samples of tasks, and of their parts under `task: part`; the n-th of each is of round n. */
export type Samples = ReadonlyMap<string, readonly number[]>;

/**
 * Runs the tasks in turn for so many rounds, after some that count for nothing: they touch memory and
 * let code be compiled. Short tasks need more of them.
 */
export async function measure(tasks: Tasks, rounds: number, before = 1): Promise<Samples> {
  const samples = new Map<string, number[]>();
  for (let round = -before; round < rounds; round++) {
    const parts = new Map<string, number>();
    const bench = new Bench({
      time: 0,
      iterations: 1,
      warmup: false, // the first rounds are
      retainSamples: true,
      throws: true,
    });
    for (const [name, task] of Object.entries(tasks)) {
      const run = async (): Promise<{ readonly overriddenDuration: number }> => {
        const timing = await task();
        for (const [part, ms] of Object.entries(timing.parts ?? {})) {
          parts.set(`${name}: ${part}`, ms);
        }
        return { overriddenDuration: timing.ms };
      };
      bench.add(name, run, { async: true });
    }
    for (const { name, result } of await bench.run()) {
      if (result.state !== 'completed') throw new Error(`${name}: ${result.state}`);
      parts.set(name, result.latency.samples![0]!);
    }
    if (round < 0) continue;
    for (const [name, ms] of parts) samples.set(name, [...(samples.get(name) ?? []), ms]);
  }
  return samples;
}

/** The samples of a task or part that was measured. */
export function samplesOf(samples: Samples, name: string): readonly number[] {
  const found = samples.get(name);
  if (found === undefined) throw new RangeError(`nothing was measured of '${name}'`);
  return found;
}

/** Times an action by the clock of this thread. */
export async function timed(action: () => Promise<unknown>): Promise<Timing> {
  const start = performance.now();
  await action();
  return { ms: performance.now() - start };
}
