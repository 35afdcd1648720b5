/**
 * Measures the share of a dump that the coordinator does alone while workers wait, without fsync.
 */
import { createDumper, memorySink } from 'mmdump';
import type { BenchCase } from '../case.ts';
import { MODES, type Mode, parametersOf } from '../dumps.ts';
import type { Fixtures } from '../fixtures.ts';
import { type Line, toLine } from '../line.ts';
import { measure, samplesOf, type Timing } from '../measure.ts';
import type { Pattern } from '../scatter.ts';
import { TARGETS, type Target } from '../targets.ts';

/** Measures the parts of a dump. Everything that is not the pass is serial. */
async function shares(
  fixtures: Fixtures,
  pattern: Pattern,
  mode: Mode,
  target?: Target,
): Promise<Line[]> {
  const { workers } = fixtures;
  const space = fixtures.space(pattern);
  const dumper = await createDumper({ workers });
  const to = memorySink();
  const dump = async (): Promise<Timing> => {
    const { ms } = await dumper.dump(space, { to, ...MODES[mode] });
    const serial = ms.total - ms.copy;
    const named = { 'plan and LDT': ms.plan };
    const rest = serial - ms.plan;
    return {
      ms: ms.total,
      parts: { share: (100 * serial) / ms.total, ...named, 'lock, image id, report': rest },
    };
  };
  try {
    const samples = await measure({ dump }, 2 * fixtures.options.rounds, 3);
    const parameters = { ...parametersOf(pattern, workers), mode };
    const line = (part: string, name: string, unit: 'ms' | '%', aim?: Target): Line =>
      toLine('serial', {
        name,
        parameters,
        unit,
        samples: samplesOf(samples, `dump: ${part}`),
        target: aim,
      });
    return [
      line('share', 'serial share of a dump', '%', target),
      ...['plan and LDT', 'lock, image id, report'].map((part) => line(part, part, 'ms')),
    ];
  } finally {
    await dumper.close();
    to.release();
  }
}

export const serial: BenchCase = {
  name: 'serial',
  about: "the coordinator's part: everything but the pass, into memory",
  async run(fixtures) {
    const pattern = { bytes: fixtures.options.bytes, run: 16, zeroPercent: 0 };
    return {
      lines: [
        ...(await shares(fixtures, pattern, 'bare', TARGETS.serial)),
        ...(await shares(fixtures, { ...pattern, zeroPercent: 20 }, 'defaults')),
      ],
    };
  },
};
