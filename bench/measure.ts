/**
 * Measures tasks in turn: every round runs each of them once, so that tasks which are compared have
 * run in the same seconds of a machine that drifts.
 */
import { Bench } from 'tinybench';

/** Milliseconds of one run, and of parts of it. The task itself decides what counts. */
export interface Timing {
  readonly ms: number;
  readonly parts?: { readonly [name: string]: number };
}

export type Task = () => Promise<Timing>;
export type Tasks = { readonly [name: string]: Task };

/** Samples by task, and by part under `task: part`. The n-th sample of each is from round n. */
export type Samples = ReadonlyMap<string, readonly number[]>;

/**
 * Runs the tasks in turn for `rounds` rounds. `before` rounds that are not counted come first: they
 * touch memory and let V8 compile the code. Short tasks need more of these.
 */
export async function measure(tasks: Tasks, rounds: number, before = 1): Promise<Samples> {
  const samples = new Map<string, number[]>();
  for (let round = -before; round < rounds; round++) {
    const parts = new Map<string, number>();
    const bench = new Bench({
      time: 0,
      iterations: 1,
      warmup: false, // the first rounds warm up
      retainSamples: true,
      throws: true,
    });
    for (const [name, task] of inOrderOf(round, Object.entries(tasks))) {
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

/**
 * The tasks in an order of this round: what the task before has left behind, memory that the system
 * has at hand or has to clear first, then meets each of the others now and then, and never one alone.
 */
function inOrderOf<T>(round: number, tasks: readonly T[]): T[] {
  const order = [...tasks];
  let state = Math.imul(round + 100, 0x9e3779b1);
  for (let last = order.length - 1; last > 0; last--) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    const other = (state >>> 8) % (last + 1);
    [order[last], order[other]] = [order[other]!, order[last]!];
  }
  return order;
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
