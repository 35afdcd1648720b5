/** What an import finds without privilege, and what it then says that it does not know. */

import { join } from 'node:path';
import { createMachine, type Image, MiB, memorySink, type ProcessReport } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import {
  differences,
  expectedKinds,
  LiveFixture,
  storedIn,
  wrongPages,
} from '../support/live/capture.ts';
import { isInstalled, mmdumpUrl, stopProcess } from '../support/live/live-process.ts';
import { PAGE, threadStates } from '../support/live/proc.ts';
import { type Reference, readReference } from '../support/live/reference.ts';

const fixture = new LiveFixture();
beforeAll(() => fixture.start());
afterAll(() => fixture.close());

const NOBODY = 65_534;

/** What the importer reports about its work. */
interface ImporterReport {
  readonly process: ProcessReport;
  readonly pages: { readonly copy: number; readonly zero: number };
  readonly equal: boolean;
  readonly difference: unknown;
}

describe('with less privilege', () => {
  /** Imports in another process what that process started, and returns both views of it. */
  async function importElsewhere(
    context: TestContext,
    prefix: readonly string[],
    command: readonly string[],
    uid: number,
  ): Promise<{ report: ImporterReport; reference: Reference; image: Image }> {
    if (process.getuid!() !== 0) context.skip('the tests themselves run without privilege');
    const output = join(fixture.workshop.newDirectory(uid), 'image.cpt');
    const words = [...prefix, ...fixture.workshop.importerCommand(mmdumpUrl, output, command)];
    const importer = await fixture.workshop
      .start(words, { uid, gid: uid })
      .catch((error: unknown) => {
        return context.skip(`no process of user ${uid} can be started here: ${error}`);
      });
    try {
      const hello = JSON.parse(await importer.line()) as { refused?: string; pid?: number };
      if (hello.refused !== undefined) context.skip(`user ${uid} cannot run it: ${hello.refused}`);
      const pid = hello.pid!;
      fixture.workshop.adopt(pid);
      await stopProcess(pid);
      const reference = readReference(pid, 'blind');
      const report = JSON.parse(await importer.request('go')) as ImporterReport;
      expect(report).not.toHaveProperty('message');
      expect(threadStates(pid)).toMatch(/^T+$/);
      return { report, reference, image: await fixture.open(output) };
    } finally {
      await importer.kill();
    }
  }

  function expectBlindImport(
    { process: found, pages, equal, difference }: ImporterReport,
    reference: Reference,
    image: Image,
  ): void {
    const { content, zero, guard } = reference.entries;
    expect(found).toMatchObject({
      sharingKnown: false,
      smapsDifferences: null,
      contentPages: content + zero,
      zeroPages: 0,
      guardPages: guard,
    });
    expect(differences(expectedKinds(reference), storedIn(image))).toEqual([]);
    const kinds = [...reference.stored.values()].map(({ kind }) => kind);
    expect(pages).toMatchObject({
      copy: kinds.filter((kind) => kind === 'copy').length,
      zero: kinds.filter((kind) => kind === 'zero').length,
    });
    expect({ equal, difference }).toEqual({ equal: true, difference: null });
  }

  it('another user sees the same pages of a Node process', async (context) => {
    const command = fixture.workshop.nodeCommand();
    const { report, reference, image } = await importElsewhere(context, [], command, NOBODY);
    expectBlindImport(report, reference, image);
    expect(await wrongPages(image, reference)).toEqual([]);
  });

  it('another user sees the same pages of the C process', async (context) => {
    const program = fixture.workshop.cProgram();
    if (program === undefined) context.skip('there is no C compiler');
    const command = [
      program!,
      'regions',
      '2000',
      fixture.workshop.newDirectory(NOBODY),
      fixture.workshop.newMemoryDirectory(NOBODY),
    ];
    const { report, reference, image } = await importElsewhere(context, [], command, NOBODY);
    expectBlindImport(report, reference, image);
    expect(await wrongPages(image, reference)).toEqual([]);
  });

  it('what it cannot read of a file in memory never passes for zeros', async (context) => {
    const program = fixture.workshop.cProgram();
    if (program === undefined) context.skip('there is no C compiler');
    const command = [program!, 'unmapped', fixture.workshop.newDirectory(NOBODY), ''];
    const { report, reference, image } = await importElsewhere(context, [], command, NOBODY);
    expectBlindImport(report, reference, image);
    expect(report.process.unmappedPages).toBe(0);
    expect(report.process.unreadableFiles.length).toBe(3);
    const memfd = image.vmas().find(({ file }) => file?.path.includes('mmdump unmapped'))!;
    const byte = Buffer.alloc(1);
    await image.read(memfd.start + PAGE, byte); // the one page that the process has mapped
    await expect(image.read(memfd.start, byte)).rejects.toMatchObject({ code: 'PAGE_ABSENT' });
    const { mms } = await fixture.dumper.restore(image, createMachine({ memory: 64 * MiB }));
    expect(() => mms[0]!.read(memfd.start, byte)).toThrow(
      expect.objectContaining({ code: 'SIGBUS' }),
    );
    const again = memorySink();
    const { image: repeated } = await fixture.dumper.dump(mms[0]!, { to: again });
    expect(repeated.id).toBe(image.id);
  });

  it('root without CAP_SYS_ADMIN, as in a container, says what it does not know', async (context) => {
    if (!isInstalled('setpriv')) context.skip('there is no setpriv');
    const dropped = '-sys_admin,-checkpoint_restore'; // either capability opens /proc/PID/map_files
    const prefix = ['setpriv', `--bounding-set=${dropped}`, `--inh-caps=${dropped}`];
    const program = fixture.workshop.cProgram();
    const words = [
      'regions',
      '100',
      fixture.workshop.newDirectory(),
      fixture.workshop.newMemoryDirectory(),
    ];
    const command = program === undefined ? fixture.workshop.nodeCommand() : [program, ...words];
    const { report, reference, image } = await importElsewhere(context, prefix, command, 0);
    expectBlindImport(report, reference, image);
  });
});
