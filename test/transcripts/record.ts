/**
 * Records the transcripts anew. `npm run transcripts` runs the histories on the kernel of this
 * machine, as root, and writes the file of that kind of kernel beside this one.
 *
 * `--simulated ORIGIN` records the simulated machine instead, with a zero page, for a kind of
 * kernel that is not at hand. ORIGIN says why the result can be trusted, and is written into the
 * head.
 */
import { writeFileSync } from 'node:fs';
import type { Plan } from '../support/linux/history.ts';
import {
  comparablePlan,
  fixedHistories,
  randomHistories,
  SHAPES,
  USUAL_SEED,
} from '../support/linux/named-histories.ts';
import { FILES } from '../support/linux/random-history.ts';
import { RealLinux } from '../support/linux/real-linux.ts';
import { printRecording, type Recording } from '../support/linux/recorded-transcripts.ts';
import { runningKernel } from '../support/linux/running-kernel.ts';
import { runSimulated } from '../support/linux/simulated-history.ts';

function recordAll(run: (plan: Plan) => string[]): Recording['histories'] {
  const random = SHAPES.flatMap((shape) => randomHistories(shape, USUAL_SEED));
  return [...fixedHistories(), ...random].map(({ name, history }) => {
    return { name, lines: run(comparablePlan(history, true)) };
  });
}

function fail(reason: string): never {
  process.stderr.write(`${reason}\n`);
  process.exit(1);
}

const kernel = runningKernel();
if (typeof kernel === 'string') fail(kernel);
const [option, release, origin] = process.argv.slice(2);
let recording: Recording;
if (option === '--simulated' && release !== undefined && origin !== undefined) {
  const settings = { protectionKeys: false, hugePages: 'madvise' }; // as the histories need it
  const probes = { zeroPage: true, softDirty: null, ...settings };
  const histories = recordAll((plan) => runSimulated(plan, true));
  recording = { release, probes, origin, files: FILES, histories };
} else {
  if (process.getuid?.() !== 0) fail('only root may lock as much memory as the histories do');
  if (kernel.probes.protectionKeys) fail('with protection keys some steps would be left out');
  const linux = RealLinux.build();
  if (typeof linux === 'string') fail(linux);
  try {
    if (!linux.canPlaceHeap) fail('this kernel lets no heap be placed');
    const day = new Date().toISOString().slice(0, 10);
    recording = {
      ...kernel,
      origin: `recorded from this kernel on ${day} by npm run transcripts, as root`,
      files: FILES,
      histories: recordAll((plan) => linux.run(plan)),
    };
  } finally {
    linux.close();
  }
}
const name = recording.probes.zeroPage ? 'zero-page.txt' : 'fresh-page.txt';
writeFileSync(new URL(name, import.meta.url), printRecording(recording));
process.stdout.write(`${name}: ${recording.histories.length} histories\n`);
