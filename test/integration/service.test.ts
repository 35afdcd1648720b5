/**
 * What a service uses that runs for long: memory, descriptors and threads do not grow, however many
 * machines it has made, dumped and closed. Each test runs in its own process, whose size the system
 * tells. MMDUMP_LONG=1 runs 200 rounds.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { MiB } from 'mmdump';
import { describe, expect, it } from 'vitest';

const SERVICE = fileURLToPath(new URL('../support/programs/service.mjs', import.meta.url));
const ROUNDS = process.env.MMDUMP_LONG === '1' ? 200 : 6;
const MEBIBYTES = 16;
/** The most memory that the import of an idle Node process takes. */
const IMPORTED_MEBIBYTES = 96;

interface Sample {
  readonly rss: number;
  readonly descriptors: number;
  readonly threads: number;
  /** Bytes of its store that the machine of this round had taken. */
  readonly store: number;
}

async function serve(kind: 'build' | 'restore' | 'drop' | 'import'): Promise<readonly Sample[]> {
  const options = JSON.stringify({ rounds: ROUNDS, mebibytes: MEBIBYTES, kind });
  const { stdout } = await promisify(execFile)(process.execPath, [SERVICE, options]);
  return (JSON.parse(stdout) as { samples: Sample[] }).samples;
}

const most = (samples: readonly Sample[], what: keyof Sample): number =>
  Math.max(...samples.map((sample) => sample[what]));

describe('trial 6: a service that makes, dumps and closes machines stays as large as it is', () => {
  it.for([
    ['that it builds, while it keeps the objects of those that it has closed', 'build'],
    ['that it builds and restores', 'restore'],
    ['that it builds and drops without closing them, once garbage is collected', 'drop'],
    ['into which it imports a process', 'import'],
  ] as const)('machines %s', async ([, kind], context) => {
    if (kind === 'import' && process.platform !== 'linux') context.skip('there is no /proc');
    const samples = await serve(kind);
    const machineBytes = (kind === 'import' ? IMPORTED_MEBIBYTES : MEBIBYTES) * MiB;
    const third = Math.floor(ROUNDS / 3);
    const first = samples.slice(0, third);
    const last = samples.slice(-third);
    expect(samples).toHaveLength(ROUNDS);
    expect(most(last, 'rss')).toBeLessThanOrEqual(most(first, 'rss') + machineBytes);
    expect(most(last, 'store')).toBeLessThanOrEqual(most(first, 'store'));
    expect(most(last, 'descriptors')).toBeLessThanOrEqual(most(first, 'descriptors'));
    expect(most(last, 'threads')).toBeLessThanOrEqual(most(first, 'threads'));
  });
});
