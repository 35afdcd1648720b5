/** Determines which file a mapping shows from what smaps says about it. */
import { mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  deviceText,
  identityKey,
  identityOf,
  isSameFile,
} from '../../../src/main/import/file-identity.ts';
import { readFileView } from '../../../src/main/import/file-view.ts';
import { type MappedFile, MappedFiles } from '../../../src/main/import/mapped-files.ts';
import { parseSmaps, type SmapsVma } from '../../../src/main/import/smaps.ts';
import { Yielder } from '../../../src/main/job/stop.ts';

const folder = mkdtempSync(join(tmpdir(), 'mmdump-files-'));
afterAll(() => rmSync(folder, { recursive: true }));

interface Shown {
  readonly device: string;
  readonly inode: bigint;
  readonly name: string;
}

async function vmasOf(...files: readonly Shown[]): Promise<SmapsVma[]> {
  const lines = files.map(({ device, inode, name }, at) => {
    const start = 0x10_0000 + at * 0x2000;
    const range = `${start.toString(16)}-${(start + 0x2000).toString(16)}`;
    return `${range} rw-s 00000000 ${device} ${inode}    ${name}\nVmFlags: rd wr sh mr mw me ms\n`;
  });
  return await parseSmaps(lines.join(''), new Yielder(undefined));
}

/** Finds the files as for a process with our mounts. */
async function find(...shown: readonly Shown[]): Promise<(MappedFile | null)[]> {
  const view = await readFileView(process.pid);
  const files = new MappedFiles();
  const found: (MappedFile | null)[] = [];
  for (const vma of await vmasOf(...shown)) found.push(await files.find(vma, view));
  return found;
}

/** A file of this system, as smaps would show it. */
function realFile(name: string): Shown & { readonly path: string } {
  const path = join(folder, name);
  writeFileSync(path, name);
  const { dev, ino } = statSync(path, { bigint: true });
  const [major, minor] = deviceText(dev).split(':').map(Number);
  const device = `${hex2(major!)}:${hex2(minor!)}`;
  return { device, inode: identityOf({ dev, ino }).inode, name: path, path };
}

function hex2(value: number): string {
  return value.toString(16).padStart(2, '0');
}

describe('trial 1: inodes and devices are exact', () => {
  const LARGE = 2n ** 63n;

  it('four inodes that one double stands for are four files', async () => {
    const shown = [12n, 13n, 14n, 15n].map((number, at) => {
      return { device: '00:4f', inode: LARGE + number, name: `/gone/f${at} (deleted)` };
    });
    const vmas = await vmasOf(...shown);
    expect(vmas.map(({ inode }) => inode)).toEqual(shown.map(({ inode }) => inode));
    expect(new Set(await find(...shown)).size).toBe(4);
  });

  it('what stat calls a negative inode is the one that smaps calls 2^63 and more', () => {
    const a = identityOf({ dev: 5n, ino: 12n - LARGE });
    expect(a.inode).toBe(LARGE + 12n);
    expect(isSameFile(a, identityOf({ dev: 5n, ino: 13n - LARGE }))).toBe(false);
    expect(isSameFile(a, identityOf({ dev: 6n, ino: 12n - LARGE }))).toBe(false);
    expect(identityKey(a)).toBe('5:9223372036854775820');
  });

  it('a device number is what mountinfo writes, however large its parts are', () => {
    expect(deviceText(0xfe00n)).toBe('254:0');
    expect(deviceText((0xabcden << 44n) | (0x123n << 8n))).toBe(`${0xabcde123}:0`);
    expect(deviceText((0xfffffn << 20n) | 0x1ffn)).toBe(`1:${0xfffffff}`);
  });

  it('offsets beyond 2^53 are exact in pages', async () => {
    const text =
      '10000-11000 rw-s fffffffffffff000 00:05 9    /dev/x\nVmFlags: rd sh\n' +
      '11000-12000 rw-s 20000000003000 00:05 9    /dev/x\nVmFlags: rd sh\n';
    const vmas = await parseSmaps(text, new Yielder(undefined));
    expect(vmas.map(({ pgoff }) => pgoff)).toEqual([2 ** 52 - 1, 2 ** 41 + 3]);
  });
});

describe('trial 2: a name counts only where it leads to the same device and inode', () => {
  it('the file itself is living', async () => {
    const shown = realFile('living');
    const [file] = await find(shown);
    expect(file).toMatchObject({ isDeleted: false, size: 6 });
    expect(file!.path.toString()).toBe(shown.path);
  });

  it('another device with the same path and inode is not this file', async () => {
    const shown = realFile('device');
    const [file] = await find({ ...shown, device: 'ff:7' });
    expect(file).toMatchObject({ isDeleted: true, identity: undefined, source: undefined });
  });

  it('another inode under the same path is not this file', async () => {
    const shown = realFile('inode');
    const [file] = await find({ ...shown, inode: shown.inode + 1n });
    expect(file).toMatchObject({ isDeleted: true, identity: undefined, source: undefined });
  });

  it('a name that is no absolute path is not looked for where we are', async () => {
    const { device, inode, path } = realFile('relative');
    const [file] = await find({ device, inode, name: path.slice(1) });
    expect(file).toMatchObject({ isDeleted: true, source: undefined });
  });

  it('one file under two names is one, and lives as long as one of them leads to it', async () => {
    const gone = realFile('before');
    renameSync(gone.path, join(folder, 'after'));
    const kept = { ...gone, name: join(folder, 'after') };
    const [first, second] = await find({ ...gone, name: `${gone.name} (deleted)` }, kept);
    expect(first).toBe(second);
    expect(first).toMatchObject({ isDeleted: false });
    expect(first!.path.toString()).toBe(kept.name);
  });
});
