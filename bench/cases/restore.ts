/** Measures restoring an image into a machine, beside the copy limit. */
import {
  createDumper,
  createMachine,
  type Dumper,
  type Image,
  type Machine,
  memorySink,
  openImage,
} from 'mmdump';
import type { BenchCase } from '../case.ts';
import { bestCopy } from '../copy-limit.ts';
import { MODES, type Mode } from '../dumps.ts';
import { collectGarbage, type Fixtures, memoryFor } from '../fixtures.ts';
import { FloorThreads } from '../floor-threads.ts';
import { type Line, toLine } from '../line.ts';
import { measure, type Samples, samplesOf, type Tasks, type Timing } from '../measure.ts';
import type { Pattern } from '../scatter.ts';
import { TARGETS, type Target } from '../targets.ts';
import { restoresOnDemand } from './restore-on-demand.ts';

/** Rounds that are not counted: V8 compiles the loops of a restore over several restores. */
const WARM_UP = 5;

export const restore: BenchCase = {
  name: 'restore',
  about:
    'an image in memory into a machine whose memory was used before, and into a fresh one; ' +
    'on demand, an image in a file: the first byte, and single pages',
  async run(fixtures) {
    const pattern = { bytes: fixtures.options.bytes, run: 16, zeroPercent: 0 };
    const lines: Line[] = [];
    for (const mode of ['bare', 'defaults'] as const) {
      lines.push(...(await restores(fixtures, pattern, mode)));
    }
    lines.push(...(await restoresOnDemand(fixtures, pattern)));
    return { lines };
  },
};

/** Measures one restore. What it made is destroyed, so that its memory can be used once more. */
async function timedRestore(dumper: Dumper, image: Image, machine: Machine): Promise<Timing> {
  const start = performance.now();
  const { mms } = await dumper.restore(image, machine);
  const ms = performance.now() - start;
  for (const space of mms) machine.destroyAddressSpace(space);
  return { ms };
}

/**
 * Takes threads of its own, because threads that live on would keep every machine that they have
 * seen. A first restore lets V8 compile their code.
 */
async function freshRestore(image: Image, used: Machine, fixtures: Fixtures): Promise<Timing> {
  const dumper = await createDumper({ workers: fixtures.workers });
  try {
    await timedRestore(dumper, image, used);
    return await timedRestore(dumper, image, machineFor(fixtures));
  } finally {
    await dumper.close();
    collectGarbage();
  }
}

function machineFor({ options }: Fixtures): Machine {
  return createMachine({ memory: memoryFor(options.bytes) });
}

async function restores(fixtures: Fixtures, pattern: Pattern, mode: Mode): Promise<Line[]> {
  const { workers } = fixtures;
  const dumper = await createDumper({ workers });
  const threads = await FloorThreads.create(workers);
  const sink = memorySink();
  try {
    await dumper.dump(fixtures.space(pattern), { to: sink, ...MODES[mode] });
    const image = await openImage(sink.image);
    const used = machineFor(fixtures);
    const { rounds } = fixtures.options;
    // The pages of an image lie in order of address, so a restore reads contiguous memory.
    const limits = await fixtures.limitTasks({ ...pattern, run: 0 }, threads);
    const tasks: Tasks = { ...limits, used: () => timedRestore(dumper, image, used) };
    const warm = await measure(tasks, rounds, WARM_UP);
    const fresh = () => freshRestore(image, used, fixtures);
    const cold = await measure({ ...limits, fresh }, rounds);
    return linesOf({ warm, cold }, pattern, workers, mode);
  } finally {
    await dumper.close();
    await threads.close();
    sink.release();
    collectGarbage();
  }
}

/** Restores into memory that was used before, and into fresh memory, each with the copy limit. */
interface Measured {
  readonly warm: Samples;
  readonly cold: Samples;
}

function linesOf({ warm, cold }: Measured, pattern: Pattern, workers: number, mode: Mode): Line[] {
  const { bytes } = pattern;
  const isChecked = mode === 'defaults';
  const checks = isChecked ? 'checked against checksums' : 'image without checksums';
  const line = (name: string, samples: Samples, task: string, target?: Target): Line =>
    toLine('restore', {
      name,
      parameters: { MiB: bytes / 2 ** 20, workers, checks },
      unit: 'ms',
      samples: samplesOf(samples, task),
      limit: bestCopy(samples),
      target,
      bytes,
    });
  const parameters = { MiB: bytes / 2 ** 20, frames: 'contiguous', workers };
  return [
    toLine('restore', { ...bestCopy(warm), parameters, unit: 'ms', bytes }),
    line('restore, memory used before', warm, 'used', isChecked ? undefined : TARGETS.restore),
    line('restore, fresh memory', cold, 'fresh'),
  ];
}
