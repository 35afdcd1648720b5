/** Measures file sinks beside the best that one thread can do: gather writes of the same frames. */
import { closeSync, openSync, rmSync, writevSync } from 'node:fs';
import { createDumper } from 'mmdump';
import type { BenchCase } from '../case.ts';
import { parametersOf, phasesOf, timedDump } from '../dumps.ts';
import { toLine } from '../line.ts';
import { measure, samplesOf, type Task, type Tasks } from '../measure.ts';
import { OUTPUTS, openOutput } from '../outputs.ts';
import { settleDisk } from '../programs.ts';
import { storedFrames } from '../scatter.ts';
import { TARGETS } from '../targets.ts';

const PAGE = 4096;
/** Views per call. The system cuts a call with more views into several. */
const VIEWS = 256;
const FLOOR = "one thread's gather writes";

export const file: BenchCase = {
  name: 'file',
  about: 'file sinks, bare, beside the gather writes of one thread; without fsync on both sides',
  async run(fixtures) {
    const { workers } = fixtures;
    const pattern = { bytes: fixtures.options.bytes, run: 16, zeroPercent: 0 };
    const space = fixtures.space(pattern);
    const dumper = await createDumper({ workers });
    const write = gatherWrites(pattern.bytes, storedFrames(pattern), fixtures.path('.floor'));
    const kinds = OUTPUTS.filter((kind) => kind === 'file' || kind === 'split');
    const outputs = kinds.map((kind) => openOutput(kind, fixtures, workers));
    const tasks: { [name: string]: Task } = { [FLOOR]: write };
    for (const output of outputs) {
      tasks[output.kind] = () => timedDump(dumper, space, output, 'bare');
    }
    try {
      const samples = await measure(tasks as Tasks, fixtures.options.rounds);
      const limit = { name: FLOOR, samples: samplesOf(samples, FLOOR) };
      const parameters = parametersOf(pattern, workers);
      const shape = { parameters, unit: 'ms', bytes: pattern.bytes } as const;
      const lines = kinds.map((kind) =>
        toLine(this.name, {
          ...shape,
          name: `${kind} sink, bare`,
          samples: samplesOf(samples, `${kind}: without fsync`),
          limit,
          target: TARGETS.fileGather,
          phases: phasesOf(samples, kind),
          note: 'without fsync',
        }),
      );
      return { lines: [toLine(this.name, { ...shape, ...limit }), ...lines] };
    } finally {
      await dumper.close();
      for (const output of outputs) output.release();
    }
  },
};

/** Writes frames in order of address into a fresh file, in calls of 256 views, and does no more. */
function gatherWrites(bytes: number, frames: Int32Array, path: string): Task {
  const memory = new Uint8Array(new SharedArrayBuffer(bytes));
  new Int32Array(memory.buffer).fill(1); // as words: V8 fills shared memory one element at a time
  const calls = callsOf(memory, frames);
  return async () => {
    settleDisk();
    const fd = openSync(path, 'w', 0o600);
    try {
      const start = performance.now();
      for (const views of calls) writeAll(fd, views);
      return { ms: performance.now() - start };
    } finally {
      closeSync(fd);
      rmSync(path);
    }
  };
}

/** Makes one view per run of neighbouring frames. */
function callsOf(memory: Uint8Array, frames: Int32Array): Uint8Array[][] {
  const calls: Uint8Array[][] = [];
  let views: Uint8Array[] = [];
  for (let index = 0; index < frames.length; ) {
    const frame = frames[index]!;
    let run = 1;
    while (frames[index + run] === frame + run) run++;
    views.push(memory.subarray(frame * PAGE, (frame + run) * PAGE));
    index += run;
    if (views.length < VIEWS && index < frames.length) continue;
    calls.push(views);
    views = [];
  }
  return calls;
}

function writeAll(fd: number, views: readonly Uint8Array[]): void {
  const bytes = views.reduce((sum, view) => sum + view.length, 0);
  const written = writevSync(fd, views);
  if (written !== bytes) throw new Error(`a gather write ended after ${written} of ${bytes} bytes`);
}
