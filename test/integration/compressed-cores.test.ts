/**
 * Core files that were compressed as a whole, as systemd-coredump keeps those of the kernel. Each
 * test packs a core by the program of the format, and is skipped where that is not installed.
 *
 * Invariants checked: every reader refuses such a file with one line · the command in that line
 * unpacks it · nothing is left in the machine and on the disk.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createMachine, importCore, MiB, MmdumpError, PAGE_SIZE } from 'mmdump';
import { afterAll, describe, expect, it } from 'vitest';
import { buildCore } from '../support/core/build-core.ts';
import { CliFolder, expectFailure } from '../support/programs/cli.ts';

const HEAP = 0x5555_0000_0000n;
const FORMATS = ['zstd', 'lz4', 'xz', 'gzip', 'bzip2'];

const cli = new CliFolder();
const { inside } = cli;
afterAll(() => cli.remove());

function pathOf(name: string): string {
  return join(cli.path, name);
}

function someCore(): Buffer {
  const content = Buffer.from(
    Array.from({ length: 3 * PAGE_SIZE }, (_, at) => (at * 7 + (at >> 9)) & 0xff),
  );
  return buildCore([{ address: HEAP, flags: 6, bytes: 0x3000n, content }], []);
}

/** The command that a message names, with names in it that a shell takes as they are. */
function commandIn(message: string, file: string, out: string): string {
  const command = /unpack it first, with '([^']+)'/.exec(message)?.[1];
  expect(command).toBeDefined();
  return command!.replace('FILE', file).replace('OUT', out);
}

describe('a core that was compressed as a whole', () => {
  it.for(FORMATS)('by %s is refused with the command that unpacks it', async (format, context) => {
    const { error: missing } = spawnSync(format, ['--help']);
    if (missing !== undefined) context.skip(`${format} is not installed`);
    const core = someCore();
    const [packed, unpacked] = [`core.${format}`, `core.from-${format}`];
    writeFileSync(pathOf(packed), execFileSync(format, ['-c'], { input: core }));
    const before = readdirSync(cli.path);

    const machine = createMachine({ memory: 16 * MiB });
    const { free } = machine.memory;
    const error = await importCore(machine, pathOf(packed)).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(MmdumpError);
    const { code, message } = error as MmdumpError;
    expect(code).toBe('IMAGE_NOT_RECOGNISED');
    expect(message).toContain(packed);
    expect(message).toContain(`it is compressed by ${format}`);
    expect(message).toContain('coredumpctl dump');
    expect(message).not.toContain('\n');
    expect(machine.memory.free).toBe(free);
    expect(machine.addressSpaces()).toEqual([]);

    for (const args of [
      ['dump', '--core', packed, '-o', 'out'],
      ['convert', packed, 'out', '--format', 'cpt'],
      ['convert', packed, 'out', '--format', 'openvz'],
      ['inspect', packed],
    ]) {
      const words = ['IMAGE_NOT_RECOGNISED', `compressed by ${format}`, 'unpack it first'];
      expectFailure(await inside(...args), 1, ...words);
    }
    expect(readdirSync(cli.path)).toEqual(before);

    execFileSync('sh', ['-c', commandIn(message, packed, unpacked)], {
      cwd: cli.path,
      stdio: 'pipe',
    });
    expect(readFileSync(pathOf(unpacked)).equals(core)).toBe(true);
    const imported = await importCore(machine, pathOf(unpacked));
    expect(imported.core.contentPages).toBe(3);
  });
});
