/**
 * Files that are unlinked while their machine is dumped.
 *
 * Invariants checked: a frozen machine refuses to unlink, and the waiting form waits for the end of
 * the dump · if the machine runs, each file is in the image as it was when the dump began · either
 * way every byte can be read after a restore into a machine that has the files which were not
 * unlinked.
 */
import { setImmediate as turn } from 'node:timers/promises';
import {
  createDumper,
  createMachine,
  type Dumper,
  type Machine,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codeOf } from '../support/machine/machine.ts';

const FILES = 24;
const LENGTH = 64 * PAGE_SIZE;

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(async () => {
  await dumper.close();
});

const pathOf = (file: number): string => `/lib/${file}`;
const contentOf = (file: number): Uint8Array => new Uint8Array(LENGTH).fill(file + 1);

/** A machine whose mm maps every file, the odd ones shared, with all pages in the page cache. */
function newFixture() {
  const machine = createMachine({ memory: 32 * MiB, maxAddressSpaces: 2, checks: true });
  const space = machine.createAddressSpace();
  const files = Array.from({ length: FILES }, (_, file) => {
    return machine.createFile({ path: pathOf(file), content: contentOf(file) });
  });
  const places = files.map(({ id }, file) => {
    const flags = [file % 2 === 0 ? 'private' : 'shared'] as const;
    return space.mmap({ length: LENGTH, prot: 'r', flags, file: id });
  });
  const bytes = new Uint8Array(LENGTH);
  for (const place of places) space.read(place, bytes);
  return { machine, space, files, places };
}

/**
 * Reads every file through the restored mm, in a machine that has all of them under their names.
 */
async function assertWhole(sink: ReturnType<typeof memorySink>, places: readonly number[]) {
  const target: Machine = createMachine({ memory: 32 * MiB, maxAddressSpaces: 2 });
  for (let file = 0; file < FILES; file++) {
    target.createFile({ path: pathOf(file), content: contentOf(file) });
  }
  const image = await openImage(sink.image);
  const { mms } = await dumper.restore(image, target);
  const bytes = new Uint8Array(LENGTH);
  places.forEach((place, file) => {
    mms[0]!.read(place, bytes);
    expect(Buffer.compare(bytes, contentOf(file)), pathOf(file)).toBe(0);
  });
  return mms[0]!;
}

describe('fault 3: a file that is unlinked during a frozen dump', () => {
  it('is not: the dump ends with the file as it was, and the waiting unlink comes after it', async () => {
    const { machine, space, files, places } = newFixture();
    const sink = memorySink();
    let isDone = false;
    const dumping = dumper.dump(space, { to: sink }).finally(() => {
      isDone = true;
    });
    while (!machine.parts.gate.isClosed) await turn();
    const codes = new Set<string>();
    const waiting = files[0]!.unlinkAsync();
    for (let file = 1; file < FILES && machine.parts.gate.isClosed; file++) {
      codes.add(codeOf(() => files[file]!.unlink()));
      await turn();
    }
    await dumping;
    expect(isDone).toBe(true);
    expect(codes).toEqual(new Set(['EAGAIN']));
    const restored = await assertWhole(sink, places);
    expect(restored.vmas().some(({ file }) => file?.endsWith('(deleted)'))).toBe(false);
    await waiting;
    expect(files[0]!.isDeleted).toBe(true);
  });
});

describe('fault 3: a file that is unlinked while a dump lets the machine run', () => {
  it('is in the image as it was when the dump began', async () => {
    const { machine, space, files, places } = newFixture();
    const sink = memorySink();
    let isDone = false;
    const dumping = dumper.dump(space, { to: sink, freeze: false }).finally(() => {
      isDone = true;
    });
    while (space.mm.lock.holders().readers === 0) await turn();
    let unlinked = 0;
    for (; unlinked < FILES && !isDone; unlinked++) {
      files[unlinked]!.unlink();
      await turn();
    }
    await dumping;
    expect(unlinked).toBeGreaterThan(0);
    expect(files[0]!.isDeleted).toBe(true);
    const restored = await assertWhole(sink, places);
    expect(restored.vmas()).toHaveLength(FILES);
    machine.detach();
  });
});
