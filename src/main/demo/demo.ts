/**
 * `npm start`: the whole way once. The memory of a running process into a simulated machine, dumped
 * by all workers into one image, verified, restored into a second machine, compared.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AddressSpace } from '../../mmu/address-space.ts';
import { createMachine } from '../../mmu/machine.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { GiB } from '../../shared/page.ts';
import { formatBytes, formatMs } from '../cli/sizes.ts';
import { print, table } from '../cli/terminal.ts';
import { createDumper, type Dumper } from '../dumper.ts';
import { openImage } from '../image/image.ts';
import { memoryForImage } from '../load/check-restored.ts';
import { fileSink } from '../sinks/file-sink.ts';
import { createWorkload } from '../workloads/workload.ts';

/** Codes that mean: this system does not let us read the memory of a process. */
const UNREADABLE: ReadonlySet<string> = new Set([
  'PROCESS_DENIED',
  'PROCESS_NOT_FOUND',
  'UNSUPPORTED_PLATFORM',
]);

interface Subject {
  readonly space: AddressSpace;
  readonly what: string;
  readonly ms: number;
}

async function main(): Promise<void> {
  const dumper = await createDumper();
  try {
    const subject = await load(dumper);
    const path = resolve('demo.cpt');
    const report = await dumper.dump(subject.space, {
      to: fileSink(path, { force: true }),
      source: subject.what,
    });
    const started = performance.now();
    const verification = await dumper.verify(path);
    const verifyMs = performance.now() - started;
    const image = await openImage(path);
    try {
      const machine = createMachine({ memory: memoryForImage(image) });
      const restored = await dumper.restore(image, machine);
      const compared = performance.now();
      const comparison = await dumper.compare(subject.space, restored.mms[0]!);
      const { pages } = report.mms[0]!;
      const outcome = (good: boolean): string => (good ? 'yes' : 'NO');
      print(
        table(
          ['step', 'result', 'time'],
          [
            ['loaded', `${subject.what}, ${image.vmas().length} mappings`, formatMs(subject.ms)],
            ['dumped', `${pages.copy} pages copied, ${pages.zero} zero`, formatMs(report.ms.total)],
            ['verified', `whole and undamaged: ${outcome(verification.ok)}`, formatMs(verifyMs)],
            ['restored', `${restored.pages} pages`, formatMs(restored.ms)],
            [
              'compared',
              `equal: ${outcome(comparison.equal)}`,
              formatMs(performance.now() - compared),
            ],
          ],
        ),
      );
      const { bytes, id } = report.image;
      const workers = `${dumper.workers} worker${dumper.workers === 1 ? '' : 's'}`;
      print(`${formatBytes(bytes)} by ${workers}, id ${id}`);
      print(`The image: ${path}`);
      print(`Look at it: npx mmdump inspect ${path}`);
      if (!verification.ok || !comparison.equal) process.exitCode = 1;
    } finally {
      await image.close();
    }
  } finally {
    await dumper.close();
  }
}

async function load(dumper: Dumper): Promise<Subject> {
  const started = performance.now();
  const child = await startTarget();
  try {
    const machine = createMachine({ memory: GiB });
    const { mms } = await dumper.importProcess(machine, child.pid ?? 0);
    const ms = performance.now() - started;
    return { space: mms[0]!, what: `live process ${child.pid}`, ms };
  } catch (error) {
    if (!(error instanceof MmdumpError) || !UNREADABLE.has(error.code)) throw error;
    print(`The memory of a process cannot be read here: ${error.message}`);
    print("The workload 'mixed' takes its place.");
    const { space } = await createWorkload('mixed');
    return { space, what: "workload 'mixed'", ms: performance.now() - started };
  } finally {
    child.stdin?.end();
  }
}

async function startTarget(): Promise<ChildProcess> {
  const path = fileURLToPath(new URL('./target.js', import.meta.url));
  const child = spawn(process.execPath, [path], { stdio: ['pipe', 'pipe', 'inherit'] });
  await Promise.race([
    once(child.stdout, 'data'),
    once(child, 'exit').then(() => {
      throw new MmdumpError('PROCESS_GONE', 'the demonstration program did not start');
    }),
  ]);
  return child;
}

await main();
