/** The command line as its users see it: usage, reading images, exit codes. */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLI, CliFolder, expectFailure, type Result } from '../support/programs/cli.ts';

const cli = new CliFolder();
const { inside, mmdump, path: folder } = cli;
afterAll(() => cli.remove());

function expectUsage({ status, stdout, stderr }: Result): void {
  expect(status).toBe(2);
  expect(stdout).toBe('');
  expect(stderr).not.toBe('');
  expect(stderr).not.toMatch(/\n\s+at /);
}

describe('usage', () => {
  it.each([
    ['no source', ['dump']],
    ['an unknown option', ['dump', '--workload', 'dense', '--shape', 'elf']],
    ['an unknown command', ['explode']],
    ['an unknown workload', ['dump', '--workload', 'huge']],
    ['a wrong size', ['dump', '--workload', 'dense:64X']],
    ['a size that is too small', ['dump', '--workload', 'dense:1K', '-o', 'never.cpt']],
    ['two sources', ['dump', '--workload', 'dense', '--pid', '1']],
    ['no workers', ['dump', '--workload', 'dense', '--workers', '0']],
    ['a wrong choice', ['dump', '--workload', 'dense', '--blocks', 'byte']],
    ['JSON and the image on stdout', ['dump', '--workload', 'dense:1M', '-o', '-', '--json']],
    ['no image', ['inspect']],
    ['nothing at all', []],
  ])('%s exits with 2', async (_name, args) => {
    expectUsage(await inside(...args));
  });

  it.each([
    ['an option', ['dump', '--workload', 'dense', '--worker', '2'], '(Did you mean --workers?)'],
    ['a command', ['verifi', 'a.cpt'], '(Did you mean verify?)'],
    ['a choice', ['dump', '--workload', 'dense', '--checksum', 'crc'], 'xxh3, crc32, none'],
  ])(
    'trial 9: what is misspelt is answered with what was meant: %s',
    async (_name, args, meant) => {
      const { stderr } = await inside(...args);
      expect(stderr).toContain(meant);
    },
  );

  it('exits with 2 as a process does, and says why', () => {
    expectUsage(mmdump('dump', '--workload', 'huge'));
  });

  it('prints help and version with 0', async () => {
    expect(await inside('--help')).toMatchObject({ status: 0, stderr: '' });
    expect((await inside('dump', '--help')).stdout).toContain('--zero-pages');
    expect(mmdump('--version').stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('inspect, verify and restore', () => {
  beforeAll(() => {
    mmdump('dump', '--workload', 'mixed:4M', '-o', 'good.cpt', '--quiet');
  });

  function damaged(): Buffer {
    const bytes = readFileSync(join(folder, 'good.cpt'));
    bytes[bytes.length >> 1]! ^= 1;
    return bytes;
  }

  it('inspect lists what the image holds', async () => {
    expect(mmdump('inspect', 'good.cpt').stdout).toContain('/usr/bin/mixed');
    const image = JSON.parse((await inside('inspect', 'good.cpt', '--json')).stdout);
    expect(image).toMatchObject({ format: 'cpt', id: expect.any(String) });
    const { fields, ldtEntries, vmas } = image.mms[0];
    expect(fields.start_code).toBe('0x400000');
    expect(fields.map_count).toBe(vmas.length);
    expect(ldtEntries).toBe(11);
    expect(vmas[0]).toMatchObject({
      start: '0x400000',
      end: '0x420000',
      prot: 'r-xp',
      flags: expect.stringMatching(/^0x[0-9a-f]+$/),
      pgoff: 0,
      file: '/usr/bin/mixed',
      pages: { copy: 0, zero: 0, clone: 0 },
      storedPages: 0,
    });
  });

  it('verify says ok, or what is damaged and where', async () => {
    expect(mmdump('verify', 'good.cpt')).toMatchObject({ status: 0, stderr: '' });
    const ok = JSON.parse((await inside('verify', 'good.cpt', '--json')).stdout);
    expect(ok).toMatchObject({ ok: true, problems: [], objects: expect.any(Number) });
    writeFileSync(join(folder, 'bad.cpt'), damaged());
    expectFailure(
      await inside('verify', 'bad.cpt'),
      1,
      'bad.cpt',
      'mm 0, VMA 0x',
      'byte',
      'IMAGE_CHECKSUM',
    );
    const bad = JSON.parse((await inside('verify', 'bad.cpt', '--json')).stdout);
    expect(bad).toMatchObject({ ok: false, problems: [{ code: 'IMAGE_CHECKSUM' }] });
    // fault 12: the JSON says how many problems it does not list
    expect(bad).toMatchObject({ unlisted: 0 });
    expect(bad.problems[0].address).toMatch(/^0x[0-9a-f]+$/);
    expectFailure(mmdump('restore', 'bad.cpt', '--check'), 1, 'bad.cpt', 'IMAGE_CHECKSUM');
  });

  it('restore checks every page if asked', async () => {
    expect(mmdump('restore', 'good.cpt')).toMatchObject({ status: 0, stderr: '' });
    expect((await inside('restore', 'good.cpt', '--check')).stdout).toContain('equal');
    const json = JSON.parse((await inside('restore', 'good.cpt', '--check', '--json')).stdout);
    expect(json).toMatchObject({ mms: 1, check: { equal: true, difference: null } });
    const small = await inside('restore', 'good.cpt', '--memory', '2M');
    expectFailure(small, 1, 'ENOMEM');
  });

  it('restore leaves pages in the image if asked, and checks them there', async () => {
    const flags = ['--load', 'on-demand', '--check'];
    const { stdout } = await inside('restore', 'good.cpt', ...flags);
    expect(stdout).toMatch(/of which \d+ stay in the image.*equal/);
    const json = JSON.parse((await inside('restore', 'good.cpt', ...flags, '--json')).stdout);
    expect(json.onDemand).toBeGreaterThan(0);
    expect(json.check).toMatchObject({ equal: true });
  });

  it('fault 9: verify and restore are over with their time: exit code 1, one line', async () => {
    expect(mmdump('dump', '--workload', 'dense:16M', '-o', 'dense.cpt').status).toBe(0);
    for (const command of ['verify', 'restore']) {
      const late = mmdump(command, 'dense.cpt', '--timeout', '0.001');
      expectFailure(late, 1, 'timed out after 1 ms', 'TIMEOUT');
      expect((await inside(command, 'dense.cpt', '--timeout', '600')).status).toBe(0);
      expect((await inside(command, 'dense.cpt', '--timeout', '0')).status).toBe(2);
    }
  });

  it('a file that is missing, no image, or cut', async () => {
    for (const command of ['inspect', 'verify', 'restore']) {
      expectFailure(await inside(command, 'none.cpt'), 1, 'none.cpt', 'INPUT_FAILED');
      writeFileSync(join(folder, 'text.cpt'), 'this is no image');
      expectFailure(await inside(command, 'text.cpt'), 1, 'text.cpt', 'IMAGE_NOT_RECOGNISED');
      writeFileSync(join(folder, 'cut.cpt'), readFileSync(join(folder, 'good.cpt')));
      truncateSync(join(folder, 'cut.cpt'), 100_000);
      const cut = await inside(command, 'cut.cpt');
      expect(cut.status).toBe(1);
      expect(cut.stderr).toContain('IMAGE_TRUNCATED');
    }
  });

  it('does not mind a reader that stops reading', () => {
    const pipe = `"${process.execPath}" "${CLI}" inspect good.cpt | head -n 1`;
    const { stdout, stderr, status } = spawnSync('sh', ['-c', pipe], {
      cwd: folder,
      encoding: 'utf8',
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout.split('\n')).toHaveLength(2);
  });

  it('keeps its exit code when nobody reads what it prints', async () => {
    writeFileSync(join(folder, 'damaged.cpt'), damaged());
    for (const [name, expected] of [
      ['good.cpt', 0],
      ['damaged.cpt', 1],
    ] as const) {
      const child = spawn(process.execPath, [CLI, 'verify', name, '--json'], {
        cwd: folder,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      child.stdout.destroy(); // long before the child writes anything
      const [code] = await once(child, 'exit');
      expect(code, name).toBe(expected);
    }
  });

  it('fails when what it prints cannot be written', (context) => {
    if (!existsSync('/dev/full')) context.skip('there is no /dev/full');
    const full = openSync('/dev/full', 'w');
    const { status, stderr } = spawnSync(process.execPath, [CLI, 'inspect', 'good.cpt'], {
      cwd: folder,
      encoding: 'utf8',
      stdio: ['ignore', full, 'pipe'],
    });
    closeSync(full);
    expectFailure({ status, stdout: '', stderr }, 1, 'no space left');
  });
});
