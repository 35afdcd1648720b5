/** The command line as its users meet it: exit codes, one clear line, JSON, nothing left behind. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const CLI = fileURLToPath(new URL('../../dist/main/cli/mmdump.js', import.meta.url));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-cli-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function mmdump(...args: string[]): Result {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], {
    cwd: folder,
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

/** Exactly one line on stderr, no stack trace, and what it must say. */
function expectFailure(result: Result, status: number, ...words: string[]): void {
  expect(result.stderr.trimEnd().split('\n')).toHaveLength(1);
  expect(result.stderr).not.toMatch(/\n\s+at /);
  for (const word of words) expect(result.stderr).toContain(word);
  expect(result.status).toBe(status);
}

async function started(script: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout!, 'data');
  return child;
}

function stateOf(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return stat.slice(stat.lastIndexOf(')') + 2)[0]!;
}

describe('dump', () => {
  it('writes a workload to NAME.cpt and prints a summary', () => {
    const { status, stdout, stderr } = mmdump('dump', '--workload', 'mixed:4M');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/mixed\.cpt: .* id [0-9a-f]{32}/);
    expect(existsSync(join(folder, 'mixed.cpt'))).toBe(true);
  });

  it('prints one JSON object with the keys that scripts rely on', () => {
    const args = ['dump', '--workload', 'mixed:4M', '-o', 'json.cpt', '--json', '--workers', '3'];
    const { status, stdout } = mmdump(...args);
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
    ]);
    for (const key of [
      'import',
      'lockWait',
      'pause',
      'plan',
      'classify',
      'layout',
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
      expect(mmdump('dump', '--workload', 'sparse:1G', '-o', path, '--quiet', ...more).stdout).toBe(
        '',
      );
      return readFileSync(join(folder, path));
    };
    const one = image('seed1', '--seed', '7', '--workers', '1');
    expect(image('seed2', '--seed', '7', '--workers', '2').equals(one)).toBe(true);
    expect(image('seed3', '--seed', '8').equals(one)).toBe(false);
  });

  it('honours --zero-pages, --checksum and --blocks', () => {
    const bytes = (...options: string[]): number => {
      const args = ['dump', '--workload', 'mixed:4M', '-o', 'o.cpt', '--force', '--json'];
      return JSON.parse(mmdump(...args, ...options).stdout).image.bytes;
    };
    const plain = bytes();
    expect(bytes('--zero-pages', 'copy')).toBeGreaterThan(plain);
    expect(bytes('--blocks', 'page')).toBeGreaterThan(plain);
    expect(bytes('--checksum', 'none')).toBe(plain);
    const { stdout } = mmdump('inspect', 'o.cpt');
    expect(stdout).toContain('pages without checksums');
  });

  it('refuses an existing file without --force', () => {
    writeFileSync(join(folder, 'mine.cpt'), 'mine');
    const result = mmdump('dump', '--workload', 'sparse:1G', '-o', 'mine.cpt');
    expectFailure(result, 1, 'mine.cpt', 'OUTPUT_EXISTS');
    expect(readFileSync(join(folder, 'mine.cpt'), 'utf8')).toBe('mine');
    expect(mmdump('dump', '--workload', 'sparse:1G', '-o', 'mine.cpt', '--force').status).toBe(0);
  });

  it('dumps a live process, which goes on, or stays stopped if it was', async () => {
    const child = await started("console.log('up'); process.stdin.resume()");
    const pid = child.pid!;
    try {
      const result = mmdump('dump', '--pid', `${pid}`, '--quiet');
      if (result.stderr.includes('PROCESS_DENIED')) return;
      expect(result).toEqual({ status: 0, stdout: '', stderr: '' });
      expect(stateOf(pid)).not.toBe('T');
      child.kill('SIGSTOP');
      while (stateOf(pid) !== 'T') await new Promise((resolve) => setImmediate(resolve));
      expect(mmdump('dump', '--pid', `${pid}`, '--force', '--quiet').status).toBe(0);
      expect(stateOf(pid)).toBe('T');
      expect(mmdump('verify', `${pid}.cpt`).status).toBe(0);
      expect(mmdump('restore', `${pid}.cpt`, '--check').status).toBe(0);
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });

  it('says in one line what is wrong with the process, the memory or the output', () => {
    expectFailure(mmdump('dump', '--pid', '4194303'), 1, '4194303', 'PROCESS_NOT_FOUND');
    const small = mmdump('dump', '--workload', 'dense:8M', '--memory', '4M', '-o', 'small.cpt');
    expectFailure(small, 1, 'ENOMEM');
    const nowhere = mmdump('dump', '--workload', 'sparse:1G', '-o', 'no/such/x.cpt');
    expectFailure(nowhere, 1, 'no/such/x.cpt', 'OUTPUT_FAILED');
    expect(existsSync(join(folder, 'small.cpt'))).toBe(false);
  });

  it('is undone by Ctrl-C: exit code 130, no file, no temporary file', async () => {
    const args = [CLI, 'dump', '--workload', 'dense:768M', '-o', 'interrupted.cpt'];
    const child = spawn(process.execPath, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    const errors: Buffer[] = [];
    child.stderr.on('data', (data: Buffer) => errors.push(data));
    const hasTemporary = (): boolean =>
      readdirSync(folder).some((name) => name.startsWith('.interrupted'));
    while (!hasTemporary() && child.exitCode === null) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    child.kill('SIGINT');
    const [code] = await once(child, 'close');
    expect(code).toBe(130);
    expect(Buffer.concat(errors).toString()).toMatch(/^mmdump: interrupted.*\n$/);
    expect(readdirSync(folder).filter((name) => name.includes('interrupted'))).toEqual([]);
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
});

describe('usage', () => {
  it.each([
    ['no source', ['dump']],
    ['an unknown option', ['dump', '--workload', 'dense', '--format', 'elf']],
    ['an unknown command', ['explode']],
    ['an unknown workload', ['dump', '--workload', 'huge']],
    ['a wrong size', ['dump', '--workload', 'dense:64X']],
    ['a size that is too small', ['dump', '--workload', 'dense:1K', '-o', 'never.cpt']],
    ['two sources', ['dump', '--workload', 'dense', '--pid', '1']],
    ['no workers', ['dump', '--workload', 'dense', '--workers', '0']],
    ['a wrong choice', ['dump', '--workload', 'dense', '--blocks', 'byte']],
    ['stdout', ['dump', '--workload', 'dense:1M', '-o', '-']],
    ['no image', ['inspect']],
    ['nothing at all', []],
  ])('%s exits with 2', (_name, args) => {
    const { status, stdout, stderr } = mmdump(...args);
    expect(status).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).not.toBe('');
    expect(stderr).not.toMatch(/\n\s+at /);
  });

  it('prints help and version with 0', () => {
    expect(mmdump('--help')).toMatchObject({ status: 0, stderr: '' });
    expect(mmdump('dump', '--help').stdout).toContain('--zero-pages');
    expect(mmdump('--version').stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('inspect, verify and restore', () => {
  beforeAll(() => {
    mmdump('dump', '--workload', 'mixed:4M', '-o', 'good.cpt', '--quiet');
  });

  it('inspect lists what the image holds', () => {
    expect(mmdump('inspect', 'good.cpt').stdout).toContain('/usr/bin/mixed');
    const image = JSON.parse(mmdump('inspect', 'good.cpt', '--json').stdout);
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

  it('verify says ok, or what is damaged and where', () => {
    expect(mmdump('verify', 'good.cpt')).toMatchObject({ status: 0, stderr: '' });
    const ok = JSON.parse(mmdump('verify', 'good.cpt', '--json').stdout);
    expect(ok).toMatchObject({ ok: true, problems: [], objects: expect.any(Number) });
    const bytes = readFileSync(join(folder, 'good.cpt'));
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(join(folder, 'bad.cpt'), bytes);
    expectFailure(
      mmdump('verify', 'bad.cpt'),
      1,
      'bad.cpt',
      'mm 0, VMA 0x',
      'byte',
      'IMAGE_CHECKSUM',
    );
    const bad = JSON.parse(mmdump('verify', 'bad.cpt', '--json').stdout);
    expect(bad).toMatchObject({ ok: false, problems: [{ code: 'IMAGE_CHECKSUM' }] });
    expect(bad.problems[0].address).toMatch(/^0x[0-9a-f]+$/);
    expectFailure(mmdump('restore', 'bad.cpt', '--check'), 1, 'bad.cpt', 'IMAGE_CHECKSUM');
  });

  it('restore checks every page if asked', () => {
    expect(mmdump('restore', 'good.cpt')).toMatchObject({ status: 0, stderr: '' });
    expect(mmdump('restore', 'good.cpt', '--check').stdout).toContain('equal');
    const json = JSON.parse(mmdump('restore', 'good.cpt', '--check', '--json').stdout);
    expect(json).toMatchObject({ mms: 1, check: { equal: true, difference: null } });
    const small = mmdump('restore', 'good.cpt', '--memory', '2M');
    expectFailure(small, 1, 'ENOMEM');
  });

  it('a file that is missing, no image, or cut', () => {
    for (const command of ['inspect', 'verify', 'restore']) {
      expectFailure(mmdump(command, 'none.cpt'), 1, 'none.cpt', 'INPUT_FAILED');
      writeFileSync(join(folder, 'text.cpt'), 'this is no image');
      expectFailure(mmdump(command, 'text.cpt'), 1, 'text.cpt', 'IMAGE_NOT_RECOGNISED');
      writeFileSync(join(folder, 'cut.cpt'), readFileSync(join(folder, 'good.cpt')));
      truncateSync(join(folder, 'cut.cpt'), 100_000);
      const cut = mmdump(command, 'cut.cpt');
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
});
