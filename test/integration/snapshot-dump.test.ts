/**
 * Dumps of snapshots, and dumps with `pause: 'fork'`: the image equals the instant of the snapshot,
 * while a writer goes on. The writer stamps every page with the number of its round, so pages of two
 * instants cannot go unnoticed: from page to page the numbers must not grow, and fall at most once.
 */
import {
  createDumper,
  createMachine,
  type Dumper,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

const PAGES = 600; // more than one granule
const LENGTH = PAGES * PAGE_SIZE;

function stamped() {
  const machine = createMachine({ memory: 64 * MiB, checks: true });
  const mm = machine.createAddressSpace();
  const place = mm.mmap({ length: LENGTH, prot: 'rw', flags: ['private', 'anonymous'] });
  const stamp = (round: number, from = 0, to = PAGES): void => {
    for (let page = from; page < to; page++) {
      mm.write(place + page * PAGE_SIZE, Uint32Array.of(round));
    }
  };
  stamp(1);
  return { machine, mm, place, stamp };
}

async function stampsOf(image: Awaited<ReturnType<typeof openImage>>, place: number) {
  const bytes = new Uint8Array(LENGTH);
  await image.read(place, bytes);
  const words = new DataView(bytes.buffer);
  return Array.from({ length: PAGES }, (_, page) => words.getUint32(page * PAGE_SIZE, true));
}

describe('a dump of an instant', () => {
  it('by a snapshot has the bytes of a frozen dump, whatever is written afterwards', async () => {
    const { machine, mm, stamp } = stamped();
    stamp(2, 0, 300);
    const frozen = memorySink();
    const before = await dumper.dump(mm, { to: frozen });
    const snapshot = machine.snapshot();
    stamp(3, 100, 500);
    mm.munmap(mm.vmas()[0]!.start, 5 * PAGE_SIZE);
    const forked = memorySink();
    const after = await dumper.dump(snapshot, { to: forked });
    expect(after.image.id).toBe(before.image.id);
    expect(after.frozen).toBe(true);
    expect(after.mms[0]!.pages).toEqual(before.mms[0]!.pages);
    expect(await dumper.estimate(snapshot)).toMatchObject({ image: { bytes: before.image.bytes } });
    snapshot.drop();
    await expect(dumper.dump(snapshot, { to: memorySink() })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
    });
    await machine.close();
  });

  it('is one instant with pause fork, while rounds of writes go on', async () => {
    const { machine, mm, place, stamp } = stamped();
    let round = 1;
    let page = 0;
    let isDone = false;
    const write = (): void => {
      for (let count = 0; count < 37; count++) {
        if (page === 0) round++;
        stamp(round, page, page + 1);
        page = (page + 1) % PAGES;
      }
      if (!isDone) setImmediate(write);
    };
    write();
    let torn = 0;
    for (let dumps = 0; dumps < 5; dumps++) {
      const to = memorySink();
      const written = round * PAGES + page;
      const report = await dumper.dump(mm, { to, pause: 'fork' });
      expect(round * PAGES + page).toBeGreaterThan(written); // the writer went on
      expect(report.ms.pause).toBeGreaterThan(0);
      expect(report.ms.pause).toBeLessThanOrEqual(report.ms.total);
      const image = await openImage(to.image);
      const found = await stampsOf(image, place);
      await image.close();
      const first = found[0]!;
      const border = found.findIndex((stamp) => stamp !== first);
      const rest = border < 0 ? [] : found.slice(border);
      expect(rest.every((stamp) => stamp === first - 1)).toBe(true);
      if (border > 0) torn++;
    }
    expect(torn).toBeGreaterThan(0); // instants in the middle of a round
    isDone = true;
    expect(machine.addressSpaces()).toHaveLength(1);
    const memory = machine.memory.free;
    await dumper.dump(mm, { to: memorySink(), pause: 'fork' });
    expect(machine.memory.free).toBe(memory); // the snapshot is gone
    await machine.close();
  });

  it('keeps the pages that forks share stored once', async () => {
    const { machine, mm, stamp } = stamped();
    const child = mm.fork();
    child.write(mm.vmas()[0]!.start, Uint32Array.of(77));
    const frozen = await dumper.dump([mm, child], { to: memorySink() });
    const forked = await dumper.dump([mm, child], { to: memorySink(), pause: 'fork' });
    expect(forked.image.id).toBe(frozen.image.id);
    expect(forked.mms[1]!.pages.clone).toBe(PAGES - 1);
    stamp(5);
    await machine.close();
  });

  it('is not promised where shared memory is mapped, and refuses what contradicts it', async () => {
    const { machine, mm } = stamped();
    mm.mmap({ length: PAGE_SIZE, prot: 'rw', flags: ['shared', 'anonymous'] });
    const report = await dumper.dump(mm, { to: memorySink(), pause: 'fork' });
    expect(report.frozen).toBe(false);
    const both = dumper.dump(mm, { to: memorySink(), pause: 'fork', freeze: true });
    await expect(both).rejects.toMatchObject({ code: 'OPTION_INVALID' });
    const wrong = dumper.dump(mm, { to: memorySink(), pause: 'now' as never });
    await expect(wrong).rejects.toMatchObject({ code: 'OPTION_INVALID' });
    await machine.close();
  });
});
