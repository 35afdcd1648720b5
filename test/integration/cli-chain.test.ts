/** Images with a parent on the command line: dump, inspect, verify, restore and convert. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { CliFolder, expectFailure } from '../support/programs/cli.ts';

const cli = new CliFolder();
const { inside, path: folder } = cli;
afterAll(() => cli.remove());

describe('a chain of images', () => {
  it('is dumped, shown, verified, restored and made one image', async () => {
    const dump = ['dump', '--workload', 'mixed:4M', '--json', '--seed', '7'];
    expect(await inside(...dump, '-o', 'a.cpt')).toMatchObject({ status: 0 });
    const second = await inside(...dump, '--parent', 'a.cpt', '-o', 'b.cpt');
    const report = JSON.parse(second.stdout);
    expect(report.mms[0].pages).toMatchObject({ copy: 0 });
    expect(report.mms[0].pages.parent).toBeGreaterThan(500);
    expect(report.image.bytes).toBeLessThan(200_000);
    const shown = JSON.parse((await inside('inspect', 'b.cpt', '--json')).stdout);
    expect(shown.ancestors).toMatchObject([{ path: 'a.cpt' }]);
    expect((await inside('inspect', 'b.cpt')).stdout).toMatch(
      /^parent: a\.cpt, .*, id [0-9a-f]{32}$/m,
    );
    expect(await inside('verify', 'b.cpt')).toMatchObject({ status: 0 });
    expect(await inside('restore', 'b.cpt', '--check')).toMatchObject({ status: 0 });
    const flat = await inside('convert', '--flatten', 'b.cpt', 'c.cpt', '--json');
    expect(JSON.parse(flat.stdout)).toMatchObject({
      image: { path: 'c.cpt', id: shown.ancestors[0].id },
      from: { path: 'b.cpt', id: shown.id },
    });
    const bytes = (name: string): Buffer => readFileSync(join(folder, name));
    expect(bytes('c.cpt').equals(bytes('a.cpt'))).toBe(true);
    expect((await inside('convert', '--flatten', 'b.cpt', 'd', '--split', '2')).status).toBe(0);
    expect(Buffer.concat([bytes('d.000'), bytes('d.001')]).equals(bytes('a.cpt'))).toBe(true);
    rmSync(join(folder, 'c.cpt'));
    mkdirSync(join(folder, 'elsewhere'));
    renameSync(join(folder, 'a.cpt'), join(folder, 'elsewhere', 'a.cpt'));
    expectFailure(
      await inside('inspect', 'b.cpt'),
      1,
      '[IMAGE_PARENT_MISSING]',
      shown.ancestors[0].id,
    );
    const verified = await inside('verify', 'b.cpt');
    expect(verified.status).toBe(1);
    expect(verified.stderr).toContain('[IMAGE_PARENT_MISSING]');
    const there = ['--parents', 'elsewhere/a.cpt'];
    expect(await inside('verify', 'b.cpt', ...there)).toMatchObject({ status: 0, stderr: '' });
  });

  it('needs to be told what convert makes', async () => {
    expect((await inside('convert', 'b.cpt', 'c.cpt')).status).toBe(2);
    const refused = await inside('convert', '--flatten', 'none.cpt', 'c.cpt');
    expectFailure(refused, 1, '[INPUT_FAILED]');
  });

  it('is made of a process', async (ctx) => {
    const script = 'const kept = Buffer.alloc(3e6, 1); setInterval(() => kept, 1e6); console.log()';
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await once(child.stdout, 'data'); // it has started
      const dump = ['dump', '--pid', `${child.pid}`, '--json'];
      const first = await inside(...dump, '-o', 'p0.cpt');
      ctx.skip(
        first.stderr.includes('[PROCESS_DENIED]'),
        'the system does not let us read a process',
      );
      expect(first).toMatchObject({ status: 0 });
      const second = await inside(...dump, '--parent', 'p0.cpt', '-o', 'p1.cpt');
      const { mms, image } = JSON.parse(second.stdout);
      expect(mms[0].pages.parent).toBeGreaterThan(10 * mms[0].pages.copy);
      expect(image.bytes).toBeLessThan(JSON.parse(first.stdout).image.bytes / 4);
      expect(await inside('verify', 'p1.cpt')).toMatchObject({ status: 0 });
      expect(await inside('restore', 'p1.cpt', '--check')).toMatchObject({ status: 0 });
    } finally {
      child.kill('SIGKILL');
    }
  });
});
