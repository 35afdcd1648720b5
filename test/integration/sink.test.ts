/**
 * File sinks when calls of the system fail. Invariants checked: an image is under its name or it is
 * not, and the error says which · no temporary file stays · the first error is the one that is
 * reported.
 */

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  createWorkload,
  type Dumper,
  fileSink,
  MiB,
  type MmdumpError,
  memorySink,
} from 'mmdump';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';

let folder: string;
let dumper: Dumper;
let space: AddressSpace;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-sink-'));
  dumper = await createDumper({ workers: 1 });
  ({ space } = await createWorkload('mixed', { size: MiB }));
});
afterAll(async () => {
  await dumper.close();
  rmSync(folder, { recursive: true });
});
afterEach(() => {
  vi.restoreAllMocks();
  syncBuiltinESMExports();
  for (const name of readdirSync(folder)) rmSync(join(folder, name));
});

type Calls = 'link' | 'unlink' | 'rename';
const promises: typeof fs = createRequire(import.meta.url)('node:fs/promises');

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: it is broken, for a test`), { code });
}

/** Makes a function of node:fs/promises fail whenever its first argument fits. */
function breakCall(name: Calls, code: string, fits: (path: string) => boolean): void {
  const original = promises[name] as (...args: unknown[]) => Promise<void>;
  vi.spyOn(promises, name).mockImplementation(async (...args: unknown[]) => {
    if (fits(String(args[0]))) throw systemError(code);
    await original(...args);
  });
  syncBuiltinESMExports();
}

/** The prototype that all file handles of this process share. */
async function handlePrototype(): Promise<fs.FileHandle> {
  const handle = await fs.open(folder, 'r');
  await handle.close();
  return Object.getPrototypeOf(handle);
}

const isTemporary = (path: string): boolean => path.includes('.mmdump-');

async function failureOf(force = false): Promise<MmdumpError> {
  const to = fileSink(join(folder, 'image.cpt'), { force });
  return await dumper.dump(space, { to }).then(
    () => expect.unreachable('it did not fail'),
    (error) => error,
  );
}

describe('a commit that fails', () => {
  it.for([false, true])('after the image has its name, force %s', async (force) => {
    const prototype = await handlePrototype();
    const { sync } = prototype;
    let calls = 0;
    vi.spyOn(prototype, 'sync').mockImplementation(async function (this: fs.FileHandle) {
      if (++calls === 2) throw systemError('EIO'); // the call for the directory
      await sync.call(this);
    });
    const { code, message } = await failureOf(force);
    expect(code).toBe('OUTPUT_FAILED');
    // With `force` the old image is gone, so the new one stays and the message says so.
    expect(readdirSync(folder)).toEqual(force ? ['image.cpt'] : []);
    expect(message).toContain(force ? 'is whole' : 'cannot be committed');
  });

  it('when the temporary name cannot be removed: no image under either', async () => {
    let isFirst = true;
    breakCall('unlink', 'EIO', (path) => {
      const breaks = isFirst && isTemporary(path);
      if (breaks) isFirst = false;
      return breaks;
    });
    expect(await failureOf()).toMatchObject({ code: 'OUTPUT_FAILED' });
    expect(readdirSync(folder)).toEqual([]);
  });

  it('without hard links: the placeholder goes, too', async () => {
    breakCall('link', 'EPERM', () => true);
    breakCall('rename', 'EIO', () => true);
    expect(await failureOf()).toMatchObject({ code: 'OUTPUT_FAILED' });
    expect(readdirSync(folder)).toEqual([]);
  });
});

it('a file system without hard links gets its image all the same, and keeps what is there', async () => {
  breakCall('link', 'EPERM', () => true);
  const to = fileSink(join(folder, 'image.cpt'));
  await dumper.dump(space, { to });
  expect(readdirSync(folder)).toEqual(['image.cpt']);
  expect(await failureOf()).toMatchObject({ code: 'OUTPUT_EXISTS' });
});

describe('cleaning up', () => {
  const broken = systemError('EIO');
  const failing = (): { onProgress: () => void } => ({
    onProgress: () => {
      throw broken;
    },
  });

  it('removes the temporary file even if it cannot be closed', async () => {
    const { open } = promises;
    vi.spyOn(promises, 'open').mockImplementation(async (...args) => {
      const handle = await open(...args);
      const { close } = handle;
      handle.close = async () => {
        await close();
        throw systemError('EIO');
      };
      return handle;
    });
    syncBuiltinESMExports();
    const to = fileSink(join(folder, 'image.cpt'));
    await expect(dumper.dump(space, { to, ...failing() })).rejects.toBe(broken);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('fault 1: names everything that it could not remove, and leaves nothing unsaid', async () => {
    breakCall('unlink', 'EIO', () => true);
    const { code, message } = await failureOf();
    expect(code).toBe('OUTPUT_FAILED');
    const left = readdirSync(folder);
    expect(left.length).toBe(2); // the name that link created, and the temporary name
    expect(message).toMatch(/leaves .*\.mmdump-[0-9a-f]+\.tmp behind/);
    expect(message).toMatch(/image\.cpt is left behind/);
  });

  it('fault 1: names the placeholder that it could not remove, where there are no hard links', async () => {
    breakCall('link', 'EPERM', () => true);
    breakCall('rename', 'EIO', () => true);
    breakCall('unlink', 'EIO', (path) => !isTemporary(path));
    const { message } = await failureOf();
    expect(readdirSync(folder)).toEqual(['image.cpt']);
    expect(message).toMatch(/image\.cpt is left behind/);
  });

  it('says what it could not remove, beside the error that made it', async () => {
    breakCall('unlink', 'EACCES', isTemporary);
    const machine = createMachine({ memory: 2 * MiB });
    const gone = machine.createAddressSpace();
    machine.destroyAddressSpace(gone);
    const to = fileSink(join(folder, 'image.cpt'));
    const failed = dumper.dump(gone, { to });
    await expect(failed).rejects.toMatchObject({ code: 'MM_GONE' });
    await expect(failed).rejects.toThrow(/\.mmdump-[0-9a-f]+\.tmp behind/);
  });
});

it('one sink takes one dump at a time', async () => {
  const other = await createDumper({ workers: 1 });
  try {
    const to = fileSink(join(folder, 'image.cpt'));
    const outcomes = await Promise.allSettled(
      [dumper, other].map((one) => one.dump(space, { to })),
    );
    const failed = outcomes.filter(({ status }) => status === 'rejected');
    expect(failed).toMatchObject([{ reason: { code: 'OUTPUT_FAILED' } }]);
    expect((await other.verify(join(folder, 'image.cpt'))).ok).toBe(true);
    expect(readdirSync(folder)).toEqual(['image.cpt']);
  } finally {
    await other.close();
  }
});

it('a dumper does not keep the result of its last job alive', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const result = await (async () => new WeakRef(await dumper.dump(space, { to: memorySink() })))();
  await new Promise((resolve) => setImmediate(resolve));
  collect();
  expect(result.deref()).toBeUndefined();
});
