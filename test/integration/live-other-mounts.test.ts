/** Processes whose paths lead elsewhere: other mounts, another root, large inode numbers. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type AddressSpace, createMachine, importProcess, MiB, memorySink } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { LiveFixture } from '../support/live/capture.ts';
import { mmdumpUrl, parseRegions, programPath, type Region } from '../support/live/live-process.ts';
import { ext4Image, needNamespace } from '../support/live/mounts.ts';
import { PAGE } from '../support/live/proc.ts';

const fixture = new LiveFixture();
beforeAll(() => fixture.start());
afterAll(() => fixture.close());

const NOBODY = 65_534;

function needRoot(context: TestContext): void {
  if (process.getuid!() !== 0) context.skip('the tests run without privilege');
}

function needProgram(context: TestContext): string {
  const program = fixture.workshop.compiledProgram('untouched');
  if (program === undefined) context.skip('there is no C compiler');
  return program!;
}

interface Imported {
  readonly regions: readonly Region[];
  readonly space: AddressSpace;
}

/** Starts a program with this command, imports what it maps, and ends it. */
async function importFrom(command: readonly string[]): Promise<Imported> {
  const live = await fixture.workshop.start(command);
  const regions = parseRegions(await live.ready());
  const machine = createMachine({ memory: 64 * MiB });
  const { mms } = await importProcess(machine, live.pid, { dumper: fixture.dumper });
  await live.kill();
  return { regions, space: mms[0]! };
}

/**
 * Returns the byte that fills the region, in the machine and in an image, or else what is wrong.
 */
async function fillOf({ start, end }: Region, space: AddressSpace): Promise<string> {
  const inMachine = Buffer.alloc(end - start);
  space.read(start, inMachine);
  const sink = memorySink();
  await fixture.dumper.dump(space, { to: sink });
  const inImage = Buffer.alloc(end - start);
  await (await fixture.open(sink.image)).read(start, inImage);
  if (!inImage.equals(inMachine)) return 'the image says otherwise';
  const first = inMachine.subarray(0, 1);
  return inMachine.equals(Buffer.alloc(end - start, first)) ? first.toString() : 'mixed bytes';
}

describe('trial 1: files whose inodes round to one double', () => {
  it.for([
    ['living', []],
    ['unlinked', ['--unlink']],
  ] as const)('%s, on an overlay with xino, are files of their own', async ([, words], context) => {
    needRoot(context);
    const program = needProgram(context);
    const image = ext4Image(context, fixture.workshop, 'lower');
    const directory = fixture.workshop.newDirectory();
    const script = ['unshare', '-m', 'sh', programPath('overlay.sh'), directory, image];
    const setUp = `sh ${programPath('overlay.sh')} ${directory} ${image} true`;
    needNamespace(context, '-m', setUp);
    const files = [1, 2, 3, 4].map((number) => `${directory}/merged/f${number}`);
    const { regions, space } = await importFrom([...script, program, ...words, ...files]);
    const fills: string[] = [];
    for (const region of regions) fills.push(await fillOf(region, space));
    expect(fills).toEqual(['1', '2', '3', '4']);
  });
});

describe('trial 2: a file of another mount namespace', () => {
  it('is not taken for the file of this host with its path and inode', async (context) => {
    needRoot(context);
    const program = needProgram(context);
    const here = ext4Image(context, fixture.workshop, 'here');
    const there = ext4Image(context, fixture.workshop, 'there');
    const directory = fixture.workshop.newDirectory();
    needNamespace(context, '-m', `mount -o loop ${here} ${directory}`);
    // In that directory the importer sees one file system and the process another.
    const live = ['unshare', '-m', 'sh', programPath('other-mount.sh'), there, 't', directory];
    const output = join(fixture.workshop.newDirectory(), 'image.cpt');
    const words = [...live, program, `${directory}/d`];
    const importer = fixture.workshop.importerCommand(mmdumpUrl, output, words);
    const hereToo = [programPath('other-mount.sh'), here, 'h', directory];
    const started = ['unshare', '-m', 'sh', ...hereToo, ...importer];
    expect(await fillsIn(context, started, output, `${directory}/d`)).toBe('t');
  });

  it('is read through the root of the process by an ordinary user', async (context) => {
    needRoot(context); // needed to become an ordinary user
    const program = needProgram(context);
    const user = { uid: NOBODY, gid: NOBODY };
    const directory = fixture.workshop.newDirectory(NOBODY);
    needNamespace(context, '-Urm', `mount -t tmpfs tmpfs ${directory}`, user);
    writeFileSync(join(directory, 'd'), Buffer.alloc(4 * PAGE, 'h'));
    const live = ['unshare', '-Urm', 'sh', programPath('other-mount.sh'), 'tmpfs', 't', directory];
    const output = join(fixture.workshop.newDirectory(NOBODY), 'image.cpt');
    const words = [...live, program, `${directory}/d`];
    const started = fixture.workshop.importerCommand(mmdumpUrl, output, words);
    expect(await fillsIn(context, started, output, `${directory}/d`, user)).toBe('t');
  });

  it('is found by a process in another root', async (context) => {
    needRoot(context);
    const program = needProgram(context);
    const words = [programPath('another-root.sh'), fixture.workshop.newDirectory()];
    needNamespace(context, '-m', `sh ${words.join(' ')} true`);
    const command = ['unshare', '-m', 'sh', ...words, program, '/mnt/d'];
    const { regions, space } = await importFrom(command);
    expect(await fillOf(regions[0]!, space)).toBe('t');
  });

  it('a pid of another PID namespace than that of /proc is refused', async (context) => {
    needRoot(context);
    needNamespace(context, '-pf', 'true');
    const importer = fixture.workshop.importerCommand(mmdumpUrl, 'unused.cpt', [
      '--pid',
      String(process.pid),
    ]);
    const started = await fixture.workshop.start(['unshare', '-pf', '--kill-child', ...importer]);
    await started.line();
    const answer: unknown = JSON.parse(await started.request('go'));
    expect(answer).toMatchObject({ code: 'UNSUPPORTED_PLATFORM' });
    await started.kill();
  });

  /** Runs an importer, and returns what fills the pages of the file in its image. */
  async function fillsIn(
    context: TestContext,
    importer: readonly string[],
    output: string,
    file: string,
    user: { readonly uid?: number; readonly gid?: number } = {},
  ): Promise<string> {
    const started = await fixture.workshop.start(importer, user).catch((error: unknown) => {
      if (user.uid === undefined) throw error; // Node may be where another user cannot run it
      return context.skip(`no process of user ${user.uid} can be started here: ${error}`);
    });
    const hello = JSON.parse(await started.line()) as { refused?: string; pid?: number };
    if (hello.refused !== undefined) context.skip(`the user cannot run it: ${hello.refused}`);
    fixture.workshop.adopt(hello.pid!);
    const report: unknown = JSON.parse(await started.request('go'));
    expect(report).toMatchObject({ equal: true, process: { foreignFiles: [file] } });
    await started.kill();
    const image = await fixture.open(output);
    const { start, end } = image.vmas().find((vma) => vma.file?.path.startsWith(file) === true)!;
    const bytes = Buffer.alloc(end - start);
    await image.read(start, bytes);
    const first = bytes.subarray(0, 1);
    return bytes.equals(Buffer.alloc(end - start, first)) ? first.toString() : 'mixed bytes';
  }
});
