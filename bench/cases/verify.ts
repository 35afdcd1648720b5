/**
 * Measures verification beside the least that it takes with as many threads: the digest alone over
 * the same bytes for an image in memory, reading the file for an image in a file.
 */
import { createDumper, fileSink, memorySink } from 'mmdump';
import type { BenchCase } from '../case.ts';
import { digestKernel } from '../digest-kernel.ts';
import { parametersOf } from '../dumps.ts';
import { FloorThreads } from '../floor-threads.ts';
import { toLine } from '../line.ts';
import { measure, samplesOf, timed } from '../measure.ts';
import { TARGETS } from '../targets.ts';

const CHUNK = 0x10_0000; // bytes

export const verify: BenchCase = {
  name: 'verify',
  about:
    "an image in memory beside the digest's own speed on as many threads, a file beside reading it",
  async run(fixtures) {
    const { workers } = fixtures;
    const pattern = { bytes: fixtures.options.bytes, run: 16, zeroPercent: 0 };
    const space = fixtures.space(pattern);
    const dumper = await createDumper({ workers });
    const threads = await FloorThreads.create(workers);
    const sink = memorySink();
    const path = fixtures.path('.cpt');
    try {
      await dumper.dump(space, { to: sink });
      await dumper.dump(space, { to: fileSink(path) });
      const { chunks, chunkBytes } = sink.image;
      const floor = {
        ...{ chunks, chunkBytes, bytes: pattern.bytes, chunk: CHUNK },
        digests: digestKernel(),
      };
      const reading = { path, bytes: pattern.bytes, chunk: CHUNK };
      const check = async (image: Parameters<typeof dumper.verify>[0]): Promise<void> => {
        const { ok } = await dumper.verify(image);
        if (!ok) throw new Error('an image that was just written has problems');
      };
      const samples = await measure(
        {
          digest: async () => ({ ms: await threads.run('digest', floor) }),
          read: async () => ({ ms: await threads.run('readFile', reading) }),
          memory: () => timed(() => check(sink.image)),
          file: () => timed(() => check(path)),
        },
        fixtures.options.rounds,
      );
      const limit = { name: `XXH3 on ${workers} threads`, samples: samplesOf(samples, 'digest') };
      const read = { name: `reading on ${workers} threads`, samples: samplesOf(samples, 'read') };
      const parameters = parametersOf(pattern, workers);
      const shape = { parameters, unit: 'ms', bytes: pattern.bytes } as const;
      const line = (name: string, of: 'memory' | 'file') =>
        ({ ...shape, name, samples: samplesOf(samples, of) }) as const;
      return {
        lines: [
          toLine(this.name, { ...shape, ...limit }),
          toLine(this.name, {
            ...line('verify, image in memory', 'memory'),
            limit,
            target: TARGETS.verify,
          }),
          toLine(this.name, { ...shape, ...read }),
          toLine(this.name, {
            ...line('verify, image in a cached file', 'file'),
            limit: read,
            target: TARGETS.verifyFile,
          }),
        ],
      };
    } finally {
      await dumper.close();
      await threads.close();
      sink.release();
    }
  },
};
