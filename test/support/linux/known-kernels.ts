/** Whether the running kernel's rules were recorded; if so, every difference is a fault. */
import { recordings } from './recorded-transcripts.ts';
import { type RunningKernel, runningKernel } from './running-kernel.ts';

/** '6.18.44' of '6.18.44-fc-v782': the suffix of a distribution says nothing about the rules. */
function versionOf(release: string): string {
  return /^[\d.]*\d/.exec(release)?.[0] ?? release;
}

/**
 * Finds the recording of a kernel of the same release with the same answer to the zero-page probe.
 */
export function knownAs({ release, probes }: RunningKernel): string | undefined {
  for (const [name, recording] of recordings()) {
    const isSameRelease = versionOf(recording.release) === versionOf(release);
    if (isSameRelease && recording.probes.zeroPage === probes.zeroPage) return name;
  }
  return undefined;
}

/** Describes the running kernel in one line. */
export function describeKernel(kernel: RunningKernel | string = runningKernel()): string {
  if (typeof kernel === 'string') return kernel;
  const answers = Object.entries(kernel.probes).map(([name, answer]) => `${name} ${answer}`);
  const known = knownAs(kernel);
  const recorded = known === undefined ? 'not recorded' : `recorded in ${known}`;
  return `Linux ${kernel.release} (${answers.join(', ')}), ${recorded}`;
}
