/** Large files that hold little: an import costs what they hold, not what they could hold. */
import { statfsSync } from 'node:fs';
import { join } from 'node:path';
import { createMachine, importProcess, MiB, memorySink } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { LiveFixture } from '../support/live/capture.ts';
import { parseRegions } from '../support/live/live-process.ts';
import { isReadable, PAGE } from '../support/live/proc.ts';

const fixture = new LiveFixture();
beforeAll(() => fixture.start());
afterAll(() => fixture.close());

/** Types of file systems on which the blocks of a file tell how much data it holds. */
const EXT4 = 0xef53;
const XFS = 0x5846_5342;

function needDisk(context: TestContext, directory: string): void {
  const { type } = statfsSync(directory);
  if (type !== EXT4 && type !== XFS) {
    context.skip(
      `${directory} is on neither ext4 nor XFS: only there holes are found by themselves`,
    );
  }
}

describe('trial 3: a sparse file that was deleted', () => {
  it.for([
    [1, 'none of its pages mapped', []],
    [64, 'none of its pages mapped', []],
    [64, 'every page with data mapped', ['touch']],
  ] as const)('of %s GiB, %s, costs what it holds', async ([gib, , words], context) => {
    const program = fixture.workshop.compiledProgram('sparse');
    if (program === undefined) context.skip('there is no C compiler');
    const directory = fixture.workshop.newDirectory();
    needDisk(context, directory);
    const path = join(directory, 'file');
    const live = await fixture.workshop.start([program!, path, String(gib), ...words]);
    const [region] = parseRegions(await live.ready());
    const { start, end } = region!;
    const link = `/proc/${live.pid}/map_files/${start.toString(16)}-${end.toString(16)}`;
    if (!isReadable(link)) context.skip('files of a process cannot be read here');

    const machine = createMachine({ memory: 64 * MiB });
    const { free } = machine.memory;
    const imported = await importProcess(machine, live.pid, { dumper: fixture.dumper });
    await live.kill();
    const [space] = imported.mms;
    expect(imported.processes[0]!.unmappedPages).toBe(words.length === 0 ? 3 : 0);
    expect(free - machine.memory.free).toBeLessThan(8 * MiB);

    const sink = memorySink();
    const { image, mms } = await fixture.dumper.dump(space!, { to: sink });
    expect(image.bytes).toBeLessThan(8 * MiB);
    expect(mms[0]!.pages.zero).toBeLessThan(1000); // none of them from the holes
    const opened = await fixture.open(sink.image);
    const places = [PAGE, (end - start) / 2 + 5 * PAGE, end - start - PAGE];
    for (const [index, place] of places.entries()) {
      const bytes = Buffer.alloc(PAGE);
      await opened.read(start + place, bytes);
      expect(bytes.equals(Buffer.alloc(PAGE, String(index + 1)))).toBe(true);
      space!.read(start + place, bytes);
      expect(bytes.equals(Buffer.alloc(PAGE, String(index + 1)))).toBe(true);
    }
    const hole = Buffer.alloc(PAGE, 'x');
    await opened.read(start + 100 * MiB, hole);
    expect(hole.equals(Buffer.alloc(PAGE))).toBe(true);
    space!.read(start + 200 * MiB, hole.fill('x'));
    expect(hole.equals(Buffer.alloc(PAGE))).toBe(true);
  });
});
