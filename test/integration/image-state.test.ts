/**
 * State beside memory in images. Invariants checked: what a snapshot or a dump is given under names
 * comes back by `readState` and by a restore, byte for byte · the bytes of the image depend on
 * neither the order of the names nor the number of workers, the sink or the way of the dump · the
 * state of an image is its own, whatever its parent has · a flattening and a conversion keep it, and
 * formats that cannot hold it say so · what is damaged, twice, out of order or too long is refused
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import {
  createDumper,
  createMachine,
  type Dumper,
  diffImages,
  fileSink,
  flattenImage,
  type MemoryImage,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
  type SnapshotState,
  splitSink,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SMALL_STATE, smallFamily } from '../support/images/hostile-seeds.ts';
import { seal } from '../support/images/image-mutations.ts';
import { ANON, bytesOf, imageOf, inMemory, smallSpace } from '../support/images/images.ts';
import { readSlowly } from '../support/images/slow-image.ts';
import { CliFolder } from '../support/programs/cli.ts';

let dumper: Dumper;
let folder: string;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
  folder = mkdtempSync(join(tmpdir(), 'mmdump-state-'));
});
afterAll(async () => {
  await dumper.close();
  rmSync(folder, { recursive: true });
});

/** Larger than a piece, a segment and a chunk of a part; its length is no multiple of 8. */
const LARGE = Uint8Array.from({ length: 5 * MiB + 3 }, (_, at) => (at * 31) >> 3);
const STATE: SnapshotState = { ...SMALL_STATE, großes: LARGE, __proto__x: Uint16Array.of(7, 8) };

/** The length and a digest of each state, by name: to compare millions of numbers takes long. */
function told(state: SnapshotState): { [name: string]: string } {
  const entries = Object.entries(state).map(([name, { buffer, byteOffset, byteLength }]) => {
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    return [name, `${byteLength}: ${createHash('sha256').update(bytes).digest('hex')}`] as const;
  });
  return Object.fromEntries(entries);
}

/** A machine with one address space and one page of it, which is filled. */
function small() {
  const machine = createMachine({ memory: 8 * MiB, maxAddressSpaces: 4 });
  const space = machine.createAddressSpace();
  const at = space.mmap({ ...ANON, length: 4 * PAGE_SIZE });
  space.fill(at, PAGE_SIZE, 5);
  return { machine, space, at };
}

async function stateOf(
  from: string | MemoryImage,
  parents: readonly MemoryImage[] = [],
): Promise<{ [name: string]: string }> {
  const image = await openImage(from, { parents });
  const found: [string, Uint8Array][] = [];
  for (const { name } of image.state) found.push([name, await image.readState(name)]);
  await image.close();
  return told(Object.fromEntries(found));
}

describe('the state of an image', () => {
  it('is that of the snapshot or of the dump, and comes back by a restore', async () => {
    const { machine, space, at } = small();
    const snapshot = machine.snapshot({ state: STATE });
    const [of, given] = [memorySink(), memorySink()];
    const report = await dumper.dump(snapshot, { to: of });
    space.fill(at, PAGE_SIZE, 6);
    snapshot.rewind();
    const state = { ...STATE, cpu: SMALL_STATE.cpu };
    expect((await dumper.dump(space, { to: given, state })).image.id).toBe(report.image.id);
    const image = await openImage(of.image);
    expect(image.state.map(({ name, bytes }) => [name, bytes])).toEqual([
      ['__proto__x', 4],
      ['cpu', 3],
      ['devices', 24],
      ['großes', LARGE.length],
      ['none', 0],
    ]);
    expect(await stateOf(of.image)).toEqual(told(STATE));
    const restored = await dumper.restore(image, createMachine({ memory: 8 * MiB }));
    expect(told(restored.state)).toEqual(told(STATE));
    const into = await dumper.restore(image, machine, { into: space });
    expect(told(into.state)).toEqual(told(STATE));
    await expect(image.readState('gpu')).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: "state: 'gpu' is not known: did you mean 'cpu'?",
    });
    await image.close();
    expect(image.state).toHaveLength(5);
    await expect(image.readState('cpu')).rejects.toMatchObject({ code: 'IMAGE_CLOSED' });
    expect((await dumper.verify(of.image)).ok).toBe(true);
    snapshot.drop();
  });

  it('has the same bytes in any order of names, for all workers, sinks and ways', async () => {
    const expected = await imageOf(dumper, smallFamily(), { state: STATE });
    const reversed = Object.fromEntries(Object.entries(STATE).reverse());
    const one = await createDumper({ workers: 1 });
    const other = await imageOf(one, smallFamily(), { state: reversed, unitBytes: 2 * MiB });
    expect(other.equals(expected)).toBe(true);
    await one.close();
    const family = smallFamily();
    const way = { state: STATE, sizeLimit: expected.length };
    expect((await imageOf(dumper, family, way)).equals(expected)).toBe(true);
    const { image } = await dumper.estimate(family, { state: STATE });
    expect(image.bytes).toBe(expected.length);
    const path = join(folder, 'a.cpt');
    await dumper.dump(family, { to: fileSink(path), state: STATE });
    expect(readFileSync(path).equals(expected)).toBe(true);
    await dumper.dump(family, { to: splitSink(join(folder, 'parts'), { parts: 3 }), state: STATE });
    const parts = ['000', '001', '002'].map((part) => readFileSync(join(folder, `parts.${part}`)));
    expect(Buffer.concat(parts).equals(expected)).toBe(true);
    expect(await stateOf(join(folder, 'parts'))).toEqual(told(STATE));
    expect(readSlowly(expected).states.map(({ name }) => name.toString())).toEqual([
      '__proto__x',
      'cpu',
      'devices',
      'großes',
      'none',
    ]);
    const forked = await imageOf(dumper, small().space, { state: STATE, pause: 'fork' });
    const plain = await imageOf(dumper, small().space, { state: STATE });
    expect(forked.equals(plain)).toBe(true);
  });

  it('is copied when the dump is asked for', async () => {
    const { space } = small();
    const cpu = Uint8Array.of(1, 2, 3);
    const to = memorySink();
    const dump = dumper.dump(space, { to, state: { cpu } });
    cpu.fill(9);
    await dump;
    expect(await stateOf(to.image)).toEqual(told({ cpu: Uint8Array.of(1, 2, 3) }));
  });

  it('is its own, not that of its parent, and a flattening keeps that of the last', async () => {
    const { space, at } = small();
    const first = memorySink();
    await dumper.dump(space, { to: first, state: { cpu: Uint8Array.of(1), old: LARGE } });
    const parent = await openImage(first.image);
    space.fill(at + PAGE_SIZE, 1, 7);
    const [second, whole, flat] = [memorySink(), memorySink(), memorySink()];
    await dumper.dump(space, { to: second, parent, state: { cpu: Uint8Array.of(2) } });
    const own = told({ cpu: Uint8Array.of(2) });
    expect(await stateOf(second.image, [first.image])).toEqual(own);
    const child = await openImage(second.image, { parents: [first.image] });
    await flattenImage(child, { to: flat });
    await dumper.dump(space, { to: whole, state: { cpu: Uint8Array.of(2) } });
    expect(bytesOf(flat.image).equals(bytesOf(whole.image))).toBe(true);
    const bad = bytesOf(first.image);
    bad[bad.indexOf(LARGE.subarray(0, 64)) + 100]! ^= 1;
    const { problems } = await dumper.verify(second.image, { parents: [inMemory(bad)] });
    expect(problems.map(({ message }) => message).join()).toContain("state 'old', payload at byte");
    await child.close();
    await parent.close();
  });
});

describe('two images', () => {
  it('differ by their states: other bytes, other lengths, only on one side', async () => {
    const { space } = small();
    const sinks = [memorySink(), memorySink()] as const;
    const state = { both: Uint8Array.of(1), longer: LARGE, byte: LARGE, left: Uint8Array.of(3) };
    const byte = Uint8Array.from(LARGE);
    byte[LARGE.length - 1]! ^= 1;
    await dumper.dump(space, { to: sinks[0], state });
    const { left: _, ...rest } = { ...state, longer: LARGE.subarray(1), byte };
    await dumper.dump(space, { to: sinks[1], state: { ...rest, right: new Uint8Array(0) } });
    const images = [await openImage(sinks[0].image), await openImage(sinks[1].image)] as const;
    const found = await diffImages(...images, { dumper });
    expect(found).toMatchObject({ same: false, changedPages: [] });
    expect(found.state).toEqual([
      { name: 'byte', left: LARGE.length, right: LARGE.length },
      { name: 'left', left: 1, right: null },
      { name: 'longer', left: LARGE.length, right: LARGE.length - 1 },
      { name: 'right', left: null, right: 0 },
    ]);
    const itself = await diffImages(images[0], images[0], { dumper });
    expect(itself).toMatchObject({ same: true, state: [] });
    // Address spaces have no state, so that of the image is no difference.
    expect(await dumper.diff(space, images[0])).toMatchObject({ same: true, state: [] });
    for (const image of images) await image.close();
  });
});

describe('state that cannot be kept', () => {
  const refused = (state: unknown, options = {}) =>
    expect(
      dumper.dump(small().space, { to: memorySink(), state: state as SnapshotState, ...options }),
    ).rejects.toMatchObject({ code: 'OPTION_INVALID', message: expect.stringMatching(/^state/) });

  it('is refused before anything is written', async () => {
    await refused(3);
    await refused(new Map());
    await refused({ cpu: [1, 2] });
    await refused({ cpu: new ArrayBuffer(8) });
    await refused({ '': new Uint8Array(1) });
    await refused({ ['ä'.repeat(128)]: new Uint8Array(1) });
    await refused({ '\ud800': new Uint8Array(1) });
    const many = Array.from({ length: 1025 }, (_, at) => [`${at}`, new Uint8Array(0)]);
    await refused(Object.fromEntries(many));
    await refused({ cpu: new Uint8Array(1) }, { format: 'elf' });
    const { machine } = small();
    const take = (state: SnapshotState) => () => machine.snapshot({ state });
    expect(take({ '': new Uint8Array(1) })).toThrow(/^state: name: '': expected text/);
    const snapshot = machine.snapshot({ state: { cpu: new Uint8Array(1) } });
    const both = dumper.dump(snapshot, { to: memorySink(), state: {} });
    await expect(both).rejects.toMatchObject({ code: 'OPTION_INVALID' });
    const core = await dumper.dump(snapshot, { to: memorySink(), format: 'elf' });
    expect(core.image.format).toBe('elf');
    expect(core.warnings[0]).toMatch(/^not kept: state 'cpu', 1 byte$/);
  });

  it('holds the most that an image may: 1024 states, names of 255 bytes', async () => {
    const names = Array.from({ length: 1024 }, (_, at) => `${at}`.padStart(255, 'ä').slice(-128));
    const state = Object.fromEntries(names.map((name, at) => [name, Uint8Array.of(at)]));
    const image = await imageOf(dumper, small().space, { state });
    expect(await stateOf(inMemory(image))).toEqual(told(state));
  });

  it('needs more memory than a restore may take: IMAGE_TOO_LARGE', async () => {
    const image = await openImage(inMemory(await imageOf(dumper, smallSpace(), { state: STATE })));
    const machine = createMachine({ memory: 8 * MiB });
    await expect(dumper.restore(image, machine, { maxStateBytes: MiB })).rejects.toMatchObject({
      code: 'IMAGE_TOO_LARGE',
      message: expect.stringContaining("raise 'maxStateBytes'"),
    });
    expect(machine.addressSpaces()).toEqual([]);
    await image.close();
  });
});

/** The places of the STATE objects of an image. */
function statesIn(bytes: Buffer): number[] {
  const found: number[] = [];
  for (let at = 72; at < bytes.length; at += Number(bytes.readBigUInt64LE(at))) {
    if (bytes.readUInt32LE(at + 8) === 8193) found.push(at);
  }
  return found;
}

describe('state that nobody could have written', () => {
  async function refusedWith(change: (bytes: Buffer, places: number[]) => void, message: string) {
    const bytes = await imageOf(dumper, smallSpace(), { state: SMALL_STATE });
    const places = statesIn(bytes);
    change(bytes, places);
    for (const at of places) seal(bytes, at, 40, 36);
    await expect(openImage(inMemory(bytes))).rejects.toMatchObject({
      code: expect.stringMatching(/^IMAGE_/),
      message: expect.stringContaining(message),
    });
    const { ok, problems } = await dumper.verify(inMemory(bytes));
    expect({ ok, first: problems[0]?.message }).toEqual({
      ok: false,
      first: expect.stringContaining(message),
    });
    expect(() => readSlowly(bytes)).toThrow();
  }

  it('is refused', async () => {
    const u32 = (at: number, value: number) => (bytes: Buffer, places: number[]) => {
      bytes.writeUInt32LE(value, places[0]! + at);
    };
    await refusedWith(u32(24, 0), 'a name of 0 bytes, expected 1 to 255');
    await refusedWith(u32(24, 256), 'a name of 256 bytes, expected 1 to 255');
    await refusedWith(u32(16, 9), '16 bytes of payload, expected 24');
    await refusedWith(u32(20, 1), 'bytes, expected at most 1073741824');
    await refusedWith(u32(28, 7), 'name_crc does not match its name');
    const rename = (text: string) => (bytes: Buffer, places: number[]) => {
      const at = places[1]!;
      const name = Buffer.alloc(8);
      Buffer.from(text, 'latin1').copy(name);
      name.copy(bytes, at + 40);
      bytes.writeUInt32LE(crc32(name), at + 28);
    };
    await refusedWith(rename('aaaaaaa'), 'does not come after that of the state before it');
    await refusedWith(rename('dev\xe4ces'), 'its name is not UTF-8');
    await refusedWith(rename('devices!'), 'the bytes behind its name are not zero');
  });

  it('is found where it is damaged, and nothing else is lost', async () => {
    const bytes = await imageOf(dumper, smallSpace(), { state: SMALL_STATE });
    bytes[statesIn(bytes)[1]! + 50]! ^= 1;
    const { problems } = await dumper.verify(inMemory(bytes));
    expect(problems.map(({ code, message }) => [code, message])).toEqual([
      ['IMAGE_CHECKSUM', expect.stringMatching(/^state 'devices', payload at byte \d+: crc32 /)],
    ]);
    const image = await openImage(inMemory(bytes));
    expect(await image.readState('cpu')).toEqual(SMALL_STATE.cpu);
    await expect(image.readState('devices')).rejects.toMatchObject({ code: 'IMAGE_CHECKSUM' });
    const machine = createMachine({ memory: 8 * MiB });
    await expect(dumper.restore(image, machine)).rejects.toMatchObject({ code: 'IMAGE_CHECKSUM' });
    await image.close();
  });
});

describe('the command line', () => {
  it('lists the state, keeps it, and says where it is lost', async () => {
    const cli = new CliFolder();
    const at = (name: string): string => join(cli.path, name);
    const { space } = small();
    const state = { cpu: Uint8Array.of(1, 2, 3), 'a\u001bb': new Uint8Array(2048) };
    await dumper.dump(space, { to: fileSink(at('a.cpt')), state });
    const json = JSON.parse((await cli.inside('inspect', 'a.cpt', '--json')).stdout);
    expect(json.state).toEqual([
      { name: 'a\u001bb', bytes: 2048 },
      { name: 'cpu', bytes: 3 },
    ]);
    const { stdout } = await cli.inside('inspect', 'a.cpt');
    expect(stdout).toContain("state 'a?b': 2.00 KiB\nstate 'cpu': 3 B");
    for (const [name, ...how] of [
      ['same.cpt', '--format', 'cpt'],
      ['flat.cpt', '--flatten'],
    ] as const) {
      await cli.inside('convert', 'a.cpt', name, ...how);
      expect(readFileSync(at(name)).equals(readFileSync(at('a.cpt')))).toBe(true);
    }
    const core = await cli.inside('convert', 'a.cpt', 'a.core', '--format', 'elf', '--json');
    const lost = ["not kept: state 'a?b', 2048 bytes", "not kept: state 'cpu', 3 bytes"];
    expect(JSON.parse(core.stdout).warnings).toEqual(expect.arrayContaining(lost));
    const openvz = await cli.inside('convert', 'a.cpt', 'a.ovz', '--format', 'openvz', '--json');
    expect(JSON.parse(openvz.stdout).warnings).toEqual(expect.arrayContaining(lost));
    await dumper.dump(space, { to: fileSink(at('b.cpt')), state: { cpu: Uint8Array.of(1, 2, 4) } });
    const diff = await cli.inside('diff', 'a.cpt', 'b.cpt');
    expect(diff.stdout).toContain("state 'a?b': only in the left image\nstate 'cpu': other bytes");
    const checked = await cli.inside('restore', 'a.cpt', '--check');
    expect(checked.status).toBe(0);
    cli.remove();
  });
});
