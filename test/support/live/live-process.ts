/** Programs that a test starts, talks to and stops; every one of them is ended at the close. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statfsSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { statField, threadStates, until } from './proc.ts';

/** For separate programs that import the package. */
export const mmdumpUrl: string = pathToFileURL(
  createRequire(import.meta.url).resolve('mmdump'),
).href;

export interface Region {
  readonly name: string;
  readonly start: number; // address
  readonly end: number;
}

export interface StartOptions {
  readonly uid?: number;
  readonly gid?: number;
}

/** A program that writes lines, and answers the lines that it receives. */
export class LiveProcess {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #exit: Promise<[number | null, NodeJS.Signals | null]>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = child.pid!;
    this.#exit = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  /** Rejects as spawn does when the program cannot be started. */
  static async start(command: readonly string[], options: StartOptions = {}): Promise<LiveProcess> {
    const [program, ...words] = command;
    const child = spawn(program!, words, { ...options, stdio: ['pipe', 'pipe', 'inherit'] });
    child.stdin!.on('error', () => {}); // it has ended; its readers get the error
    await once(child, 'spawn');
    return new LiveProcess(child);
  }

  async line(): Promise<string> {
    const { done, value } = await this.#lines.next();
    if (done === true) throw new Error(`process ${this.pid} ended without an answer`);
    return value;
  }

  /** Returns the lines before 'ready'. */
  async ready(): Promise<string[]> {
    const lines: string[] = [];
    for (let line = await this.line(); line !== 'ready'; line = await this.line()) lines.push(line);
    return lines;
  }

  request(line: string): Promise<string> {
    this.#child.stdin!.write(`${line}\n`);
    return this.line();
  }

  /** Stops the process; it is stopped when this returns. */
  async stop(): Promise<void> {
    await stopProcess(this.pid);
  }

  resume(): void {
    process.kill(this.pid, 'SIGCONT');
  }

  /** Kills the process, whatever it is doing. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exit;
  }

  /** Waits until it ends by itself; returns its exit code, or the signal that ended it. */
  async ended(): Promise<number | NodeJS.Signals> {
    const [code, signal] = await this.#exit;
    return code ?? signal!;
  }
}

/** Stops a process and waits until all of it is stopped. */
export async function stopProcess(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  await until(`process ${pid} is stopped`, () => /^T+$/.test(threadStates(pid)));
}

/** Everything that a test started and wrote. `close` removes all of it. */
export class Workshop {
  /** Other users may read it. */
  readonly directory: string = mkdtempSync(join(tmpdir(), 'mmdump-live-'));
  /** A directory in memory, or '' if there is none. */
  readonly memoryDirectory: string = makeMemoryDirectory();
  readonly #processes: LiveProcess[] = [];
  /** Processes that other programs started for us: pid → start time, in case the pid is reused. */
  readonly #adopted = new Map<number, string>();
  #files = 0;
  readonly #programs = new Map<string, string>();

  constructor() {
    chmodSync(this.directory, 0o755);
    if (this.memoryDirectory !== '') chmodSync(this.memoryDirectory, 0o755);
  }

  async start(command: readonly string[], options: StartOptions = {}): Promise<LiveProcess> {
    const live = await LiveProcess.start(command, options);
    this.#processes.push(live);
    return live;
  }

  /** Starts a program and waits until it is ready. */
  async startReady(command: readonly string[]): Promise<LiveProcess> {
    const live = await this.start(command);
    await live.ready();
    return live;
  }

  nodeCommand(): string[] {
    return [process.execPath, this.#copy('node.mjs')];
  }

  largeCommand(mib: number): string[] {
    return [process.execPath, this.#copy('large.mjs'), String(mib)];
  }

  pythonCommand(): string[] {
    return ['python3', this.#copy('python.py')];
  }

  sharedCommand(mib: number): string[] {
    return ['python3', this.#copy('shared.py'), String(mib)];
  }

  /** `output`: path of the image; '' makes the importer exit in the middle of the import. */
  importerCommand(url: string, output: string, live: readonly string[]): string[] {
    return [process.execPath, this.#copy('importer.mjs'), url, output, ...live];
  }

  signalCommand(signal: string, subject: string): string[] {
    return [process.execPath, this.#copy('signal.mjs'), mmdumpUrl, signal, subject];
  }

  /** The compiled C program; undefined without a compiler. */
  cProgram(): string | undefined {
    return this.compiledProgram('live-process');
  }

  /** The C program that has children. */
  familyProgram(): string | undefined {
    return this.compiledProgram('live-family');
  }

  /** Compiles a program of test/support/live/programs; undefined without a compiler. */
  compiledProgram(name: string): string | undefined {
    const known = this.#programs.get(name);
    if (known !== undefined) return known;
    const compiler = ['gcc', 'cc'].find((each) => isInstalled(each));
    if (compiler === undefined) return undefined;
    const program = join(this.directory, name);
    const source = programPath(`${name}.c`);
    execFileSync(compiler, ['-O1', '-o', program, source], { stdio: 'inherit' });
    this.#programs.set(name, program);
    return program;
  }

  /** Creates a new directory, owned by `owner` if given. */
  newDirectory(owner?: number): string {
    return this.#newDirectory(this.directory, owner);
  }

  /** The same in memory; '' if there is no such place. */
  newMemoryDirectory(owner?: number): string {
    return this.memoryDirectory === '' ? '' : this.#newDirectory(this.memoryDirectory, owner);
  }

  #newDirectory(parent: string, owner: number | undefined): string {
    const path = join(parent, `directory-${++this.#files}`);
    mkdirSync(path);
    if (owner !== undefined) chownSync(path, owner, owner);
    return path;
  }

  /** Adopts a process that one of our programs started. */
  adopt(pid: number): void {
    this.#adopted.set(pid, statField(pid, 22));
  }

  async close(): Promise<void> {
    for (const [pid, startTime] of this.#adopted) {
      if (threadStates(pid) !== '' && statField(pid, 22) === startTime)
        process.kill(pid, 'SIGKILL');
    }
    for (const live of this.#processes) await live.kill();
    rmSync(this.directory, { recursive: true, force: true });
    if (this.memoryDirectory !== '') rmSync(this.memoryDirectory, { recursive: true, force: true });
  }

  /** Copies a program of test/support/live/programs to a place where other users can read it. */
  #copy(name: string): string {
    const path = join(this.directory, `${++this.#files}-${name}`);
    copyFileSync(programPath(name), path);
    return path;
  }
}

/** Path of a script or source of a program that tests start. */
export function programPath(name: string): string {
  return fileURLToPath(new URL(`./programs/${name}`, import.meta.url));
}

export function isInstalled(program: string): boolean {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

export function parseRegions(lines: readonly string[]): Region[] {
  return lines.map((line) => {
    const [, name, start, pages] = line.split(' ');
    const address = Number.parseInt(start!, 16);
    return { name: name!, start: address, end: address + Number(pages) * 4096 };
  });
}

const TMPFS_MAGIC = 0x0102_1994;

function makeMemoryDirectory(): string {
  try {
    if (statfsSync('/dev/shm').type !== TMPFS_MAGIC) return '';
    return mkdtempSync('/dev/shm/mmdump-live-');
  } catch {
    return '';
  }
}
