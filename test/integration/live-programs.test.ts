/**
 * Large programs that nobody here wrote: a Java virtual machine, and redis-server while it saves by
 * a child. What is compared, and how, is as in live-process.test.ts; a program that is not installed
 * is skipped.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createMachine, fileSink, importProcess, MiB, PAGE_SIZE, verifyImage } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  differences,
  expectedKinds,
  LiveFixture,
  storedIn,
  wrongPages,
} from '../support/live/capture.ts';
import { familyOf } from '../support/live/family.ts';
import { isInstalled, LiveProcess } from '../support/live/live-process.ts';
import { readReference } from '../support/live/reference.ts';

const JAVA = `
public class Ready {
  public static void main(String[] words) throws Exception {
    byte[][] kept = new byte[64][];
    for (int at = 0; at < kept.length; at++) {
      kept[at] = new byte[1 << 16];
      java.util.Arrays.fill(kept[at], (byte) at);
    }
    System.out.println("ready");
    System.in.read();
    System.out.println(kept[63][0]);
  }
}
`;
/** Fills the server, in its own language: 20 000 values of 100 bytes. */
const FILL = "for i = 1, 20000 do redis.call('set', 'key' .. i, string.rep('x', 100)) end";
/** Microseconds that the child of redis-server waits for each key: it does not end by itself. */
const SAVE_DELAY = 60_000_000;

const fixture = new LiveFixture();
beforeAll(() => fixture.start());
afterAll(() => fixture.close());

describe('a Java virtual machine', () => {
  it('is stored as CLASSIFICATION.md says, and agrees with smaps', async (context) => {
    if (!isInstalled('java') || !isInstalled('javac')) context.skip('there is no JDK');
    const folder = fixture.workshop.newDirectory();
    writeFileSync(join(folder, 'Ready.java'), JAVA);
    execFileSync('javac', ['-d', folder, join(folder, 'Ready.java')]);
    const live = await LiveProcess.start(['java', '-Xmx64m', '-cp', folder, 'Ready']);
    try {
      await live.ready();
      const { image, reference, process } = await fixture.capture(live);
      expect(differences(expectedKinds(reference), storedIn(image))).toEqual([]);
      expect(await wrongPages(image, reference)).toEqual([]);
      expect(process.smapsDifferences).toEqual(reference.privileged ? [] : null);
    } finally {
      await live.kill();
    }
  });
});

describe('redis-server that saves by a child', () => {
  it('is one family: pages that both show are stored once, and nothing differs', async (context) => {
    if (!isInstalled('redis-server')) context.skip('there is no redis-server');
    const socket = join(fixture.workshop.newDirectory(), 'socket');
    const redis = (...words: string[]): string =>
      execFileSync('redis-cli', ['-s', socket, ...words], { encoding: 'utf8' });
    const options = ['--port', '0', '--unixsocket', socket, '--save', ''];
    const delay = ['--rdb-key-save-delay', `${SAVE_DELAY}`, '--dir', join(socket, '..')];
    const live = await LiveProcess.start(['redis-server', ...options, ...delay]);
    try {
      while (!(await live.line()).includes('accept connections'));
      redis('eval', FILL, '0');
      redis('bgsave');
      const pids = familyOf(live.pid);
      expect(pids).toHaveLength(2);
      const machine = createMachine({ memory: 512 * MiB });
      const { dumper } = fixture;
      const load = 'on-demand';
      await using imported = await importProcess(machine, pids[0]!, {
        children: true,
        load,
        dumper,
      });
      const path = join(socket, '..', 'family.cpt');
      const { mms, savedBytes } = await dumper.dump(imported.mms, {
        to: fileSink(path),
      });
      expect(mms).toHaveLength(2);
      for (const { sharingKnown, smapsDifferences } of imported.processes) {
        expect(smapsDifferences).toEqual(sharingKnown ? [] : null);
        if (sharingKnown) expect(savedBytes).toBeGreaterThan(100 * PAGE_SIZE);
      }
      expect(await verifyImage(path, { dumper })).toMatchObject({ ok: true });
      const image = await fixture.open(path);
      for (const [mm, pid] of pids.entries()) {
        const { stored, contradictions } = readReference(pid);
        expect(contradictions).toEqual([]);
        const page = Buffer.alloc(PAGE_SIZE);
        for (const [address, { bytes }] of stored) {
          if (bytes === null) continue;
          await image.read(address, page, { mm });
          expect(page.equals(bytes), `mm ${mm}, page ${address.toString(16)}`).toBe(true);
        }
      }
      await imported.release();
      expect(redis('ping').trim()).toBe('PONG'); // it goes on
    } finally {
      for (const pid of familyOf(live.pid).slice(1)) process.kill(pid, 'SIGKILL');
      await live.kill();
    }
  });
});
