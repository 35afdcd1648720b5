/** `mmdump dump` as its users see it: one clear line, JSON, nothing left behind. */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { hasNativeCalls } from '../../src/shared/native/library.ts';
import { GIVES_ON_REQUEST } from '../support/linux/advised-memory.ts';
import { CLI, CliFolder, expectFailure, started, stateOf } from '../support/programs/cli.ts';

const cli = new CliFolder();
const { inside, mmdump, path: folder } = cli;
afterAll(() => cli.remove());

/** Returns the size of a file, or 0 if it does not exist or no longer does. */
function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

describe('dump', () => {
  it('writes a workload to NAME.cpt and prints a summary', () => {
    const { status, stdout, stderr } = mmdump('dump', '--workload', 'mixed:4M');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/mixed\.cpt: .* id [0-9a-f]{32}/);
    expect(existsSync(join(folder, 'mixed.cpt'))).toBe(true);
  });

  it('prints one JSON object with the keys that scripts rely on', async () => {
    const args = ['dump', '--workload', 'mixed:4M', '-o', 'json.cpt', '--json', '--workers', '3'];
    const { status, stdout } = await inside(...args);
    expect(status).toBe(0);
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({
      image: { path: 'json.cpt', format: 'cpt', bytes: expect.any(Number) },
      workers: 3,
      frozen: true,
      mms: [
        {
          source: expect.stringContaining('mixed'),
          vmas: expect.any(Number),
          pages: { clone: 0, unsupported: 0 },
          ldtEntries: 11,
        },
      ],
    });
    expect(report.image.id).toMatch(/^[0-9a-f]{32}$/);
    expect(Object.keys(report.mms[0].pages)).toEqual([
      'absent',
      'copy',
      'zero',
      'clone',
      'unsupported',
      'parent',
    ]);
    for (const key of [
      'import',
      'lockWait',
      'pause',
      'locked',
      'plan',
      'copy',
      'commit',
      'total',
    ]) {
      expect(report.ms[key], key).toEqual(expect.any(Number));
    }
    expect(Object.keys(report.perWorker[0])).toEqual([
      'phase',
      'worker',
      'units',
      'pages',
      'bytes',
      'busyMs',
      'startMs',
    ]);
    expect(report.bytesPerSecond).toEqual(expect.any(Number));
  });

  it('gives the same bytes for the same seed and other bytes for another', () => {
    const image = (name: string, ...more: string[]): Buffer => {
      const path = `${name}.cpt`;
      const args = ['dump', '--workload', 'sparse:1G', '-o', path, '--quiet'];
      expect(mmdump(...args, ...more).stdout).toBe('');
      return readFileSync(join(folder, path));
    };
    const one = image('seed1', '--seed', '7', '--workers', '1');
    expect(image('seed2', '--seed', '7', '--workers', '2').equals(one)).toBe(true);
    expect(image('seed3', '--seed', '8').equals(one)).toBe(false);
  });

  it('honours --zero-pages, --checksum and --blocks', async () => {
    const bytes = async (...options: string[]): Promise<number> => {
      const args = ['dump', '--workload', 'mixed:4M', '-o', 'o.cpt', '--force', '--json'];
      return JSON.parse((await inside(...args, ...options)).stdout).image.bytes;
    };
    const plain = await bytes();
    expect(await bytes('--zero-pages', 'copy')).toBeGreaterThan(plain);
    expect(await bytes('--blocks', 'page')).toBeGreaterThan(plain);
    expect(await bytes('--checksum', 'none')).toBe(plain);
    const { stdout } = await inside('inspect', 'o.cpt');
    expect(stdout).toContain('pages without checksums');
  });

  it('refuses an existing file without --force', async () => {
    writeFileSync(join(folder, 'mine.cpt'), 'mine');
    const result = await inside('dump', '--workload', 'sparse:1G', '-o', 'mine.cpt');
    expectFailure(result, 1, 'mine.cpt', 'OUTPUT_EXISTS');
    expect(readFileSync(join(folder, 'mine.cpt'), 'utf8')).toBe('mine');
    expect(
      (await inside('dump', '--workload', 'sparse:1G', '-o', 'mine.cpt', '--force')).status,
    ).toBe(0);
  });

  it('dumps a live process, which goes on, or stays stopped if it was', async () => {
    const child = await started("console.log('up'); process.stdin.resume()");
    const pid = child.pid!;
    try {
      const result = mmdump('dump', '--pid', `${pid}`, '--quiet');
      if (result.stderr.includes('PROCESS_DENIED')) return;
      expect(result).toEqual({ status: 0, stdout: '', stderr: '' });
      expect(stateOf(pid)).not.toBe('T');
      const { import: known } = JSON.parse(
        (await inside('dump', '--pid', `${pid}`, '--force', '--json', '--quiet')).stdout,
      );
      expect(known).toMatchObject({
        pid,
        contentPages: expect.any(Number),
        unmappedPages: expect.any(Number),
        unreadableFiles: expect.any(Array),
        foreignFiles: expect.any(Array),
        sharingKnown: expect.any(Boolean),
      });
      expect(known.smapsDifferences).toEqual(known.sharingKnown ? [] : null);
      child.kill('SIGSTOP');
      while (stateOf(pid) !== 'T') await new Promise((resolve) => setImmediate(resolve));
      expect((await inside('dump', '--pid', `${pid}`, '--force', '--quiet')).status).toBe(0);
      expect(stateOf(pid)).toBe('T');
      expect((await inside('verify', `${pid}.cpt`)).status).toBe(0);
      expect((await inside('restore', `${pid}.cpt`, '--check')).status).toBe(0);
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });

  it('says in one line what is wrong with the process, the memory or the output', async () => {
    expectFailure(await inside('dump', '--pid', '4194303'), 1, '4194303', 'PROCESS_NOT_FOUND');
    const small = await inside(
      'dump',
      '--workload',
      'dense:8M',
      '--memory',
      '4M',
      '-o',
      'small.cpt',
    );
    expectFailure(small, 1, 'ENOMEM');
    const nowhere = await inside('dump', '--workload', 'sparse:1G', '-o', 'no/such/x.cpt');
    expectFailure(nowhere, 1, 'no/such/x.cpt', 'OUTPUT_FAILED');
    expect(existsSync(join(folder, 'small.cpt'))).toBe(false);
  });

  it.for(['SIGINT', 'SIGTERM'] as const)(
    'is undone by %s while it copies: exit code 130, no file, no temporary file',
    async (signal) => {
      const args = [CLI, 'dump', '--workload', 'dense:256M', '-o', 'interrupted.cpt'];
      const child = spawn(process.execPath, args, {
        cwd: folder,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const errors: Buffer[] = [];
      child.stderr.on('data', (data: Buffer) => errors.push(data));
      const temporaries = (): string[] =>
        readdirSync(folder).filter((name) => name.startsWith('.mmdump-'));
      // The temporary file gets its length when the image is laid out.
      const isCopying = (): boolean => temporaries().some((name) => sizeOf(join(folder, name)) > 0);
      while (!isCopying() && child.exitCode === null) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      child.kill(signal);
      const [code] = await once(child, 'close');
      expect(code).toBe(130);
      expect(Buffer.concat(errors).toString()).toMatch(/^mmdump: interrupted.*\n$/);
      expect(existsSync(join(folder, 'interrupted.cpt'))).toBe(false);
      expect(temporaries()).toEqual([]);
    },
  );

  it.for([
    ['into a file', 'late.cpt'],
    ['into a pipe that nobody opens', 'pipe'],
  ] as const)('is over with its time %s: exit code 1, one line, nothing left', ([, output]) => {
    spawnSync('mkfifo', [join(folder, 'pipe')]);
    const args = ['dump', '--workload', 'dense:512M', '-o', output, '--timeout', '0.01'];
    expectFailure(mmdump(...args), 1, 'timed out after 10 ms', 'TIMEOUT');
    expect(existsSync(join(folder, 'late.cpt'))).toBe(false);
    expect(readdirSync(folder).filter((name) => name.startsWith('.mmdump-'))).toEqual([]);
  });

  it('refuses a time-out that is none', async () => {
    for (const seconds of ['0', '-1', 'soon', '1e9', '99999999']) {
      expect((await inside('dump', '--workload', 'sparse:1G', '--timeout', seconds)).status).toBe(
        2,
      );
    }
  });

  it('says with --dry-run how long the image would be, and writes none', async () => {
    const args = ['dump', '--workload', 'mixed:4M', '-o', 'dry.cpt', '--json'];
    const dry = JSON.parse((await inside(...args, '--dry-run')).stdout);
    expect(dry.image).toEqual({ path: null, format: 'cpt', bytes: expect.any(Number), id: null });
    expect(readdirSync(folder).filter((name) => /^dry|^\.mmdump-/.test(name))).toEqual([]);
    const real = JSON.parse((await inside(...args)).stdout);
    expect(statSync(join(folder, 'dry.cpt')).size).toBe(dry.image.bytes);
    expect(real.mms).toEqual(dry.mms);
    expect((await inside(...args.slice(0, -1), '--dry-run')).stdout).toContain(
      `${dry.image.bytes} bytes`,
    );
  });

  it('refuses with --size-limit what is larger, with both numbers, and writes nothing', async () => {
    const args = ['dump', '--workload', 'dense:4M', '-o', 'limit.cpt', '--size-limit'];
    expectFailure(await inside(...args, '4M'), 1, 'SIZE_LIMIT', `${4 * 2 ** 20}`);
    expect(readdirSync(folder).filter((name) => /^limit|^\.mmdump-/.test(name))).toEqual([]);
    expect((await inside(...args, '5M')).status).toBe(0);
  });

  it('leaves out with --dontdump what asks for it, and lists it', async () => {
    const args = ['dump', '--workload', 'mixed:4M', '-o', 'dd.cpt', '--force', '--json'];
    const { skipped } = JSON.parse((await inside(...args, '--dontdump')).stdout);
    expect(skipped).toEqual([
      expect.objectContaining({ mm: 0, reason: 'the mapping is VM_DONTDUMP' }),
    ]);
    expect((await inside('verify', 'dd.cpt')).status).toBe(0);
    expect((await inside('restore', 'dd.cpt', '--check')).status).toBe(0);
    expect(JSON.parse((await inside(...args)).stdout).skipped).toEqual([]);
  });

  it('leaves nothing behind when the disk is full', (context) => {
    const script =
      `mount -t tmpfs -o size=3m none "$1" && cd "$1" && ` +
      `"$2" "$3" dump --workload dense:8M -o full.cpt; code=$?; ls -A "$1"; exit $code`;
    const mount = join(folder, 'mount');
    spawnSync('mkdir', [mount]);
    const shell = ['-rm', 'sh', '-c', script, 'sh', mount, process.execPath, CLI];
    const { status, stdout, stderr, error } = spawnSync('unshare', shell, { encoding: 'utf8' });
    if (error !== undefined || /unshare|mount:/.test(stderr)) {
      context.skip(`no mount namespaces here: ${error?.message ?? stderr}`);
    }
    expectFailure({ status, stdout, stderr }, 1, 'full.cpt', 'no space left', 'OUTPUT_FAILED');
    expect(stdout).toBe('');
  });

  it.for([
    ['in a folder that is missing', 'no/such/x.cpt'],
    ['that ends in a slash', 'images/'],
    ['that is a folder', '.'],
    ['below a file', 'file/x.cpt'],
    ['with a name that is too long', `${'x'.repeat(300)}.cpt`],
  ] as const)('refuses an output %s before it looks at the process', async ([, output]) => {
    writeFileSync(join(folder, 'file'), '');
    const result = await inside('dump', '--pid', '4194303', '-o', output);
    expectFailure(result, 1, output, 'OUTPUT_FAILED');
    expect(readdirSync(folder).filter((name) => name.startsWith('.mmdump-'))).toEqual([]);
  });

  it('refuses an output without a name as wrong usage', async () => {
    expectFailure(await inside('dump', '--pid', '4194303', '-o', ''), 2, 'OPTION_INVALID');
  });

  it('takes every name that the file system takes', async () => {
    const name = `${'x'.repeat(251)}.cpt`;
    expect((await inside('dump', '--workload', 'sparse:1G', '-o', name)).status).toBe(0);
    expect((await inside('verify', name)).status).toBe(0);
  });

  it('dumps a snapshot of a workload, with the same image', async () => {
    const args = [
      'dump',
      '--workload',
      'dense:8M',
      '--json',
      '--quiet',
      '--force',
      '-o',
      'fork.cpt',
    ];
    const frozen = JSON.parse((await inside(...args)).stdout);
    const forked = JSON.parse((await inside(...args, '--pause', 'fork')).stdout);
    expect(forked.image.id).toBe(frozen.image.id);
    expect(forked.frozen).toBe(true);
    expect((await inside(...args, '--pause', 'fork', '--no-freeze')).status).toBe(2);
    expect((await inside('dump', '--pid', '1', '--pause', 'fork')).status).not.toBe(0);
  });

  it('has a workload for every seed that it takes', async () => {
    const args = ['dump', '--workload', 'sparse:1G', '-o', 'seeds.cpt', '--force', '--seed'];
    expect((await inside(...args, '4294967295')).status).toBe(0);
    expect(await inside(...args, '4294967296')).toMatchObject({ status: 2, stdout: '' });
  });

  it.for([
    ['dense:96M', undefined, GIVES_ON_REQUEST && hasNativeCalls()],
    ['dense:96M', '0', false],
    ['sparse:1G', undefined, false], // its machine is small
  ] as const)("says whether the kernel's own calls were used: %s, %s", ([workload, set, used]) => {
    const env = { ...process.env, ...(set !== undefined && { MMDUMP_NATIVE: set }) };
    const words = [CLI, 'dump', '--workload', workload, '-o', 'native.cpt', '--json', '--force'];
    const options = { cwd: folder, encoding: 'utf8', env } as const;
    const { status, stdout } = spawnSync(process.execPath, [...words, '--quiet'], options);
    expect(status).toBe(0);
    expect(JSON.parse(stdout).native).toBe(used);
  });
});
