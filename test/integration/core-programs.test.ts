/**
 * Core files that other programs wrote, and core files of this program in other programs: gdb, lldb,
 * eu-stack, readelf and pyelftools. A test is skipped where its program is not installed.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDumper, createMachine, type Dumper, fileSink } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLI } from '../support/programs/cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'mmdump-core-programs-'));
const program = join(folder, 'program');

const SOURCE = `
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
int counter = 1;
char text[4096 * 3] = "as compiled";
char zeros[1 << 20];
static volatile __thread long local = 7;
static pthread_barrier_t ready;
__attribute__((noinline)) void deepest(int depth) {
  pthread_barrier_wait(&ready);
  for (;;) { pause(); __asm__ volatile("" : : "r"(depth) : "memory"); }
}
__attribute__((noinline)) void middle(int depth) {
  if (depth > 0) middle(depth - 1); else deepest(depth);
  __asm__ volatile("" ::: "memory");
}
void *run(void *which) { local = 100 + (long)which; middle((int)(long)which); return which; }
int main(int argc, char **argv) {
  counter = 4711; strcpy(text, "as changed at run time"); zeros[70000] = 5;
  char *sparse = mmap(0, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int at = 0; at < 16; at += 4) memset(sparse + ((long)at << 20), at + 1, 4096 * (1 + at % 3));
  pthread_barrier_init(&ready, 0, 3);
  pthread_t threads[2];
  for (long which = 0; which < 2; which++) pthread_create(&threads[which], 0, run, (void *)(which + 1));
  local = 99;
  pthread_barrier_wait(&ready);
  printf("%d\\n", getpid()); fflush(stdout);
  if (argc > 1) { sleep(1); abort(); }
  for (;;) pause();
}
`;

function has(name: string, ...args: readonly string[]): boolean {
  return spawnSync(name, args.length > 0 ? args : ['--version'], { stdio: 'ignore' }).status === 0;
}

const HAS_GCC = process.platform === 'linux' && process.arch === 'x64' && has('gcc');
const HAS_GDB = has('gdb');
const PYTHON = ['/usr/bin/python3', 'python3'].find((python) =>
  has(python, '-c', 'import elftools'),
);

/** Every page of a core, by pyelftools: its address and a digest; holes and tails are zeros. */
const PAGES = `
import hashlib, sys
from elftools.elf.elffile import ELFFile
with open(sys.argv[1], 'rb') as file:
    for segment in ELFFile(file).iter_segments(type='PT_LOAD'):
        at, size, length = segment['p_vaddr'], segment['p_filesz'], segment['p_memsz']
        if at >= 1 << 63: continue
        for page in range(0, size, 4096):
            file.seek(segment['p_offset'] + page)
            bytes = file.read(4096)
            if bytes.count(0) != 4096: print(hex(at + page), hashlib.md5(bytes).hexdigest())
`;

const DRGN_PYTHON = ['/usr/bin/python3', 'python3'].find((python) => {
  return has(python, '-c', 'import drgn, elftools');
});

/** The threads of a core, and the memory of its stored segments, as drgn reads them. */
const DRGN = `
import drgn, hashlib, sys
from elftools.elf.elffile import ELFFile
program = drgn.Program()
program.set_core_dump(sys.argv[1])
print(sorted(thread.tid for thread in program.threads()))
with open(sys.argv[2], 'rb') as file:
    for segment in ELFFile(file).iter_segments(type='PT_LOAD'):
        at, size = segment['p_vaddr'], segment['p_filesz']
        if at < 1 << 47 and size: print(hex(at), hashlib.md5(program.read(at, size)).hexdigest())
`;

const GDB = [
  'thread apply all bt',
  'p counter',
  'p text',
  'p zeros[70000]',
  'thread apply all p local',
  'x/64xb text',
  'info auxv',
  'info threads',
].flatMap((command) => ['-ex', command]);

function gdb(core: string): string {
  const args = ['-q', '-batch', '-nx', ...GDB, program, core];
  return execFileSync('gdb', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}

/** Waits for the line that the program prints when all of its threads wait. */
async function started(...args: readonly string[]): Promise<ReturnType<typeof spawn>> {
  const child = spawn(program, args, { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => child.stdout!.once('data', resolve));
  return child;
}

async function ended(child: ReturnType<typeof spawn>): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    await new Promise((resolve) => child.once('exit', resolve));
  }
}

/** The core that gcore writes, if it can be made here. */
async function gcoreFile(): Promise<string | undefined> {
  if (!HAS_GCC || !HAS_GDB) return undefined;
  const child = await started();
  const made = spawnSync('gcore', ['-o', join(folder, 'gcore'), `${child.pid}`], {
    stdio: 'ignore',
  });
  child.kill('SIGKILL');
  await ended(child);
  return made.status === 0 ? join(folder, `gcore.${child.pid}`) : undefined;
}

/** The core that the kernel writes, if core_pattern names a plain file. */
async function kernelFile(): Promise<string | undefined> {
  if (!HAS_GCC) return undefined;
  const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'latin1').trim();
  if (pattern.startsWith('|') || pattern.includes('/')) return undefined;
  spawnSync('sh', ['-c', `ulimit -c unlimited; exec ${program} crash`], {
    cwd: folder,
    stdio: 'ignore',
  });
  const name = readdirSync(folder).find((each) => each.startsWith('core'));
  return name === undefined ? undefined : join(folder, name);
}

let dumper: Dumper;
const cores = new Map<string, string | undefined>();

beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
  if (!HAS_GCC) return;
  writeFileSync(`${program}.c`, SOURCE);
  execFileSync('gcc', ['-g', '-O1', '-pthread', '-o', program, `${program}.c`]);
  cores.set('kernel', await kernelFile());
  cores.set('gcore', await gcoreFile());
}, 120_000);
afterAll(async () => {
  await dumper.close();
  rmSync(folder, { recursive: true });
});

/** Imports the core of a writer and writes it again. */
async function converted(core: string): Promise<string> {
  const path = `${core}.elf`;
  if (existsSync(path)) return path;
  const imported = await dumper.importCore((memory) => createMachine({ memory }), core, {
    load: 'on-demand',
  });
  await dumper.dump(imported.mm, { format: 'elf', to: fileSink(path) });
  await imported.release();
  return path;
}

/** Without what differs by design: the name of the core. */
function without(text: string, path: string): string {
  return text.replaceAll(path, 'CORE');
}

function sameIn(
  name: string,
  args: (core: string) => readonly string[],
  core: string,
  copy: string,
): void {
  const [expected, found] = [core, copy].map((path) => {
    const { stdout, stderr } = spawnSync(name, args(path), { encoding: 'utf8', cwd: folder });
    return without(`${stdout}${stderr}`, path);
  });
  expect(found).toBe(expected);
  expect(found).toMatch(/deepest/);
}

/**
 * What gdb prints of each thread, by its id, and of the whole process. A core lacks the names of
 * threads. gdb 13 warns of the extended registers in cores of processors that lay them out as
 * those of AMD do, and in cores of the kernel as well.
 */
function seenByGdb(...target: readonly string[]): { [what: string]: string } {
  const script = [
    'thread apply all -ascending bt',
    'thread apply all -ascending p local',
    'thread apply all -ascending info registers rip rsp rbp rbx fs_base',
    'echo Whole\\n',
    'p counter',
    'p text',
    'p zeros[70000]',
    'x/64xb text',
    'info auxv',
  ].flatMap((command) => ['-ex', command]);
  const text = execFileSync('gdb', ['-q', '-batch', '-nx', program, ...target, ...script], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const seen: { [what: string]: string } = {};
  let what = '';
  for (const line of text.split('\n')) {
    const thread = /^Thread \d+ \(.*LWP (\d+)/.exec(line)?.[1];
    if (thread !== undefined || line === 'Whole') what = thread ?? line;
    else if (what !== '' && !/^(\[|warning: )/.test(line)) {
      seen[what] = `${seen[what] ?? ''}${line.replace(/^\$\d+ /, '')}\n`;
    }
  }
  return seen;
}

describe('a core of a process that runs', () => {
  it('is the same to gdb as the process: backtraces, registers, globals, TLS', {
    timeout: 120_000,
  }, async (context) => {
    if (!HAS_GCC || !HAS_GDB) context.skip('gcc or gdb is not installed');
    const child = await started();
    try {
      const core = join(folder, 'live.core');
      const words = ['dump', '--pid', `${child.pid}`, '--format', 'elf', '-o', core, '--json'];
      const dumped = JSON.parse(
        execFileSync(process.execPath, [CLI, ...words], { encoding: 'utf8' }),
      );
      const { stoppedBy, notTraced, registers } = dumped.import;
      if (stoppedBy !== 'ptrace') context.skip(`it cannot be traced: ${notTraced}`);
      expect(registers).toBe(3);
      const expected = seenByGdb('-p', `${child.pid}`);
      expect(Object.keys(expected).length).toBe(4);
      expect(Object.values(expected).join('')).toMatch(
        /deepest[\s\S]*= 102[\s\S]*as changed at run time/,
      );
      expect(seenByGdb(core)).toEqual(expected);
    } finally {
      child.kill('SIGKILL');
      await ended(child);
    }
  });
});

describe.each(['gcore', 'kernel'])('a core of %s that comes in and goes out', (writer) => {
  const use = (
    context: { skip: (note: string) => never },
    needed: boolean,
    what: string,
  ): string => {
    const core = cores.get(writer);
    if (core === undefined) context.skip(`no core of ${writer} can be made here`);
    if (!needed) context.skip(`${what} is not installed`);
    return core!;
  };

  it('is the same to gdb: backtraces, globals, TLS, bytes', {
    timeout: 120_000,
  }, async (context) => {
    const core = use(context, has('gdb'), 'gdb');
    const copy = await converted(core);
    const expected = gdb(core);
    expect(without(gdb(copy), copy)).toBe(without(expected, core));
    expect(expected).toMatch(/\$1 = 4711/);
    expect(expected).toMatch(/as changed at run time/);
    expect(expected).toMatch(/= 102/);
    expect(expected.match(/deepest/g)?.length).toBeGreaterThanOrEqual(2);
  });

  it('is the same to lldb', { timeout: 120_000 }, async (context) => {
    const core = use(context, has('lldb'), 'lldb');
    const copy = await converted(core);
    const commands = ['-b', '-o', 'thread backtrace all', '-o', 'target variable counter text'];
    sameIn('lldb', (path) => [...commands, '-c', path, program], core, copy);
  });

  it('is the same to eu-stack', { timeout: 60_000 }, async (context) => {
    const core = use(context, has('eu-stack'), 'eu-stack');
    const copy = await converted(core);
    sameIn('eu-stack', (path) => [`--core=${path}`, `--executable=${program}`], core, copy);
  });

  it.for(['readelf', 'eu-readelf'])('is read by %s without a complaint', async (name, context) => {
    const core = use(context, has(name), name);
    const copy = await converted(core);
    const { status, stdout, stderr } = spawnSync(name, ['-hln', copy], { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(stdout).toMatch(/CORE \(Core file\)/);
  });

  it('has the same pages, by pyelftools', { timeout: 120_000 }, async (context) => {
    const core = use(context, PYTHON !== undefined, 'pyelftools');
    const copy = await converted(core);
    const [expected, found] = [core, copy].map((path) => {
      return execFileSync(PYTHON!, ['-c', PAGES, path], { encoding: 'utf8', maxBuffer: 2 ** 28 });
    });
    expect(found).toBe(expected);
    expect(expected!.split('\n').length).toBeGreaterThan(30);
  });

  it('is the same to drgn', { timeout: 120_000 }, async (context) => {
    const core = use(context, DRGN_PYTHON !== undefined, 'drgn');
    const copy = await converted(core);
    // Both are read where the copy has pages: drgn reads nothing that a core lacks.
    const [expected, found] = [core, copy].map((path) => {
      return execFileSync(DRGN_PYTHON!, ['-c', DRGN, path, copy], { encoding: 'utf8' });
    });
    expect(found).toBe(expected);
    expect(expected!.split('\n').length).toBeGreaterThan(10);
  });

  it('takes no more of the disk than its pages do', async (context) => {
    const core = use(context, true, '');
    const copy = await converted(core);
    expect(statSync(copy).blocks * 512).toBeLessThan(4 * 2 ** 20);
  });
});
