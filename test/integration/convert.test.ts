/**
 * `mmdump convert --format`: images become core files and core files images.
 *
 * Invariants checked: every page that the input holds is in the output, with its bytes · a core made
 * of an image has the bytes of the core that a dump of the same machine writes · what the output
 * lacks is said, on standard error and with --json · memory stays bounded.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  createDumper,
  createMachine,
  fileSink,
  MiB,
  memoryUsage,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, describe, expect, it } from 'vitest';
import { buildCore, fileNote, threadNote } from '../support/core/build-core.ts';
import { pageOf, readCore } from '../support/core/slow-core.ts';
import { CLI, CliFolder, expectFailure } from '../support/programs/cli.ts';

const cli = new CliFolder();
const { inside } = cli;
afterAll(() => cli.remove());

function bytesOf(name: string): Buffer {
  return readFileSync(join(cli.path, name));
}

async function done(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await inside(...args);
  expect({ args, status, stderr: status === 0 ? '' : stderr }).toMatchObject({ status: 0 });
  return stdout;
}

async function json(...args: string[]): Promise<{ [key: string]: unknown }> {
  return JSON.parse(await done(...args, '--json'));
}

/** The bytes of every page that an image knows, or null where it does not, by mapping. */
async function pagesOf(name: string): Promise<Map<number, Buffer | null>> {
  const image = await openImage(join(cli.path, name));
  const pages = new Map<number, Buffer | null>();
  try {
    for (const { start, end } of image.vmas()) {
      for (let at = start; at < end; at += PAGE_SIZE) {
        const page = Buffer.alloc(PAGE_SIZE);
        const isKnown = await image.read(at, page).then(
          () => true,
          (error) => {
            if (error.code !== 'PAGE_ABSENT') throw error;
            return false;
          },
        );
        pages.set(at, isKnown ? page : null);
      }
    }
  } finally {
    await image.close();
  }
  return pages;
}

const MIXED = ['--workload', 'mixed:4M', '--seed', '7', '--force', '--quiet'];

describe('an image that becomes a core file', () => {
  it('is the core that a dump of the same machine writes', async () => {
    await done('dump', ...MIXED, '-o', 'a.cpt');
    await done('dump', ...MIXED, '-o', 'direct.core', '--format', 'elf');
    const { image, from } = await json('convert', 'a.cpt', 'a.core', '--format', 'elf');
    expect(bytesOf('a.core').equals(bytesOf('direct.core'))).toBe(true);
    expect(image).toMatchObject({ path: 'a.core', format: 'elf', id: null });
    expect(from).toMatchObject({ path: 'a.cpt', format: 'cpt', ancestors: [] });
  });

  it('and an image again: every page is there', async () => {
    await done('dump', ...MIXED, '-o', 'b.cpt');
    await done('convert', 'b.cpt', 'b.core', '--format', 'elf', '--quiet');
    await done('convert', 'b.core', 'back.cpt', '--format', 'cpt', '--quiet');
    const [before, after] = [await pagesOf('b.cpt'), await pagesOf('back.cpt')];
    let known = 0;
    for (const [at, page] of before) {
      expect(after.has(at)).toBe(true);
      if (page === null) continue; // the image does not know it
      known++;
      expect(after.get(at)?.equals(page), at.toString(16)).toBe(true);
    }
    expect(known).toBeGreaterThan(1000);
  });

  it('says what the core lacks, and takes one of a family', async () => {
    const machine = createMachine({ memory: 16 * MiB });
    const space = machine.createAddressSpace();
    const flags = ['private', 'anonymous'] as const;
    const at = space.mmap({ length: 64 * PAGE_SIZE, prot: 'rw', flags });
    space.fill(at, 20 * PAGE_SIZE, 3);
    space.madvise(at + 32 * PAGE_SIZE, PAGE_SIZE, 'guard_install');
    space.setAddresses({ brk: at });
    space.loadLdt(Buffer.from('ffff0000009acf00', 'hex'));
    const child = space.fork();
    child.fill(at, PAGE_SIZE, 4);
    const dumper = await createDumper({ workers: 2 });
    const to = fileSink(join(cli.path, 'family.cpt'));
    await dumper.dump([space, child], { to });
    await dumper.dump(child, { to: fileSink(join(cli.path, 'child.core')), format: 'elf' });
    await dumper.close();
    await machine.close();
    const whole = await inside('convert', 'family.cpt', 'none.core', '--format', 'elf');
    expectFailure(whole, 2, 'there are 2', 'a core file holds one address space');
    const none = await inside('convert', 'family.cpt', 'none', '--format', 'elf', '--mm', '2');
    expectFailure(none, 2, 'mm: 2: there are 2 address spaces');
    const args = ['convert', 'family.cpt', 'x.core', '--format', 'elf', '--mm', '1'];
    const { status, stdout, stderr } = await inside(...args, '--json');
    expect(status).toBe(0);
    const { warnings } = JSON.parse(stdout);
    expect(warnings).toEqual([
      'not kept: 1 other address space, and which pages are shared: they are left out',
      'not kept: the fields start_brk, brk of the mm',
      'not kept: an LDT of 1 entry',
      'not kept: guard pages, which become absent pages: 1',
    ]);
    expect(stderr.trim().split('\n')).toEqual(
      warnings.map((line: string) => `mmdump: family.cpt: ${line}`),
    );
    expect(bytesOf('x.core').equals(bytesOf('child.core'))).toBe(true);
  });

  it('has the pages of its ancestors', async () => {
    await done('dump', '--workload', 'dense:4M', '--quiet', '-o', 'p.cpt');
    await done('dump', '--workload', 'dense:4M', '--quiet', '-o', 'q.cpt', '--parent', 'p.cpt');
    await done('convert', 'q.cpt', 'q.core', '--format', 'elf', '--quiet');
    await done('convert', 'p.cpt', 'p.core', '--format', 'elf', '--quiet', '--flatten');
    expect(bytesOf('q.core').equals(bytesOf('p.core'))).toBe(true);
  });
});

describe('other conversions', () => {
  it('an image becomes the same image', async () => {
    await done('dump', ...MIXED, '-o', 'c.cpt');
    expect(await json('convert', 'c.cpt', 'd.cpt', '--format', 'cpt')).toMatchObject({
      warnings: [],
    });
    expect(bytesOf('d.cpt').equals(bytesOf('c.cpt'))).toBe(true);
  });

  it.each([0, 1072])('a core becomes a core, wherever its pages lie: %i', async (remainder) => {
    const address = 0x7000_0000_0000;
    const content = Buffer.alloc(5 * PAGE_SIZE);
    for (let page = 0; page < 5; page++) content.fill(page * 40, page * PAGE_SIZE);
    const thread = threadNote(9, Array(27).fill(5n), 11);
    const files = fileNote([[0x40_0000n, 0x40_4000n, 0n, '/no/such/program']]);
    const segments = [
      { address: 0x40_0000n, flags: 5, bytes: 0x4000n, content: content.subarray(0, PAGE_SIZE) },
      { address: BigInt(address), flags: 6, bytes: 0x9000n, content },
    ];
    writeFileSync(join(cli.path, 'e.core'), buildCore(segments, [thread, files], { remainder }));
    const { warnings } = await json('convert', 'e.core', 'f.core', '--format', 'elf', '--force');
    expect(warnings).toEqual([expect.stringContaining('1 files that the core names are not')]);
    const [before, after] = [bytesOf('e.core'), bytesOf('f.core')];
    const [a, b] = [readCore(before), readCore(after)];
    const zeros = Buffer.alloc(PAGE_SIZE);
    for (const { start, end } of a.segments) {
      for (let at = start; at < end; at += PAGE_SIZE) {
        const [expected, found] = [pageOf(before, a, at), pageOf(after, b, at)];
        expect((found ?? zeros).equals(expected ?? zeros), at.toString(16)).toBe(true);
      }
    }
    expect(b.notes.includes(thread.payload)).toBe(true);
    expect(b.notes.includes('/no/such/program')).toBe(true);
  });

  it('refuses what is neither, and what has no such address space', async () => {
    writeFileSync(
      join(cli.path, 'text'),
      'neither an image nor a core file, but long enough'.repeat(9),
    );
    const text = await inside('convert', 'text', 'x', '--format', 'elf');
    expectFailure(text, 1, 'IMAGE_NOT_RECOGNISED');
    expectFailure(await inside('convert', 'none', 'x', '--format', 'elf'), 1, 'INPUT_FAILED');
    writeFileSync(join(cli.path, 'empty.core'), buildCore([], []));
    const second = await inside('convert', 'empty.core', 'x', '--format', 'cpt', '--mm', '1');
    expectFailure(second, 2, 'there is 1 address space');
    const flat = await inside('convert', 'text', 'x', '--flatten', '--mm', '0');
    expectFailure(flat, 2, '--mm');
  });

  it('takes little memory for a long image', async () => {
    await done('dump', '--workload', 'dense:320M', '--no-sync', '--quiet', '-o', 'long.cpt');
    const program = pathToFileURL(join(CLI, '..', 'program.js')).href;
    const script = `
      import(${JSON.stringify(program)}).then(async ({ runProgram }) => {
        await runProgram(process.argv.slice(1));
        console.log(process.resourceUsage().maxRSS / 1024);
      })`;
    const run = (...words: string[]): number => {
      const all = ['-e', script, 'convert', ...words, '--no-sync', '--quiet', '--workers', '2'];
      const { status, stdout, stderr } = cli.run(all);
      expect({ status, stderr }).toEqual({ status: 0, stderr: expect.not.stringContaining('[') });
      return Number(stdout);
    };
    for (const words of [
      ['long.cpt', 'long.core', '--format', 'elf'],
      ['long.core', 'again.cpt', '--format', 'cpt'],
    ]) {
      const peak = run(...words);
      expect(peak).toBeGreaterThan(0);
      expect(peak).toBeLessThan(256);
    }
    const [before, after] = await Promise.all(
      ['long.cpt', 'again.cpt'].map((name) => openImage(join(cli.path, name))),
    );
    expect(memoryUsage(after!).mms).toEqual(memoryUsage(before!).mms);
    await before!.close();
    await after!.close();
    expect((await inside('verify', 'again.cpt')).status).toBe(0);
  });
});
