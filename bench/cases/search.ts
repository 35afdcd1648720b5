/** Measures a search of an image in a cached file, beside `grep -c` on the same bytes. */
import { spawnSync } from 'node:child_process';
import { createDumper, fileSink, openImage, searchImage } from 'mmdump';
import type { BenchCase } from '../case.ts';
import { parametersOf } from '../dumps.ts';
import { skippedLine, toLine } from '../line.ts';
import { measure, samplesOf, type Task, timed } from '../measure.ts';
import { TARGETS } from '../targets.ts';

/** It stands once in the image. */
const TEXT = 'a text that stands in one page';

export const search: BenchCase = {
  name: 'search',
  about: 'a search of an image in a cached file for a text, beside grep -c',
  async run(fixtures) {
    const { workers } = fixtures;
    const { bytes, rounds } = fixtures.options;
    const pattern = { bytes, run: 0, zeroPercent: 0 };
    const space = fixtures.space(pattern);
    const dumper = await createDumper({ workers });
    const path = fixtures.path('.cpt');
    space.write(space.vmas()[0]!.start + bytes - 5000, Buffer.from(TEXT));
    await dumper.dump(space, { to: fileSink(path, { sync: false }) });
    const image = await openImage(path);
    const env = { ...process.env, LC_ALL: 'C' }; // bytes, not characters: far quicker
    const grep = (): string =>
      spawnSync('grep', ['-c', '-F', '-a', TEXT, path], { env }).stdout?.toString();
    const hasGrep = grep() === '1\n';
    try {
      const tasks: Record<string, Task> = {
        search: () =>
          timed(async () => {
            const { count } = await searchImage(image, TEXT, { dumper });
            if (count !== 1) throw new Error(`the text was found ${count} times`);
          }),
      };
      if (hasGrep) tasks.grep = () => timed(async () => void grep());
      const samples = await measure(tasks, rounds);
      const parameters = parametersOf(pattern, workers);
      const own = samplesOf(samples, 'search');
      const limit = hasGrep ? { name: 'grep -c', samples: samplesOf(samples, 'grep') } : undefined;
      return {
        lines: [
          limit === undefined
            ? skippedLine(this.name, 'grep -c', 'there is no grep')
            : toLine(this.name, { ...limit, parameters, unit: 'ms', bytes }),
          toLine(this.name, { name: 'search', parameters, unit: 'ms', samples: own, bytes, limit }),
          toLine(this.name, {
            ...{ name: 'speed of a search', parameters, unit: 'GB/s' },
            samples: own.map((ms) => bytes / ms / 1e6),
            target: TARGETS.search,
          }),
        ],
      };
    } finally {
      await image.close();
      await dumper.close();
    }
  },
};
