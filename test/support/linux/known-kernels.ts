/** Whether the running kernel is one whose rules were recorded: then every difference is a fault. */
import { recordings } from './recorded-transcripts.ts';
import { type RunningKernel, runningKernel } from './running-kernel.ts';

/** '6.18.44' of '6.18.44-fc-v782': what distributors append says nothing of the rules. */
function versionOf(release: string): string {
  return /^[\d.]*\d/.exec(release)?.[0] ?? release;
}

/** The recording of such a kernel: of its release, with its answer to the probe that has two. */
export function knownAs({ release, probes }: RunningKernel): string | undefined {
  for (const [name, recording] of recordings()) {
    const isSameRelease = versionOf(recording.release) === versionOf(release);
    if (isSameRelease && recording.probes.zeroPage === probes.zeroPage) return name;
  }
  return undefined;
}

/** One line about the running kernel. */
export function describeKernel(kernel: RunningKernel | string = runningKernel()): string {
  if (typeof kernel === 'string') return kernel;
  const answers = Object.entries(kernel.probes).map(([name, answer]) => `${name} ${answer}`);
  const known = knownAs(kernel);
  const recorded = known === undefined ? 'not recorded' : `recorded in ${known}`;
  return `Linux ${kernel.release} (${answers.join(', ')}), ${recorded}`;
}
