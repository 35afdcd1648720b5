/**
 * `npm start` shows the whole life of an image. It loads the memory of a live process into a
 * simulated machine, dumps it with all workers, verifies the image, restores it into a second
 * machine, and compares the two.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import { createMachine } from '../../mmu/machine/attach.ts';
import type { Machine } from '../../mmu/machine/machine.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { formatBytes, formatMs } from '../../shared/human-units.ts';
import { GiB } from '../../shared/page.ts';
import type { Column } from '../cli/layout/fit-table.ts';
import { print, table } from '../cli/terminal.ts';
import { type DumpReport, Stopwatch } from '../dump/report.ts';
import { createDumper, type Dumper } from '../dumper.ts';
import { openImage } from '../image/image.ts';
import { memoryForImage } from '../load/check-restored.ts';
import { demoTargetUrl } from '../package/places.ts';
import { fileSink } from '../sinks/file-sink.ts';
import { createWorkload } from '../workloads/workload.ts';

/** Codes which mean that this system does not let us read the memory of a process. */
const UNREADABLE: ReadonlySet<string> = new Set([
  'PROCESS_DENIED',
  'PROCESS_NOT_FOUND',
  'UNSUPPORTED_PLATFORM',
]);

const COLUMNS: readonly Column[] = [
  { name: 'step', kind: 'text' },
  { name: 'result', kind: 'text' },
  { name: 'time', kind: 'number' },
];

interface Subject {
  readonly space: AddressSpace;
  readonly what: string;
  readonly ms: number;
}

/** The results of all steps after the load. */
interface Way {
  readonly report: DumpReport;
  readonly mappings: number;
  readonly isWhole: boolean;
  readonly verifyMs: number;
  readonly restoredPages: number;
  readonly restoreMs: number;
  readonly isEqual: boolean;
  readonly compareMs: number;
}

async function main(): Promise<void> {
  const path = resolve('demo.cpt');
  const dumper = await createDumper({ expectedBytes: GiB }); // all threads start, like the target
  try {
    const subject = await load(dumper);
    const way = await goAround(dumper, subject, path);
    show(subject, way, path);
    if (!way.isWhole || !way.isEqual) process.exitCode = 1;
  } finally {
    await dumper.close();
  }
}

/** Dumps the space, verifies the image, restores it into a second machine, and compares. */
async function goAround(dumper: Dumper, { space, what }: Subject, path: string): Promise<Way> {
  const report = await dumper.dump(space, { to: fileSink(path, { force: true }), source: what });
  const watch = new Stopwatch();
  const { ok: isWhole } = await dumper.verify(path);
  const verifyMs = watch.lap();
  const image = await openImage(path);
  try {
    const machine = createMachine({ memory: memoryForImage(image) });
    const { mms, pages: restoredPages, ms: restoreMs } = await dumper.restore(image, machine);
    watch.lap();
    const { equal: isEqual } = await dumper.compare(space, mms[0]!);
    const compareMs = watch.lap();
    const mappings = image.vmas().length;
    const restored = { restoredPages, restoreMs, isEqual, compareMs };
    return { report, mappings, isWhole, verifyMs, ...restored };
  } finally {
    await image.close();
  }
}

function show(subject: Subject, way: Way, path: string): void {
  const { report, mappings, isWhole, verifyMs, restoredPages, restoreMs } = way;
  const { pages } = report.mms[0]!;
  const outcome = (good: boolean): string => (good ? 'yes' : 'NO');
  const rows = [
    ['loaded', `${subject.what}, ${mappings} mappings`, formatMs(subject.ms)],
    ['dumped', `${pages.copy} pages copied, ${pages.zero} zero`, formatMs(report.ms.total)],
    ['verified', `whole and undamaged: ${outcome(isWhole)}`, formatMs(verifyMs)],
    ['restored', `${restoredPages} pages`, formatMs(restoreMs)],
    ['compared', `equal: ${outcome(way.isEqual)}`, formatMs(way.compareMs)],
  ];
  print(table(COLUMNS, rows));
  const { bytes, id } = report.image;
  print(`${formatBytes(bytes)}, id ${id}; workers ${report.workersReason}`);
  print(`The image: ${path}`);
  print(`Look at it: npx mmdump inspect ${path}`);
}

async function load(dumper: Dumper): Promise<Subject> {
  const started = performance.now();
  const child = await startTarget();
  try {
    const machineFor = (memory: number): Machine => createMachine({ memory });
    const { mms } = await dumper.importProcess(machineFor, child.pid ?? 0);
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
  const path = fileURLToPath(demoTargetUrl());
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
