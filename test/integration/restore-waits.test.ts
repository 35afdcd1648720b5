/**
 * Restores into a machine that is frozen, or in which a dump holds an address space.
 *
 * Invariants checked: a restore waits, at every step · where it fails or is stopped, everything
 * that it took of the machine comes back, however often that happens · an undo that has to wait
 * does wait · the error names what could not be given back.
 */
import { setImmediate as turn } from 'node:timers/promises';
import {
  createDumper,
  createMachine,
  createWorkload,
  type Dumper,
  type Image,
  MiB,
  memorySink,
  openImage,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** More tries than a machine has address spaces. */
const TRIES = 70;
const TOTAL = 16 * MiB;

let dumper: Dumper;
let image: Image;
let files: Image;
beforeAll(async () => {
  dumper = await createDumper({ workers: 1 });
  const { space } = await createWorkload('mixed', { size: MiB });
  space.setAuxv(new Uint8Array(16).fill(1));
  space.setNotes(new Uint8Array(16).fill(2));
  const sink = memorySink();
  await dumper.dump(space, { to: sink });
  image = await openImage(sink.image);
  files = await imageWithFiles();
});
afterAll(() => dumper.close());

/** Files of three kinds: in memory, deleted, and one with a name. */
async function imageWithFiles(): Promise<Image> {
  const machine = createMachine({ memory: 4 * MiB });
  const space = machine.createAddressSpace();
  const map = (file: { readonly id: number }): void => {
    const at = space.mmap({ length: 8192, prot: 'rw', flags: ['shared'], file: file.id });
    space.write(at, Uint8Array.of(1));
  };
  map(machine.createFile({ path: '/memfd:a', memoryBacked: { size: 8192 } }));
  map(machine.createFile({ path: '/gone', content: new Uint8Array(8192), deleted: true }));
  const named = machine.createFile({ path: '/named', content: new Uint8Array(8192) });
  space.mmap({ length: 8192, prot: 'r', flags: ['private'], file: named.id });
  const sink = memorySink();
  await dumper.dump(space, { to: sink });
  return await openImage(sink.image);
}

function target() {
  const machine = createMachine({ memory: TOTAL });
  const { free } = machine.memory;
  const { threads, files: table } = machine.parts;
  const assertEmpty = (): void => {
    expect(machine.memory.free).toBe(free);
    expect(machine.addressSpaces()).toEqual([]);
    for (let id = 1; id < 100; id++) expect(table.exists(id)).toBe(false);
  };
  return { machine, threads, assertEmpty };
}

/** Freezes the machine again and again; the restore proceeds in between. */
async function refreeze(freeze: () => Promise<{ thaw(): void }>, isOver: () => boolean) {
  while (!isOver()) {
    const frozen = await freeze();
    await turn();
    frozen.thaw();
    await turn();
  }
}

describe('fault 2: a restore into a machine that others freeze', () => {
  it('waits at every step, and restores everything', async () => {
    for (const from of [image, files]) {
      const { machine } = target();
      let isOver = false;
      const freezing = refreeze(
        () => machine.freeze(),
        () => isOver,
      );
      const restored = await dumper.restore(from, machine);
      isOver = true;
      await freezing;
      const [space] = restored.mms;
      expect((await space!.vmasAsync()).length).toBe(from.vmas().length);
    }
  });

  it('gives everything back when it is stopped while it waits, every time', async () => {
    const { machine, assertEmpty } = target();
    for (let at = 0; at < TRIES; at++) {
      const frozen = await machine.freeze();
      const controller = new AbortController();
      const restore = dumper.restore(files, machine, { signal: controller.signal });
      const stopped = expect(restore).rejects.toMatchObject({ code: 'ABORT_ERR' });
      await turn();
      controller.abort();
      await stopped;
      frozen.thaw();
    }
    assertEmpty();
    await dumper.restore(files, machine);
  });

  it('gives everything back although the machine is frozen when it fails, every time', async () => {
    const { machine, assertEmpty } = target();
    for (let at = 0; at < TRIES; at++) {
      const controller = new AbortController();
      let freezing: Promise<{ thaw(): void }> | undefined;
      const restore = dumper.restore(files, machine, {
        signal: controller.signal,
        onProgress: () => {
          freezing ??= machine.freeze(); // the freeze waits for the pages that are being loaded
          controller.abort();
        },
      });
      const stopped = expect(restore).rejects.toMatchObject({ code: 'ABORT_ERR' });
      while (freezing === undefined) await turn();
      const frozen = await freezing;
      for (let turns = 0; turns < 10; turns++) await turn(); // by now the undo waits
      frozen.thaw();
      await stopped;
    }
    assertEmpty();
    await dumper.restore(files, machine);
  });

  it('a file that the machine has already stays, though its owner lets it go meanwhile', async () => {
    const { machine } = target();
    const file = machine.createFile({ path: '/named', content: new Uint8Array(8192).fill(7) });
    const frozen = await machine.freeze();
    const restore = dumper.restore(files, machine);
    await turn();
    frozen.thaw();
    const { mms } = await restore;
    const { id } = file;
    // held by its name, its owner and the mapping
    expect(machine.parts.files.references(id)).toBe(3);
    await mms[0]!.exitAsync();
    expect(machine.parts.files.references(id)).toBe(2);
  });
});
